"""The sources of stores, with those stores as people run them: each server is installed once, and each file of tests
starts what it needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import node, python
from .kotlin import MAVEN, no_jdk_17
from .step import LOGS, ROOT, TARGET, Part, Step, WhyNot, call

FOLDER = ROOT / "tests/sources"
SERVERS = Path(os.environ.get("KEYSWAP_SERVERS") or TARGET / "tests/servers").absolute()
KEYCLOAK = "26.7.3"
UNPACK = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:unpack"
SAID = LOGS / "sources"
"""What each file of tests said, until its step has told it."""
AT_ONCE = 3
LONG = ("keycloak", "soak", "vault")


def of_python() -> bool:
    """Those that PyPI has. What is there already takes a second."""
    inside = SERVERS / "python/bin/python"
    if not inside.exists() and not call(sys.executable, "-m", "venv", SERVERS / "python"):
        return False
    return call(inside, *python.PIP_INSTALL, "-r", FOLDER / "servers/requirements.txt")


def of_node() -> bool:
    """Those that npm has: `npm ci` installs all anew, so only if others are wanted."""
    wanted = [FOLDER / "servers" / name for name in ("package.json", "package-lock.json", ".npmrc")]
    installed = SERVERS / "node_modules"
    if installed.exists() and all(is_same(file, SERVERS / file.name) for file in wanted):
        return True
    shutil.rmtree(installed, ignore_errors=True)
    SERVERS.mkdir(parents=True, exist_ok=True)
    for file in wanted:
        shutil.copy(file, SERVERS)
    return call("npm", "ci", "--loglevel=error", folder=SERVERS)


def is_same(one: Path, other: Path) -> bool:
    return other.exists() and one.read_bytes() == other.read_bytes()


def keycloak() -> bool:
    """What Maven unpacks has the version in its name; what runs has not."""
    if has_keycloak():
        return True
    shutil.rmtree(SERVERS / "keycloak", ignore_errors=True)
    artifact = f"org.keycloak:keycloak-quarkus-dist:{KEYCLOAK}:zip"
    SERVERS.mkdir(parents=True, exist_ok=True)
    if not call(*MAVEN, "-q", UNPACK, f"-Dartifact={artifact}", f"-DoutputDirectory={SERVERS}", folder=SERVERS):
        return False
    (SERVERS / f"keycloak-{KEYCLOAK}").rename(SERVERS / "keycloak")
    return True


def has_keycloak() -> bool:
    version = SERVERS / "keycloak/version.txt"
    return version.exists() and KEYCLOAK in version.read_text()


# ---- what a file of tests needs ----


def no_keycloak() -> str | None:
    """It is large, and slow to start."""
    if has_keycloak() or os.environ.get("CI") or os.environ.get("KEYSWAP_NO_SKIP"):
        return no_jdk_17() or without("mvn", "maven")()
    return "Keycloak is not installed (CI=1 ./tests/run sources fetches it: 180 MB)"


def without(program: str, package: str) -> WhyNot:
    """That a server of Debian is not there."""
    found = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin"]

    def why_not() -> str | None:
        if shutil.which(program, path=os.pathsep.join(found)):
            return None
        return f"{program} is not installed (apt-get install {package})"

    return why_not


def no_postgresql() -> str | None:
    """Debian keeps what makes and starts a cluster apart from what everybody runs."""
    if shutil.which("initdb") or any(Path("/usr/lib/postgresql").glob("*/bin/initdb")):
        return None
    return "PostgreSQL is not installed (apt-get install postgresql)"


NEEDS: dict[str, WhyNot] = {
    "etcd": without("etcd", "etcd-server"),
    "gateways": without("nginx", "nginx-light"),
    "keycloak": no_keycloak,
    "oauth2": node.PART.why_not,
    "vault": no_postgresql,
}
"""What is not installed here and without which a file of tests cannot be run."""
FIRST: dict[str, Callable[[], bool]] = {"keycloak": keycloak}
"""What one alone needs, and so is installed when it is run."""


# ---- the files of tests ----


def files() -> list[str]:
    """Those that the manifest lists."""
    manifest = (FOLDER / "Cargo.toml").read_text("utf-8")
    return re.findall(r'^\[\[test\]\]\nname = "(\w+)"', manifest, re.MULTILINE)


def test(*words: str) -> bool:
    """With the features that `rust: tests` chooses, so that they share what cargo builds."""
    return call("cargo", "test", "--workspace", "--all-features", *words, KEYSWAP_SERVERS=SERVERS)


def built() -> bool:
    # What was said of an older build is of no interest.
    shutil.rmtree(SAID, ignore_errors=True)
    return test("--no-run", *chosen(files()))


def chosen(names: list[str]) -> list[str]:
    return [word for name in names for word in ("--test", name)]


def why_not(name: str) -> str | None:
    """Why a file of tests cannot be run here."""
    return NEEDS.get(name, lambda: None)()


def all_files() -> bool:
    """They mostly wait, for servers and for keys to end: so they are run beside each other, and each step says later
    what its own said."""
    SAID.mkdir(parents=True, exist_ok=True)
    here = [name for name in files() if not why_not(name)]
    for first in (FIRST[name] for name in here if name in FIRST):
        first()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        # Those that take longest begin first.
        list(threads.map(run_and_keep, sorted(here, key=lambda name: name not in LONG)))
    return True


def run_and_keep(name: str) -> None:
    words = ("cargo", "test", "--workspace", "--all-features", "--test", name)
    variables = os.environ | {"KEYSWAP_SERVERS": str(SERVERS)}
    with (SAID / f"{name}.log").open("wb") as log:
        done = subprocess.run(words, cwd=ROOT, env=variables, stdout=log, stderr=subprocess.STDOUT)
    (SAID / name).write_text(str(done.returncode))


def step(name: str) -> Step:
    def run() -> bool:
        ended, log = SAID / name, SAID / f"{name}.log"
        if not ended.exists():
            return FIRST.get(name, lambda: True)() and test("--test", name)
        print(log.read_text("utf-8", errors="replace"), flush=True)
        succeeded = ended.read_text() == "0"
        # It is told once: whoever runs this step later wants it run.
        ended.unlink()
        return succeeded

    return Step(f"sources: {name}", run, needs=INSTALLED, why_not=lambda: why_not(name))


def tests_named(name: str) -> Step:
    """Each whose name contains that, in the files that can be run here."""

    def run() -> bool:
        here = [file for file in files() if not why_not(file)]
        return test("--no-fail-fast", *chosen(here), "--", name)

    return Step(f"sources: tests named {name}", run, needs=INSTALLED, chooses=True)


INSTALLED = ("sources: servers of Python", "sources: servers of Node", "sources: build")
PART = Part(
    "sources",
    [
        Step("sources: servers of Python", of_python, prepares=True),
        Step("sources: servers of Node", of_node, why_not=node.PART.why_not, prepares=True),
        Step("sources: build", built, prepares=True),
        Step("sources: all, beside each other", all_files, prepares=True),
        *(step(name) for name in files()),
    ],
    tests_named,
    python.no_venv,
)
