"""The Kotlin package: Maven builds the native library, writes the Kotlin half from it, and runs the tests."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from . import behaviours
from .step import ROOT, TARGET, Part, Step, call, command, endpoint, host, said

FOLDER = "bindings/kotlin"
ANDROID = f"{FOLDER}/android"
MAVEN = ("mvn", "-B", "-ntp", "-Dstyle.color=never")
MOST_BYTES = 3_000_000


def tests_named(name: str) -> Step:
    """A story, or else each test whose name, or whose class's, contains that."""
    if (ROOT / "tests/scenarios" / f"{name}.json").exists():
        chosen = ["-Dtest=StoriesTest#okhttp+ktor", f"-Dstory={name}"]
    else:
        # What stands for something in a pattern of surefire's stands for any letter here.
        part = re.sub(r"[^\w .\-]", "?", name)
        chosen = [f"-Dtest=*{part}*,*#*{part}*"]
    words = (*MAVEN, "-Dsurefire.failIfNoSpecifiedTests=false", *chosen, "test")
    return Step(
        f"kotlin: tests named {name}",
        lambda: call(*words, folder=FOLDER),
        needs=("kotlin: endpoint",),
        chooses=True,
    )


def library_size() -> bool:
    """An application carries it to every phone, once for each kind of processor."""
    target = host()
    link = []
    # As for Android: relocations are packed, functions that are the same stand once, and no path of the
    # machine that built it is told.
    if re.match("x86_64.*linux", target):
        link = ["-C", "link-arg=-Wl,-z,pack-relative-relocs", "-C", "link-arg=-Wl,--icf=all"]
    home = Path(os.environ.get("CARGO_HOME") or Path.home() / ".cargo")
    # With the slash at their end, as they begin the paths that are told.
    sources = [f"--remap-path-prefix={path}/=" for path in sorted((home / "registry/src").glob("*"))]
    built = call(
        *("cargo", "rustc", "--quiet", "-p", "keyswap-uniffi", "--lib", "--profile", "mobile"),
        *("--target", target, "--", *link),
        RUSTFLAGS="".join(f" {flag}" for flag in sources),
    )
    if not built:
        return False
    for ending in ("so", "dylib"):
        library = TARGET / target / "mobile" / f"libkeyswap_uniffi.{ending}"
        if library.exists():
            size = library.stat().st_size
            print(f"stripped, with TLS: {size} bytes")
            return size <= MOST_BYTES
    return False


def no_jdk_17() -> str | None:
    found = re.match(r"\S+ (\d+)", said("java", "--version") or "")
    return None if found and int(found[1]) >= 17 else "Robolectric needs a JDK 17 or newer"


def no_jdk() -> str | None:
    if shutil.which("mvn") and shutil.which("javac"):
        return None
    return "a JDK (11 or newer) and Maven are not installed (apt-get install default-jdk-headless maven)"


PART = Part(
    "kotlin",
    [
        Step("kotlin: endpoint", endpoint, prepares=True),
        Step(
            "kotlin: build and tests",
            lambda: call(*MAVEN, "package", folder=FOLDER, KEYSWAP_BEHAVIOURS=behaviours.noting("kotlin")),
            needs=("kotlin: endpoint",),
        ),
        behaviours.step("kotlin", needs=("kotlin: endpoint", "kotlin: build and tests")),
        Step(
            "kotlin: android sources",
            command(*MAVEN, "-Dtest=!ShrunkTest", "test", folder=ANDROID),
            needs=("kotlin: endpoint", "kotlin: build and tests"),
            why_not=no_jdk_17,
        ),
        Step(
            "kotlin: shrunk",
            # What was compiled for the step before is not compiled again.
            command(*MAVEN, "-Dtest=ShrunkTest", "surefire:test", folder=ANDROID),
            needs=("kotlin: android sources",),
            why_not=no_jdk_17,
        ),
        Step("kotlin: size of the library", library_size),
    ],
    tests_named,
    no_jdk,
)
