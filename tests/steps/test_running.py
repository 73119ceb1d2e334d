"""How steps are run, ended, chosen and told."""

from __future__ import annotations

import contextlib
import io
import os
import select
import subprocess
import sys
import tempfile
import time
import unittest
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from . import bounded, only, report
from .step import Part, Step, command

# Two processes, so that it is seen that both end.
WAITS = command("sh", "-c", "sleep 60 & wait")


def python(code: str) -> Callable[[], bool]:
    return command(sys.executable, "-c", code)


class Bounded(unittest.TestCase):
    def run_it(self, action: Callable[[], bool], most: float = 20) -> tuple[bool, str]:
        with tempfile.TemporaryFile() as log:
            succeeded = bounded.run(action, log, most)
            log.seek(0)
            return succeeded, log.read().decode()

    def test_what_it_and_its_programs_print_is_its_log(self) -> None:
        def action() -> bool:
            print("itself")
            return python("import sys; print('out'); print('err', file=sys.stderr)")()

        self.assertEqual(self.run_it(action), (True, "itself\nout\nerr\n"))

    def test_a_failure_and_an_exception(self) -> None:
        self.assertEqual(self.run_it(lambda: False), (False, ""))
        succeeded, said = self.run_it(lambda: bool(1 / 0))
        self.assertFalse(succeeded)
        self.assertIn("ZeroDivisionError", said)

    def test_what_goes_on_too_long_is_ended_with_its_programs(self) -> None:
        self.check_that_it_ends(0.1, bounded.StillRunning)

    def test_an_interrupt_ends_what_was_started(self) -> None:
        with mock.patch("time.sleep", side_effect=interrupted_after(0.1)):
            self.check_that_it_ends(20, KeyboardInterrupt)

    def check_that_it_ends(self, most: float, how: type[BaseException]) -> None:
        """A pipe ends once the last process is gone that could write to it."""
        reading, writing = os.pipe()
        with open(reading) as out, open(writing, "wb", buffering=0) as log:
            with mock.patch.object(bounded, "GRACE", 0.1), self.assertRaises(how):
                bounded.run(WAITS, log, most)
            log.close()
            self.assertTrue(select.select([out], [], [], 10)[0])
            self.assertEqual(out.read().strip(), "")


def interrupted_after(seconds: float) -> Callable[[float], None]:
    sleep, until = time.sleep, time.monotonic() + seconds
    interrupted: list[bool] = []

    def instead(pause: float) -> None:
        sleep(pause)
        if not interrupted and time.monotonic() > until:
            interrupted.append(True)
            raise KeyboardInterrupt

    return instead


class Reported(unittest.TestCase):
    def setUp(self) -> None:
        around = contextlib.ExitStack()
        self.addCleanup(around.close)
        folder = Path(around.enter_context(tempfile.TemporaryDirectory()))
        self.replayed = folder / "replayed.jsonl"
        around.enter_context(mock.patch.multiple(report, LOGS=folder, REPLAYED=self.replayed))
        around.enter_context(mock.patch.dict(os.environ))
        for name in ("KEYSWAP_NO_SKIP", "KEYSWAP_NO_REPLAY"):
            os.environ.pop(name, None)

    def told(self, *steps: Step, named: str | None = None) -> tuple[bool, str]:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            told = report.Report()
            for step in steps:
                told.step(step)
            if named is not None:
                told.nothing_named(named)
            return told.end(), out.getvalue()

    def test_counts_and_steps_are_added_up(self) -> None:
        three = Step("x: three", lambda: print("3 passed, 0 failed") is None)
        succeeded, said = self.told(three, Step("x: one", lambda: True))
        self.assertTrue(succeeded)
        self.assertRegex(said, r"ok      x: three +0 s  \(3 tests\)\nok      x: one +0 s\n4 passed, 0 failed, 0 skipped\n$")

    def test_what_failed_is_named_at_once_and_at_the_end(self) -> None:
        failing = Step("x: tests", lambda: print("FAILED  a name\n    why\n2 passed, 1 failed") is not None)
        succeeded, said = self.told(failing, Step("x: odd", lambda: print("what it said") is not None))
        self.assertFalse(succeeded)
        self.assertIn("        | ---- a name ----\n        | why\n", said)
        self.assertIn("        | what it said\n", said)
        self.assertTrue(
            said.endswith("failed: x: tests: a name\nfailed: x: odd\n2 passed, 2 failed, 0 skipped\n"), said
        )

    def test_a_failure_that_was_not_counted_is(self) -> None:
        self.assertIn("\n3 passed, 1 failed,", self.told(Step("x", lambda: print("3 passed, 0 failed") is not None))[1])

    def test_one_that_hangs_is_a_failure(self) -> None:
        with mock.patch.object(report, "MOST", 0.1):
            _, said = self.told(Step("x", command("sleep", "60")))
        self.assertIn("failed: x: was still running after 0 s\n0 passed, 1 failed,", said)

    def test_skips(self) -> None:
        step = Step("x", lambda: True, why_not=lambda: "no compiler")
        self.assertEqual(self.told(step)[1].splitlines()[-1], "0 passed, 0 failed, 1 skipped")
        os.environ["KEYSWAP_NO_SKIP"] = "1"
        self.assertEqual(self.told(step)[1].splitlines()[-1], "0 passed, 1 failed, 0 skipped")

    def test_replays(self) -> None:
        def plays_again() -> bool:
            line = '{"through": "node", "story": "cut", "late_ms": 101, "complaint": "wrong"}\n'
            return self.replayed.write_text(line) > 0

        step = Step("x", plays_again)
        self.assertIn("again   node: cut, the machine was 101 ms late\n1 passed, 0 failed", self.told(step)[1])
        os.environ["KEYSWAP_NO_REPLAY"] = "1"
        self.assertIn("failed: node: cut was played again\n1 passed, 1 failed", self.told(step)[1])

    def test_a_name_that_nothing_has(self) -> None:
        tests = Step("x: tests named y", lambda: print("0 passed; 0 failed") is None, chooses=True)
        self.assertTrue(self.told(tests, named="y")[1].endswith("no test\n0 passed, 1 failed, 0 skipped\n"))
        found = Step("x: tests named y", lambda: print("1 passed; 0 failed") is None, chooses=True)
        self.assertTrue(self.told(tests, found, named="y")[0])


class Only(unittest.TestCase):
    PART = Part(
        "x",
        [
            Step("x: endpoint", lambda: True, prepares=True),
            Step("x: wheel", lambda: True, needs=("x: endpoint",), prepares=True),
            Step("x: tests", lambda: True, needs=("x: wheel",)),
            Step("x: demo, storm", lambda: True),
            Step("x: demo, push", lambda: True),
        ],
        lambda name: Step("x: tests named", lambda: True, needs=("x: wheel",), chooses=True),
    )

    def chosen(self, name: str) -> list[str]:
        return [step.name for step in only.chosen(self.PART, name)]

    def test_steps_by_how_they_begin(self) -> None:
        self.assertEqual(self.chosen("demo"), ["x: demo, storm", "x: demo, push"])
        self.assertEqual(self.chosen("tests"), ["x: endpoint", "x: wheel", "x: tests"])
        self.assertEqual(self.chosen("x: wheel"), ["x: endpoint", "x: wheel"])

    def test_what_else_is_named_so_is_a_test(self) -> None:
        for name in ("test", "storm", "endpoint", "a redirect"):
            self.assertEqual(self.chosen(name), ["x: endpoint", "x: wheel", "x: tests named"])


class Itself(unittest.TestCase):
    RUN = Path(__file__).resolve().parents[1] / "run"

    def said(self, *arguments: str) -> tuple[int, str, str]:
        done = subprocess.run([self.RUN, *arguments], capture_output=True, text=True, timeout=20)
        return done.returncode, done.stdout, done.stderr

    def test_the_steps_are_listed_in_their_order(self) -> None:
        _, said, _ = self.said("--list")
        parts = [line.split(":")[0] for line in said.splitlines()]
        named = ["the runner itself", "rust", "sources", "python", "node", "kotlin", "swift"]
        self.assertEqual(list(dict.fromkeys(parts)), named)

    def test_a_part_that_is_not_there(self) -> None:
        code, _, said = self.said("rust", "ruby")
        self.assertEqual(code, 2)
        self.assertIn("no part named ruby", said)
