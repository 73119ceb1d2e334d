"""What the package costs beside the least that is possible and beside other clients, in one run.

    bench.py [--seconds 2] [--rounds 5] [--check]

Reads are timed by this thread's CPU clock. A request costs the CPU time of the whole client process,
threads and kernel included; each client runs in a process of its own, on 8 connections, against a server
in another. Rounds are interleaved and medians are shown. With --check a missed goal is a failure.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

CONNECTIONS = 8
HEADERS = {"x-api-key": "k" * 40}


# ---- reading ----


def read_costs(rounds: int) -> dict[str, float]:
    """Nanoseconds of each way to a fresh credential."""
    import keyswap_limit

    import keyswap

    document = {"current": {"id": "k1", "key": "k" * 40}}
    with keyswap.KeySwap(lambda: document) as keys:
        keys.ready(10)
        limit = keyswap_limit.Limit(keys.current)
        origin = "https://api.example.com"
        authorizer = keyswap.Authorizer(
            keys, scheme=keyswap.Header("x-api-key"), allowed_origins=[origin]
        )
        # Until the API has accepted a key, each request begins an attempt.
        attempt = authorizer.begin(origin)
        attempt.apply("GET", origin)
        attempt.response(200)
        while authorizer.prepared(origin) is None:
            time.sleep(0.01)
        put, headers = authorizer.put, dict[str, str]()
        ways: dict[str, Callable[[], Any]] = {
            "nothing": lambda: None,
            "limit": lambda: limit.current,
            "current": lambda: keys.current,
            "header": lambda: put(origin, headers),
        }
        seen: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds * 3):
            for name, way in ways.items():
                seen[name].append(timed(way, 200_000))
        assert headers == HEADERS
    nothing = statistics.median(seen.pop("nothing"))
    return {name: statistics.median(times) - nothing for name, times in seen.items()}


def timed(way: Callable[[], Any], count: int) -> float:
    turns = itertools.repeat(None, count)
    began = time.thread_time_ns()
    for _ in turns:
        way()
    return (time.thread_time_ns() - began) / count


# ---- requests ----


def client(kind: str, url: str, seconds: float) -> None:
    """Sends for so long, and prints the CPU microseconds of a request."""
    if kind.startswith("async"):
        how = "uvloop" if kind.endswith("uvloop") else "asyncio"
        measure_tasks(ASYNC[kind.split("-")[1]], url, seconds, how)
    else:
        measure_threads(SYNC[kind.split("-")[1]], url, seconds)


def tell(cost: float) -> None:
    """Ends the process at once: not every client can be cancelled."""
    print(json.dumps(cost), flush=True)
    os._exit(0)


def cpu() -> float:
    times = os.times()
    return times.user + times.system


def measure_threads(make: Callable[[str], Callable[[], bytes]], url: str, seconds: float) -> None:
    sent = [0] * CONNECTIONS
    get = make(url)

    def run(number: int) -> None:
        while True:
            assert len(get()) == 200
            sent[number] += 1

    for number in range(CONNECTIONS):
        threading.Thread(target=run, args=(number,), daemon=True).start()
    time.sleep(seconds / 4)
    before, began = sum(sent), cpu()
    time.sleep(seconds)
    tell((cpu() - began) / (sum(sent) - before) * 1e6)


def measure_tasks(
    make: Callable[[str], Awaitable[Callable[[], Awaitable[bytes]]]],
    url: str,
    seconds: float,
    how: str,
) -> None:
    sent = [0] * CONNECTIONS

    async def main() -> None:
        get = await make(url)

        async def run(number: int) -> None:
            while True:
                assert len(await get()) == 200
                sent[number] += 1

        tasks = [asyncio.ensure_future(run(number)) for number in range(CONNECTIONS)]
        await asyncio.sleep(seconds / 4)
        before, began = sum(sent), cpu()
        await asyncio.sleep(seconds)
        cost = (cpu() - began) / (sum(sent) - before) * 1e6
        for task in tasks:
            if task.done():
                task.result()
        tell(cost)

    if how == "uvloop":
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())


def _keys() -> Any:
    import keyswap

    keys = keyswap.KeySwap(lambda: {"current": {"id": "k1", "key": HEADERS["x-api-key"]}})
    keys.ready(10)
    return keys


def keyswap_sync(url: str) -> Callable[[], bytes]:
    import keyswap

    api = keyswap.Client(_keys(), base_url=url, scheme=keyswap.Header("x-api-key"))
    return lambda: api.get("/").content


async def keyswap_async(url: str) -> Callable[[], Awaitable[bytes]]:
    import keyswap

    api = keyswap.AsyncClient(_keys(), base_url=url, scheme=keyswap.Header("x-api-key"))

    async def get() -> bytes:
        return (await api.get("/")).content

    return get


def pyreqwest_sync(url: str) -> Callable[[], bytes]:
    from pyreqwest.client import SyncClientBuilder

    api = SyncClientBuilder().no_proxy().build()
    (name, value), = HEADERS.items()
    return lambda: bytes(api.get(url).header(name, value).build().send().bytes())


async def pyreqwest_async(url: str) -> Callable[[], Awaitable[bytes]]:
    from pyreqwest.client import ClientBuilder

    api = ClientBuilder().no_proxy().build()
    (name, value), = HEADERS.items()

    async def get() -> bytes:
        response = await api.get(url).header(name, value).build().send()
        return bytes(await response.bytes())

    return get


async def httpx_async(url: str) -> Callable[[], Awaitable[bytes]]:
    import httpx

    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    api = httpx.AsyncClient(limits=limits, trust_env=False)

    async def get() -> bytes:
        return (await api.get(url, headers=HEADERS)).content

    return get


def requests_sync(url: str) -> Callable[[], bytes]:
    import requests

    held = threading.local()

    def get() -> bytes:
        if not hasattr(held, "session"):
            held.session = requests.Session()
            held.session.trust_env = False
        content: bytes = held.session.get(url, headers=HEADERS).content
        return content

    return get


SYNC = {"keyswap": keyswap_sync, "pyreqwest": pyreqwest_sync, "requests": requests_sync}
ASYNC = {"keyswap": keyswap_async, "pyreqwest": pyreqwest_async, "httpx": httpx_async}
KINDS = [
    "async-keyswap", "async-pyreqwest", "async-httpx", "async-keyswap-uvloop",
    "async-pyreqwest-uvloop", "sync-keyswap", "sync-pyreqwest", "sync-requests",
]


def request_costs(server: str, rounds: int, seconds: float) -> dict[str, float]:
    """CPU microseconds of a request, by client."""
    process = subprocess.Popen([server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    url = f"http://127.0.0.1:{int(process.stdout.readline())}/"
    seen: dict[str, list[float]] = {kind: [] for kind in KINDS}
    try:
        for _ in range(rounds):
            for kind in KINDS:
                command = [sys.executable, __file__, "--client", kind, url, str(seconds)]
                told = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=60)
                seen[kind].append(json.loads(told.stdout))
    finally:
        process.stdin.close()
        process.wait(10)
    return {kind: statistics.median(costs) for kind, costs in seen.items()}


def main() -> None:
    if len(sys.argv) > 1 and sys.argv[1] == "--client":
        client(sys.argv[2], sys.argv[3], float(sys.argv[4]))
    parser = argparse.ArgumentParser(description="The costs of keyswap in Python.")
    parser.add_argument("--server", required=True, help="the bench-server")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each client in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="fail when a goal is missed")
    options = parser.parse_args()
    reads = read_costs(options.rounds)
    costs = request_costs(options.server, options.rounds, options.seconds)
    rows = [
        ("keys.current / the least that a getter costs", reads["current"] / reads["limit"], "<=", 2.0),
        ("header into a dict, ns", reads["header"], "<=", 100.0),
    ]
    for ours, other, sign, goal in [
        ("async-keyswap", "async-pyreqwest", "<=", 1.25),
        ("async-keyswap-uvloop", "async-pyreqwest-uvloop", "<=", 1.1),
        ("sync-keyswap", "sync-pyreqwest", "<=", 1.25),
    ]:
        rows.append((f"CPU a request, {ours} / {other}", costs[ours] / costs[other], sign, goal))
    for ours, other in [("async-keyswap", "async-httpx"), ("sync-keyswap", "sync-requests")]:
        rows.append((f"CPU a request, {other} / {ours}", costs[other] / costs[ours], ">=", 5.0))
    print(f"python {sys.version.split()[0]}, {options.rounds} rounds; in this run:")
    for name, nanos in reads.items():
        print(f"  {name:<28}{nanos:>9.1f} ns")
    for kind, micros in costs.items():
        print(f"  {kind:<28}{micros:>9.1f} us CPU a request")
    missed = 0
    for name, value, sign, goal in rows:
        is_met = value <= goal if sign == "<=" else value >= goal
        missed += not is_met
        print(f"{name:<64}{value:>8.2f}  {sign} {goal:<6g}{'' if is_met else '  MISSED'}")
    sys.exit(1 if missed and options.check else 0)


if __name__ == "__main__":
    main()
