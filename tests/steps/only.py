"""What of a part is run for `--only NAME`."""

from __future__ import annotations

import re

from .step import Part, Step


def chosen(part: Part, name: str) -> list[Step]:
    """The steps of that name, or else the tests of it; each after what it needs."""
    wanted = [step for step in part.steps if is_named(step, name)] or [part.tests_named(name)]
    needed = {step.name for step in wanted}
    for step in reversed([*part.steps, *wanted]):
        if step.name in needed:
            needed.update(step.needs)
    before = [step for step in part.steps if step.name in needed]
    return before + [step for step in wanted if step not in before]


def is_named(step: Step, name: str) -> bool:
    """Its whole name, or the words that it begins with after the part. What only prepares is named as a whole:
    a word such as «endpoint» names tests, and not the step that builds it for them."""
    if step.name == name:
        return True
    begins = re.match(re.escape(name) + r"(?!\w)", step.name.split(": ", 1)[-1])
    return bool(begins) and not step.prepares
