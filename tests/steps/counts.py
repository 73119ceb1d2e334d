"""How many tests a runner says that it ran."""

from __future__ import annotations

import re

Counts = tuple[int, int]
"""Passed, and failed."""

# cargo: "test result: ok. 3 passed; 0 failed; 0 ignored"; scripts and stories: "3 passed, 0 failed"
PLAIN = re.compile(r".*(?:^|[ :])(\d+) passed[;,] (\d+) failed")
# pytest: "1 failed, 3 passed, 1 skipped in 2.50s", with or without signs of equality around it
PYTEST = re.compile(r"=* *((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s")
# Node: "# pass 3" and "# fail 0"
NODE = re.compile(r". (pass|fail) (\d+)$")
# Maven: the total alone, since the line of a class goes on
MAVEN = re.compile(r"\[[A-Z]+\] Tests run: (\d+), Failures: (\d+), Errors: (\d+), Skipped: (\d+)$")
# Python's own unittest: "Ran 3 tests in 0.010s", and then perhaps "FAILED (failures=1, errors=1)"
UNITTEST = re.compile(r"Ran (\d+) tests? in ")
UNITTEST_FAILED = re.compile(r"FAILED \(((?:failures|errors)=.*)\)$")
# XCTest: "Test Case 'Suite.testName' passed (0.1 seconds)"
XCTEST = re.compile(r"Test Case '.+' (passed|failed) \(")


def counts(text: str) -> Counts | None:
    """All that is counted there, or nothing if nothing is."""
    lines = text.splitlines()
    found = [count for line in lines if (count := _of_line(line))]
    # Swift's stories are counted one by one, by the test that plays them; its other tests only if it did not run.
    found = found or [(int(it == "passed"), int(it == "failed")) for it in _results(lines)]
    if not found:
        return None
    return sum(passed for passed, _ in found), sum(failed for _, failed in found)


def _results(lines: list[str]) -> list[str]:
    return [match[1] for line in lines if (match := XCTEST.match(line))]


def _of_line(line: str) -> Counts | None:
    if match := PLAIN.match(line):
        return int(match[1]), int(match[2])
    if match := PYTEST.match(line):
        return _pytest(match[1])
    if match := NODE.match(line):
        return (int(match[2]), 0) if match[1] == "pass" else (0, int(match[2]))
    if match := MAVEN.match(line):
        run, failures, errors, skipped = (int(number) for number in match.groups())
        return run - failures - errors - skipped, failures + errors
    if match := UNITTEST.match(line):
        return int(match[1]), 0
    if match := UNITTEST_FAILED.match(line):
        failed = sum(int(number) for number in re.findall(r"(?:failures|errors)=(\d+)", match[1]))
        return -failed, failed
    return None


def _pytest(summary: str) -> Counts | None:
    numbers = {word.rstrip("s"): int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", summary)}
    if not numbers.keys() & {"passed", "failed", "error"}:
        return None
    return numbers.get("passed", 0), numbers.get("failed", 0) + numbers.get("error", 0)
