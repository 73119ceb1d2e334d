"""A step is one thing that must succeed; a part is the steps of one language."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").absolute()
LOGS = TARGET / "tests"
REPLAYED = LOGS / "replayed.jsonl"
"""The players of stories append what they played again, and why."""

WhyNot = Callable[[], "str | None"]
"""The reason why something cannot be run here."""


@dataclass(frozen=True)
class Step:
    name: str
    run: Callable[[], bool]
    """Whether it succeeded. What it prints, and what its programs print, is its log."""
    needs: tuple[str, ...] = ()
    """The steps without which it cannot be run alone."""
    why_not: WhyNot = lambda: None
    prepares: bool = False
    """That it tests nothing itself."""
    chooses: bool = False
    """That it runs the tests of some name, of which there may be none."""


@dataclass(frozen=True)
class Part:
    name: str
    steps: list[Step]
    tests_named: Callable[[str], Step]
    """The step that runs the tests of some name, and no others."""
    why_not: WhyNot = lambda: None


def call(*command: str | Path, folder: str | Path = ".", **env: str | Path) -> bool:
    """Whether a program succeeded, in a folder from the top of the repository."""
    return status(*command, folder=folder, **env) == 0


def status(*command: str | Path, folder: str | Path = ".", **env: str | Path) -> int:
    variables = os.environ | {name: str(value) for name, value in env.items()}
    done = subprocess.run([str(word) for word in command], cwd=ROOT / folder, env=variables)
    return done.returncode


def command(*words: str | Path, folder: str | Path = ".", **env: str | Path) -> Callable[[], bool]:
    """The step that is one program."""
    return lambda: call(*words, folder=folder, **env)


def said(*command: str | Path, **env: str | Path) -> str | None:
    """What a program printed, if it succeeded."""
    variables = os.environ | {name: str(value) for name, value in env.items()}
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, cwd=ROOT, env=variables, stdout=subprocess.PIPE, text=True)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None


def works(*command: str) -> bool:
    """Whether a program is there and succeeds; what it prints is of no interest."""
    quiet = subprocess.DEVNULL
    try:
        return subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet).returncode == 0
    except OSError:
        return False


def unless(reason: str, *command: str) -> WhyNot:
    """That reason, if the program is not there."""
    return lambda: None if works(*command) else reason


def host() -> str:
    """What rustc calls this machine. The bindings name it as their target, and so share what is built."""
    lines = (said("rustc", "-vV") or "").splitlines()
    found = [line.removeprefix("host: ") for line in lines if line.startswith("host: ")]
    return found[0] if found else "unknown"


def endpoint() -> bool:
    return call("cargo", "build", "--quiet", "-p", "keyswap-endpoint", "--target", host())
