"""The Swift package. Where Swift is not installed, that of a newer Debian runs in a folder of its own."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import behaviours
from .step import ROOT, TARGET, Part, Step, command, endpoint, host, said

FOLDER = "bindings/swift"
EXAMPLE = "examples/swift/rotation"
TOOLCHAIN = f"{FOLDER}/toolchain"
SHOWN = {
    "https://keys.example.com/keyswap/v1/sets/trading": "set_url",
    "https://api.example.com": "api_url",
}
"""The URLs of the first example, and what an endpoint calls its own."""


def swift(verb: str, package: str | Path, scratch: str, *options: str, **env: str) -> list[str]:
    """The words of `swift VERB` on a package of the repository, or on one below cargo's target folder, wherever Swift is."""
    cargo, work, before = str(TARGET), str(ROOT), ["env"]
    if not is_installed():
        cargo, work, before = "/cargo", "/repository", [TOOLCHAIN, "run", "env"]
    variables = {
        "KEYSWAP_LIBRARY": f"{cargo}/swift/library",
        "KEYSWAP_TESTS": f"{work}/tests",
        "KEYSWAP_REPLAYED": f"{cargo}/tests/replayed.jsonl",
        "KEYSWAP_ENDPOINT": f"{cargo}/{host()}/debug/keyswap-endpoint",
        **env,
    }
    return [
        *before,
        *(f"{name}={value}" for name, value in variables.items()),
        *("swift", verb, "--package-path", within(package, work, cargo)),
        *("--scratch-path", f"{cargo}/swift/{scratch}", *options),
    ]


def within(package: str | Path, work: str, cargo: str) -> str:
    """Where Swift sees it."""
    if isinstance(package, Path):
        return f"{cargo}/{package.relative_to(TARGET)}"
    return f"{work}/{package}"


def is_installed() -> bool:
    return shutil.which("swift") is not None


def tests(*options: str, **env: str) -> bool:
    return subprocess.run(swift("test", FOLDER, "build", *options, **env)).returncode == 0


def every_test() -> bool:
    """They note behaviours in the target folder, which stands elsewhere for a Swift in a folder of its own."""
    path = behaviours.noting("swift")
    seen = str(path) if is_installed() else f"/cargo/{path.relative_to(TARGET)}"
    return tests(KEYSWAP_BEHAVIOURS=seen)


def tests_named(name: str) -> Step:
    """A story, or else each test whose name, or whose class's, contains that."""

    def run() -> bool:
        if (ROOT / "tests/scenarios" / f"{name}.json").exists():
            return tests("--filter", "StoriesTests/testEveryStory", KEYSWAP_STORY=name)
        return tests("--filter", re.escape(name))

    return Step(f"swift: tests named {name}", run, needs=BUILT, chooses=True)


def beside_an_endpoint(words: Callable[[str], list[str]]) -> str | None:
    """What a program printed, if it succeeded, that is told the line of JSON of an endpoint that runs meanwhile."""
    binary = TARGET / host() / "debug/keyswap-endpoint"
    serve = [str(binary), "serve", "--exit-with-stdin"]
    pipe = subprocess.PIPE
    with subprocess.Popen(serve, stdin=pipe, stdout=pipe, text=True) as running:
        assert running.stdout is not None
        told = running.stdout.readline().rstrip("\n")
        done = subprocess.run(words(told), stdout=pipe, text=True) if told else None
        running.terminate()
    if done is None:
        return None
    print(done.stdout)
    return done.stdout if done.returncode == 0 else None


def example() -> bool:
    """It lives through a rotation of an endpoint that it is told of."""
    printed = beside_an_endpoint(lambda told: swift("run", EXAMPLE, EXAMPLE, "Rotation", KEYSWAP_EXAMPLE=told))
    return "k2 was accepted" in (printed or "")


def first_example() -> bool:
    """The one that the README begins with, with the two URLs of an endpoint and its API in the place of its own."""
    package = TARGET / "swift/first"

    def words(told: str) -> list[str]:
        urls = json.loads(told)
        text = (ROOT / EXAMPLE / "Sources/First/main.swift").read_text()
        for shown, real in SHOWN.items():
            if text.count(shown) != 1:
                raise ValueError(f"{shown} must stand in the example once")
            text = text.replace(shown, urls[real])
        manifest = (ROOT / EXAMPLE / "Package.swift").read_text()
        seen = ROOT if is_installed() else Path("/repository")
        manifest = manifest.replace("../../../bindings/swift", f"{seen}/{FOLDER}")
        manifest = "\n".join(line for line in manifest.splitlines() if '"Rotation", dep' not in line)
        (package / "Sources/First").mkdir(parents=True, exist_ok=True)
        (package / "Sources/First/main.swift").write_text(text)
        (package / "Package.swift").write_text(manifest + "\n")
        return swift("run", package, "first-build", "First", KEYSWAP_BOOTSTRAP=urls["bootstrap"])

    printed = beside_an_endpoint(words)
    return (printed or "").startswith("200 ")


def why_not() -> str | None:
    if is_installed():
        return None
    return (said(TOOLCHAIN, "why-not") or "").strip() or None


BUILT = ("swift: toolchain", "swift: endpoint", "swift: library and its generated half")
PREPARED = [
    Step("swift: endpoint", endpoint, prepares=True),
    Step("swift: library and its generated half", command(f"{FOLDER}/generate"), prepares=True),
]
PART = Part(
    "swift",
    [
        *([] if is_installed() else [Step("swift: toolchain", command(TOOLCHAIN, "make"), prepares=True)]),
        *PREPARED,
        Step("swift: tests", every_test, needs=BUILT),
        behaviours.step("swift", needs=(*BUILT, "swift: tests")),
        Step("swift: example", example, needs=BUILT),
        Step("swift: first example", first_example, needs=BUILT),
    ],
    tests_named,
    why_not,
)
