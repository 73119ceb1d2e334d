"""Runs steps, says how each ended, and adds up what they counted."""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from pathlib import Path

from . import bounded
from .counts import counts
from .failures import Failure, failures, plain
from .step import LOGS, REPLAYED, ROOT, Step

MOST = 2400.0
"""Seconds: several times what the longest step takes on two processors. One that hangs must not take the
other parts along."""
MOST_LINES = 80
"""Of a failed step; the rest is in its log."""
MOST_NAMES = 25
TAIL = 60
WIDTH = 500


class Report:
    def __init__(self) -> None:
        self.passed = self.failed = self.skipped = 0
        self.names: list[str] = []
        """What failed: the steps, and the tests in them."""
        self.chosen = False
        """Whether a test or a step was found by its name."""
        LOGS.mkdir(parents=True, exist_ok=True)
        REPLAYED.unlink(missing_ok=True)

    def step(self, step: Step) -> bool:
        """One thing that must succeed, and whether it did. The tests that it counts are added up."""
        self.chosen = self.chosen or not (step.prepares or step.chooses)
        if reason := step.why_not():
            self.skip(step.name, reason)
            return False
        log = LOGS / f"{re.sub('[^a-zA-Z0-9]', '-', step.name)}.log"
        began = time.monotonic()
        succeeded, hung = _run(step, log)
        took = f"{int(time.monotonic() - began):4d} s"
        text = plain(log.read_text("utf-8", errors="replace"))
        counted = counts(text)
        passed, failed = counted or (0, 0)
        if step.chooses and succeeded and passed + failed == 0:
            _say("nothing", step.name, took)
            return True
        self.chosen = self.chosen or step.chooses
        if passed + failed == 0:
            passed = int(succeeded)
        self.passed += passed
        self.failed += failed or int(not succeeded)
        if succeeded:
            _say("ok", step.name, took + (f"  ({counted[0]} tests)" if counted else ""))
            return True
        _say("FAILED", step.name, f"{took}  see {_shown(log)}")
        found = failures(text)
        if hung:
            found.append(Failure(f"was still running after {MOST:.0f} s", text.splitlines()[-TAIL // 2 :]))
        for line in excerpt(found) if found else text.splitlines()[-TAIL:]:
            print(f"        | {line}"[:WIDTH].rstrip())
        names = _some([failure.name for failure in found])
        self.names += [f"{step.name}: {name}" for name in names] or [step.name]
        return False

    def skip(self, name: str, reason: str) -> None:
        if os.environ.get("KEYSWAP_NO_SKIP"):
            _say("FAILED", name, f"nothing may be skipped here, but: {reason}")
            self.failed += 1
            self.names.append(f"{name}: may not be skipped")
        else:
            _say("skipped", name, reason)
            self.skipped += 1

    def nothing_named(self, name: str) -> None:
        """Says so, if nothing was found by that name."""
        if self.chosen or self.failed:
            return
        print(f"nothing that can be run here is named {name!r}: no step, no test")
        self.failed += 1

    def end(self) -> bool:
        """Names what was played again and what failed, and counts. Whether nothing failed."""
        for replay in _replays():
            print("again   {through}: {story}, the machine was {late_ms} ms late".format(**replay))
            if os.environ.get("KEYSWAP_NO_REPLAY"):
                self.failed += 1
                self.names.append("{through}: {story} was played again".format(**replay))
        for name in self.names:
            print(f"failed: {name}")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return self.failed == 0


def excerpt(found: list[Failure], most: int = MOST_LINES) -> list[str]:
    """The names of what failed, and then what each said: all of it if that is short, else the same share
    of the lines for each, its begin and its end."""
    lines = [f"failed: {name}" for name in _some([failure.name for failure in found])]
    telling = [Failure(it.name, _squeezed(it.lines)) for it in found if it.lines]
    # A heading takes two lines, and fewer than four of the failure say little.
    shown = telling[: (most - len(lines)) // 6]
    room = most - len(lines) - 2 * len(shown) - 1
    shares: dict[str, int] = {}
    # Who needs less leaves it to the others.
    for done, failure in enumerate(sorted(shown, key=lambda failure: len(failure.lines))):
        shares[failure.name] = min(len(failure.lines), room // (len(shown) - done))
        room -= shares[failure.name]
    for failure in shown:
        lines += ["", f"---- {failure.name} ----", *_cut(failure.lines, shares[failure.name])]
    if len(telling) > len(shown):
        lines.append(f"... {len(telling) - len(shown)} more failures ...")
    return lines


def _squeezed(lines: list[str]) -> list[str]:
    """A line that is repeated stands once: a thousand callers may fail in the same way."""
    runs = [(line, len(list(same))) for line, same in itertools.groupby(lines)]
    return [line if times == 1 or not line else f"{line} ({times} times)" for line, times in runs]


def _cut(lines: list[str], most: int) -> list[str]:
    if len(lines) <= most:
        return lines
    head, tail = (most - 1) // 2, most - 1 - (most - 1) // 2
    return [*lines[:head], f"... {len(lines) - most + 1} lines ...", *lines[len(lines) - tail :]]


def _some(names: list[str]) -> list[str]:
    more = len(names) - MOST_NAMES
    return names if more <= 0 else [*names[:MOST_NAMES], f"{more} more"]


def _run(step: Step, log: Path) -> tuple[bool, bool]:
    """Whether it succeeded, and whether it did not end."""
    with log.open("wb", buffering=0) as out:
        try:
            return bounded.run(step.run, out, MOST), False
        except bounded.StillRunning:
            out.write(f"this was still running after {MOST:.0f} s\n".encode())
            return False, True


def _say(how: str, name: str, more: str) -> None:
    print(f"{how:<7} {name:<44} {more}")


def _shown(log: Path) -> Path:
    return log.relative_to(ROOT) if log.is_relative_to(ROOT) else log


def _replays() -> list[dict[str, object]]:
    if not REPLAYED.exists():
        return []
    fields = {"through": "", "story": "", "late_ms": ""}
    return [fields | json.loads(line) for line in REPLAYED.read_text("utf-8").splitlines() if line.strip()]
