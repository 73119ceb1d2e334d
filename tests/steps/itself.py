"""The tests of what reads the output of all other tests."""

from __future__ import annotations

import sys

from .step import Step, command

STEP = Step(
    "the runner itself",
    command(sys.executable, "-m", "unittest", "discover", "-s", "tests/steps", "-t", "tests"),
)
