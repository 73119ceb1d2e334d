"""Every story of `tests/scenarios`, with the counts that every language must come to."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import pytest
import stories
from conftest import REPLAYED, ROOT
from lateness import Heartbeat, may_replay, note

AT_ONCE = 4
"""Most of a story is waiting, but its times must be kept."""
MOST_REPLAYS = 2
"""Of one story, if the machine was late each time."""
NEEDS = {"httpx": "httpx", "requests": "requests", "aiohttp": "aiohttp"}
PLAYED = [
    (through, name)
    for through in stories.THROUGH
    for name in stories.names()
    if name not in stories.not_run(through)
]


@dataclass
class Outcome:
    """How a story came out."""

    complaint: str
    """What did not come out; empty if all did."""
    late_ms: int
    """The longest gap, here or where it was played, in which nothing ran that should have."""


def play(through: str, name: str, heart: Heartbeat) -> Outcome:
    command = [sys.executable, str(Path(__file__).with_name("stories.py")), through, name]
    # A program's proxy is no part of a story.
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    except subprocess.TimeoutExpired:
        return Outcome("it did not end within 120 s", heart.worst_ms(since=began))
    late_ms = heart.worst_ms(since=began)
    if done.returncode or done.stderr:
        return Outcome(f"ended with {done.returncode}: {done.stderr}", late_ms)
    verdict = json.loads(done.stdout)
    wrong = [*verdict["mismatches"], *verdict["errors"]]
    seen = {key: count for key, count in verdict["counters"].items() if count}
    complaint = f"{wrong}\ncounted: {seen}" if wrong else ""
    return Outcome(complaint, max(late_ms, verdict["late_ms"]))


@pytest.fixture(scope="session")
def heart() -> Iterator[Heartbeat]:
    heart = Heartbeat()
    yield heart
    heart.stop()


@pytest.fixture(scope="session")
def plays(
    request: pytest.FixtureRequest, heart: Heartbeat
) -> Iterator[dict[tuple[str, str], Future[Outcome]]]:
    """All stories that were asked for, a few at once."""
    asked = [getattr(item, "callspec", None) for item in request.session.items]
    pairs = [spec.params for spec in asked if spec and "through" in spec.params]
    params = [(pair["through"], pair["name"]) for pair in pairs]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {pair: pool.submit(play, *pair, heart) for pair in params if is_installed(pair[0])}
        pool.shutdown(cancel_futures=True)


def is_installed(through: str) -> bool:
    library = next((NEEDS[word] for word in through.split("-") if word in NEEDS), None)
    return library is None or importlib.util.find_spec(library) is not None


@pytest.mark.parametrize(("through", "name"), PLAYED)
def test_story(
    through: str, name: str, plays: dict[tuple[str, str], Future[Outcome]], heart: Heartbeat
) -> None:
    if not is_installed(through):
        pytest.skip(f"{through}: the library is not installed")
    outcome = plays[through, name].result()
    for _ in range(MOST_REPLAYS):
        if not outcome.complaint or not may_replay(outcome.late_ms):
            break
        # Alone, so that nothing of this run makes it late again.
        wait(plays.values())
        target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
        note(target / "tests", through, name, outcome.late_ms, outcome.complaint)
        REPLAYED.append(f"{through} {name} ({outcome.late_ms} ms late)")
        outcome = play(through, name, heart)
    if outcome.complaint:
        pytest.fail(f"at most {outcome.late_ms} ms late: {outcome.complaint}", pytrace=False)


def test_a_story_is_played_again_only_where_the_machine_was_late(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("KEYSWAP_NO_REPLAY", raising=False)
    assert not may_replay(100) and may_replay(101)
    monkeypatch.setenv("KEYSWAP_NO_REPLAY", "1")
    assert not may_replay(5000)
    for nth in (1, 2):
        note(tmp_path / "tests", "python", "a-story", 100 + nth, "two\nlines")
    lines = (tmp_path / "tests" / "replayed.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"through": "python", "story": "a-story", "late_ms": late, "complaint": "two\nlines"}
        for late in (101, 102)
    ]


def test_lateness_is_measured(heart: Heartbeat) -> None:
    began = time.monotonic()
    # It holds the interpreter, and so the heartbeat.
    sum(range(10_000_000))
    held_ms = 1000 * (time.monotonic() - began)
    assert heart.worst_ms(since=began) >= held_ms / 2


def test_the_matrix_names_only_stories_that_there_are() -> None:
    there = {file.stem for file in stories.SCENARIOS.glob("*.json")}
    for through in stories.THROUGH:
        left_out = stories.not_run(through)
        assert left_out.keys() <= there and all(left_out.values()), through
