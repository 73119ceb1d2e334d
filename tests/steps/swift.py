"""The Swift package. Where Swift is not installed, that of a newer Debian runs in a folder of its own."""

from __future__ import annotations

import re
import shutil
import subprocess

from . import behaviours
from .step import ROOT, TARGET, Part, Step, command, endpoint, host, said

FOLDER = "bindings/swift"
EXAMPLE = "examples/swift/rotation"
TOOLCHAIN = f"{FOLDER}/toolchain"


def swift(verb: str, package: str, scratch: str, *options: str, **env: str) -> list[str]:
    """The words of `swift VERB` on a package, wherever Swift is."""
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
        *("swift", verb, "--package-path", f"{work}/{package}"),
        *("--scratch-path", f"{cargo}/swift/{scratch}", *options),
    ]


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


def example() -> bool:
    """It lives through a rotation of an endpoint that it is told of."""
    binary = TARGET / host() / "debug/keyswap-endpoint"
    serve = [str(binary), "serve", "--exit-with-stdin"]
    pipe = subprocess.PIPE
    with subprocess.Popen(serve, stdin=pipe, stdout=pipe, text=True) as running:
        assert running.stdout is not None
        told = running.stdout.readline().rstrip("\n")
        words = swift("run", EXAMPLE, EXAMPLE, KEYSWAP_EXAMPLE=told)
        done = subprocess.run(words, stdout=pipe, text=True) if told else None
        running.terminate()
    if done is None:
        return False
    print(done.stdout)
    return done.returncode == 0 and "k2 was accepted" in done.stdout


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
    ],
    tests_named,
    why_not,
)
