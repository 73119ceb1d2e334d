"""How late the machine was while something ran, measured and not guessed.

A heartbeat that wants to wake every few milliseconds wakes later when the machine, or this interpreter, has no
time for it. A story lets 100 ms pass between things whose order decides a count: only where a gap was
longer than that was the machine to blame, and the story may be played again.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import deque
from pathlib import Path

TOLERANCE_MS = 100
"""What a story bears: see tests/scenarios/README.md."""
BEAT = 0.01
"""Seconds: a tenth of what matters."""


class Heartbeat:
    """Notes when it woke late, until it is stopped."""

    def __init__(self) -> None:
        self._late: deque[tuple[float, float]] = deque(maxlen=10_000)
        self._last = time.monotonic()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._is_over.set()
        self._thread.join()

    def worst_ms(self, since: float = 0.0) -> int:
        """The longest gap that ended after this time of `time.monotonic`, or has not ended."""
        gaps = [gap for at, gap in list(self._late) if at >= since]
        return int(1000 * max([*gaps, time.monotonic() - self._last - BEAT, 0.0]))

    def _beat(self) -> None:
        while not self._is_over.wait(BEAT):
            now = time.monotonic()
            gap = now - self._last - BEAT
            if gap > BEAT:
                self._late.append((now, gap))
            self._last = now


def may_replay(late_ms: int) -> bool:
    """Whether a story that did not come out may be played again."""
    return late_ms > TOLERANCE_MS and os.environ.get("KEYSWAP_NO_REPLAY") != "1"


def note(folder: Path, through: str, story: str, late_ms: int, complaint: str) -> None:
    """Adds a replay to the list that the tests of all languages write."""
    folder.mkdir(parents=True, exist_ok=True)
    line = {"through": through, "story": story, "late_ms": late_ms, "complaint": complaint}
    with (folder / "replayed.jsonl").open("a") as out:
        out.write(json.dumps(line) + "\n")
