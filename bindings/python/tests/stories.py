"""Plays the stories of `tests/scenarios` through what Python programs send with.

The endpoint knows a story, makes its steps happen by its own clock, and says at the end whether the
counts came out. Here are the callers: a thread each, or a task each. `python stories.py THROUGH STORY`
plays one in a process of its own, so that several at once keep their times.
"""

from __future__ import annotations

import asyncio
import faulthandler
import importlib
import json
import re
import sys
import threading
import time
from collections import Counter
from typing import Any

import keyswap
from conftest import ROOT, World
from lateness import Heartbeat
from senders import THROUGH, AsyncSender, SyncSender

SCENARIOS = ROOT / "tests" / "scenarios"
SETTLES = 0.03
"""Seconds: what the last response brought about is told by then."""
STACK = 256 * 1024
"""Bytes: a story has up to a thousand callers."""


def names() -> list[str]:
    """The stories that are played over sockets."""
    files = sorted(SCENARIOS.glob("*.json"))
    return [file.stem for file in files if not read(file.stem).get("virtual_only")]


def read(name: str) -> dict[str, Any]:
    story: dict[str, Any] = json.loads((SCENARIOS / f"{name}.json").read_text())
    return story


def not_run(through: str) -> dict[str, str]:
    """What the support matrix says is not run, and why."""
    matrix = (ROOT / "tests" / "support-matrix.yaml").read_text()
    block = re.search(rf"^  {through}:\n    not_run:(?: \{{\}})?\n((?:      .*\n)*)", matrix, re.M)
    assert block, f"the matrix does not speak of {through}"
    return dict(line.strip().split(": ", 1) for line in block[1].splitlines())


class Tally:
    """What callers and the client count, by the keys of `expect`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.lock = threading.Lock()

    def add(self, *keys: str) -> None:
        with self.lock:
            self.counts.update(keys)

    def answered(self, status: int) -> None:
        self.add(f"status.{status}", *(["failed"] if status >= 400 else []))

    def failed(self, error: Exception) -> None:
        code = error.code if isinstance(error, keyswap.KeyswapError) else code_of(error)
        self.add("failed", f"error.{code}")


def code_of(error: Exception) -> str:
    """Another library's error, in the words of a story."""
    kinds = " ".join(kind.__name__ for kind in type(error).__mro__)
    return "timeout" if "Timeout" in kinds else "transport"


class Play:
    """One story."""

    def __init__(self, through: str, name: str) -> None:
        self.world = World()
        self.told = self.world.control("story", read(name))
        self.client: dict[str, Any] = self.told["client"]
        self.tally = Tally()
        self.started_ms = 0
        self.drained = threading.Event()
        self.is_cold = self.client.get("start") == "cold"
        self.through = THROUGH[through]
        for library in self.through.libraries:
            importlib.import_module(library)

    def run(self) -> dict[str, Any]:
        """The verdict of the endpoint: `counters`, `mismatches` and `errors`; and how late this was at most."""
        heart = Heartbeat()
        if self.is_cold:
            self.start()
        keys = self.follow()
        events = keys.events()
        if issubclass(self.through, SyncSender):
            self.play_in_threads(keys, events, self.through(self.world, keys, self.client))
        else:
            asyncio.run(self.play_in_tasks(keys, events, self.through))
        time.sleep(SETTLES)
        stats = keys.stats
        last = {"in_use": stats.in_use or "none", "generation": stats.generation or 0}
        verdict = self.world.control("finish", {**self.tally.counts, **last})
        verdict["late_ms"] = max(heart.worst_ms(), self.started_ms)
        heart.stop()
        keys.close()
        self.world.stop()
        return verdict

    def follow(self) -> keyswap.KeySwap:
        client, policy = self.client, dict(self.told["policy"])
        if "lease_ms" in client:
            policy["lease"] = client["lease_ms"] / 1000

        def region(url: str, regions: list[keyswap.Endpoint]) -> keyswap.Endpoint:
            return keyswap.Endpoint(
                url,
                bootstrap=self.told["bootstrap"],
                push=client.get("push", True),
                heartbeat=client["heartbeat_ms"] / 1000 if "heartbeat_ms" in client else None,
                signed_by=self.told["public_key"] if client.get("signed_by_endpoint") else None,
                regions=regions,
            )

        first, *more = self.told["set_urls"]
        source = region(first, [region(url, []) for url in more])
        return keyswap.KeySwap(source, policy=policy)

    def listen(self, events: keyswap.Events, drain: bool) -> None:
        if drain:
            try:
                while events.next(0) is not None:
                    pass
            except keyswap.TimeoutError:
                pass
        self.drained.set()
        for event in events:
            self.tally.add(f"event.{event.name}")

    def settle(self, keys: keyswap.KeySwap, events: keyswap.Events) -> None:
        """The story begins. All that takes time was done before, since the client polls by then."""
        if not self.is_cold:
            keys.ready(10)
        told = threading.Thread(target=self.listen, args=(events, not self.is_cold), daemon=True)
        told.start()
        if not self.is_cold:
            # What was told before the client was ready is no part of the story.
            assert self.drained.wait(10), "the events do not end"
            self.start()

    def start(self) -> None:
        before = time.monotonic()
        self.world.control("start", {})
        self.begin = time.monotonic()
        # By so much the clock of the endpoint may be ahead.
        self.started_ms = int(1000 * (self.begin - before))

    def left(self, at: float) -> float:
        """Seconds until then."""
        return max(0.0, self.begin + at / 1000 - time.monotonic())

    # ---- a thread for each caller ----

    def play_in_threads(
        self, keys: keyswap.KeySwap, events: keyswap.Events, sender: SyncSender
    ) -> None:
        threading.stack_size(STACK)
        go = threading.Event()
        callers = [caller for caller in self.told["callers"] for _ in range(caller["count"])]
        work = [(self.call, (sender, caller, go)) for caller in callers]
        work += [(self.hint, (keys, hint, go)) for hint in self.client.get("hints", [])]
        threads = [threading.Thread(target=run, args=args, daemon=True) for run, args in work]
        for thread in threads:
            thread.start()
        self.settle(keys, events)
        go.set()
        time.sleep(self.left(self.told["run_ms"]))
        for thread in threads:
            thread.join()
        sender.close()

    def call(self, sender: SyncSender, caller: dict[str, Any], go: threading.Event) -> None:
        go.wait()
        for nth in range(caller["repeat"]):
            time.sleep(self.left(caller["at"] + nth * caller["every"]))
            self.tally.add("requests")
            try:
                self.tally.answered(sender.send(caller))
            except Exception as error:
                self.tally.failed(error)

    def hint(self, keys: keyswap.KeySwap, hint: dict[str, Any], go: threading.Event) -> None:
        go.wait()
        time.sleep(self.left(hint["at"]))
        keys.hint(hint.get("generation"))

    # ---- a task for each caller ----

    async def play_in_tasks(
        self, keys: keyswap.KeySwap, events: keyswap.Events, through: type[AsyncSender]
    ) -> None:
        sender = through(self.world, keys, self.client)
        self.settle(keys, events)
        callers = [caller for caller in self.told["callers"] for _ in range(caller["count"])]
        tasks = [asyncio.create_task(self.acall(sender, caller)) for caller in callers]
        hints = self.client.get("hints", [])
        tasks += [asyncio.create_task(self.ahint(keys, hint)) for hint in hints]
        await asyncio.sleep(self.left(self.told["run_ms"]))
        await asyncio.gather(*tasks)
        await sender.aclose()

    async def acall(self, sender: AsyncSender, caller: dict[str, Any]) -> None:
        patience = caller.get("cancel_after_ms")
        for nth in range(caller["repeat"]):
            await asyncio.sleep(self.left(caller["at"] + nth * caller["every"]))
            self.tally.add("requests")
            request = asyncio.create_task(sender.send(caller))
            if patience is not None:
                await asyncio.wait([request], timeout=patience / 1000)
                if not request.done():
                    request.cancel()
                    await asyncio.wait([request])
                    self.tally.add("cancelled")
                    continue
            try:
                self.tally.answered(await request)
            except Exception as error:
                self.tally.failed(error)

    async def ahint(self, keys: keyswap.KeySwap, hint: dict[str, Any]) -> None:
        await asyncio.sleep(self.left(hint["at"]))
        keys.hint(hint.get("generation"))


if __name__ == "__main__":
    # Sooner than the one who waits for this gives it up, so that a hang says where it is.
    faulthandler.dump_traceback_later(100, exit=True)
    print(json.dumps(Play(sys.argv[1], sys.argv[2]).run()))
