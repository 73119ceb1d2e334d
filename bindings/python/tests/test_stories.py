"""Every story of `tests/scenarios`, with the counts that every language must come to."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

import pytest
import stories
from conftest import ONLY_ALONE

AT_ONCE = 4
"""Most of a story is waiting, but its times must be kept."""
MOST_ALONE = 4
"""Of some five hundred: how many may be late among others."""
NEEDS = {"httpx": "httpx", "requests": "requests", "aiohttp": "aiohttp"}
PLAYED = [
    (through, name)
    for through in stories.THROUGH
    for name in stories.names()
    if name not in stories.not_run(through)
]
Outcome = subprocess.CompletedProcess[str]


def play(through: str, name: str) -> Outcome:
    command = [sys.executable, str(Path(__file__).with_name("stories.py")), through, name]
    # A program's proxy is no part of a story.
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)


@pytest.fixture(scope="session")
def plays(request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, str], Future[Outcome]]]:
    """All stories that were asked for, a few at once."""
    asked = [getattr(item, "callspec", None) for item in request.session.items]
    pairs = [spec.params for spec in asked if spec and "through" in spec.params]
    params = [(pair["through"], pair["name"]) for pair in pairs]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {pair: pool.submit(play, *pair) for pair in params if is_installed(pair[0])}
        pool.shutdown(cancel_futures=True)


def is_installed(through: str) -> bool:
    library = next((NEEDS[word] for word in through.split("-") if word in NEEDS), None)
    return library is None or importlib.util.find_spec(library) is not None


@pytest.mark.parametrize(("through", "name"), PLAYED)
def test_story(through: str, name: str, plays: dict[tuple[str, str], Future[Outcome]]) -> None:
    if not is_installed(through):
        pytest.skip(f"{through}: the library is not installed")
    complaint = judge(plays[through, name].result())
    if complaint:
        # The machine may have been late. A rule that is broken is broken in quiet, too, and one that is
        # broken now and then would show in many stories.
        print(f"among others: {complaint}")
        wait(plays.values())
        ONLY_ALONE.append(f"{through} {name}")
        assert len(ONLY_ALONE) <= MOST_ALONE, f"too many stories come out only alone: {ONLY_ALONE}"
        complaint = judge(play(through, name))
    assert not complaint, complaint


def judge(outcome: Outcome) -> str:
    """What did not come out; empty if all did."""
    if outcome.returncode or outcome.stderr:
        return f"ended with {outcome.returncode}: {outcome.stderr}"
    verdict = json.loads(outcome.stdout)
    wrong = [*verdict["mismatches"], *verdict["errors"]]
    seen = {key: count for key, count in verdict["counters"].items() if count}
    return f"{wrong}\ncounted: {seen}" if wrong else ""


def test_the_matrix_names_only_stories_that_there_are() -> None:
    there = {file.stem for file in stories.SCENARIOS.glob("*.json")}
    for through in stories.THROUGH:
        left_out = stories.not_run(through)
        assert left_out.keys() <= there and all(left_out.values()), through
