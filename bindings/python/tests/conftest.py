"""A rotation endpoint and a protected API for each test, and what tests share."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import keyswap

ROOT = Path(__file__).resolve().parents[3]
FAST: keyswap.Policy = {"fetch_floor": 0.05, "fetch_floor_min": 0.05}
"""So that a test can fetch often."""


def binary() -> Path:
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    built = [target / "debug", target / "x86_64-unknown-linux-gnu" / "debug"]
    found = [folder / "keyswap-endpoint" for folder in built]
    found = [path for path in found if path.exists()]
    if not found:
        subprocess.run(["cargo", "build", "-q", "-p", "keyswap-endpoint"], cwd=ROOT, check=True)
        return binary()
    return max(found, key=lambda path: path.stat().st_mtime)


class World:
    """One running endpoint with its API."""

    def __init__(self) -> None:
        command = [str(binary()), "serve", "--exit-with-stdin"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdout is not None
        self.urls: dict[str, str] = json.loads(self.process.stdout.readline())
        self.set_url = self.urls["set_url"]
        self.api_url = self.urls["api_url"]
        self.other_url = self.urls["other_url"]
        self.bootstrap = self.urls["bootstrap"]
        self.opened: list[keyswap.KeySwap] = []

    def stop(self) -> None:
        for keys in self.opened:
            keys.close()
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)

    def control(self, action: str, body: object = None) -> dict[str, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.urls['control_url']}/{action}", data=data)
        with urllib.request.urlopen(request, timeout=10) as response:
            told: dict[str, Any] = json.load(response)
            return told

    def do(self, what: str, **fields: object) -> None:
        """A step of the timeline, now."""
        self.control("step", {"do": what, **fields})

    def story(self, **world: object) -> None:
        """Begins anew, in such a world."""
        told = self.control(
            "story", {"name": "test", "about": "t", "run_ms": 60000, "world": world}
        )
        self.set_url = told["set_url"]
        self.bootstrap = told["bootstrap"]
        self.control("start", {})

    def counters(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.urls['control_url']}/counters", timeout=10) as response:
            told: dict[str, Any] = json.load(response)
            return told

    def keys(self, **options: Any) -> keyswap.KeySwap:
        options.setdefault("policy", FAST)
        keys = keyswap.KeySwap(self.set_url, bootstrap=self.bootstrap, **options)
        self.opened.append(keys)
        return keys

    def ready(self, **options: Any) -> keyswap.KeySwap:
        keys = self.keys(**options)
        keys.ready(10)
        return keys

    def client(self, keys: keyswap.KeySwap, **options: Any) -> keyswap.Client:
        options.setdefault("scheme", keyswap.Header("x-api-key"))
        return keyswap.Client(keys, base_url=self.api_url, **options)

    def async_client(self, keys: keyswap.KeySwap, **options: Any) -> keyswap.AsyncClient:
        options.setdefault("scheme", keyswap.Header("x-api-key"))
        return keyswap.AsyncClient(keys, base_url=self.api_url, **options)


REPLAYED: list[str] = []
"""Stories that were played again, since the machine was late."""


def note_behaviour(item: pytest.Item, outcome: str) -> None:
    """For the table of behaviours and adapters: one line of JSON for each test."""
    mark, path = item.get_closest_marker("behaviour"), os.environ.get("KEYSWAP_BEHAVIOURS")
    if mark is None or path is None:
        return
    text, limits = mark.args
    adapter = item.callspec.params["library"].adapter_name  # type: ignore[attr-defined]
    line = {"behaviour": text, "adapter": adapter, "outcome": outcome, "limit": limits.get(adapter)}
    with open(path, "a") as lines:
        lines.write(json.dumps(line) + "\n")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where nothing may be skipped, a skipped test has failed."""
    report = yield
    if report.when == "call":
        note_behaviour(item, report.outcome)
    if report.skipped and os.environ.get("KEYSWAP_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped here, but: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a whole file."""
    report = yield
    if report.skipped and os.environ.get("KEYSWAP_NO_SKIP"):
        report.outcome = "failed"
        report.longrepr = f"nothing may be skipped here, but: {report.longrepr}"  # type: ignore[assignment]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REPLAYED:
        terminalreporter.write_line(f"played again: {', '.join(REPLAYED)}")


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.stop()


def wait_until(holds: Callable[[], Any], seconds: float = 10) -> None:
    """Looks again and again, and fails where it does not come to be."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not come to be in time"
        time.sleep(0.005)


async def until(holds: Callable[[], Any], seconds: float = 10) -> None:
    """`wait_until`, on an event loop."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come to be in time"
        await asyncio.sleep(0.005)


def wait_for(events: keyswap.Events, name: str, timeout: float = 10) -> keyswap.Event:
    """The next event of this name."""
    while True:
        event = events.next(timeout)
        assert event is not None, f"the events ended before {name}"
        if event.name == name:
            return event


def python(
    code: str, *arguments: str, timeout: float = 30, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Runs code in an interpreter of its own."""
    command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)


def in_threads(count: int, work: Callable[[], Any]) -> list[Any]:
    """What each of so many threads returned, or raised."""
    outcomes: list[Any] = []

    def run() -> None:
        try:
            outcomes.append(work())
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes
