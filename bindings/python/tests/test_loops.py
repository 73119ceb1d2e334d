"""Event loops other than that of the standard library: uvloop, and trio."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from conftest import World, python

import keyswap

CALLS = 256
Gather = Callable[[Callable[[], Awaitable[int]], int], Awaitable["list[int]"]]


def on_uvloop(main: Callable[[Gather], Awaitable[None]]) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def gather(call: Callable[[], Awaitable[int]], count: int) -> list[int]:
        return await asyncio.gather(*(call() for _ in range(count)))

    async def run() -> None:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        await main(gather)

    uvloop.run(run())


def on_trio(main: Callable[[Gather], Awaitable[None]]) -> None:
    trio = pytest.importorskip("trio")

    async def gather(call: Callable[[], Awaitable[int]], count: int) -> list[int]:
        told: list[int] = []

        async def one() -> None:
            told.append(await call())

        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one)
        return told

    trio.run(main, gather)


LOOPS = [on_uvloop, on_trio]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_storm_at_a_cut_and_its_events(world: World, loop: Any) -> None:
    async def main(gather: Gather) -> None:
        keys = world.keys()
        await keys.aready(10)
        events = keys.events()
        async with world.async_client(keys) as api:

            async def call() -> int:
                return (await api.get("/v1/price")).status_code

            assert await call() == 200
            before = world.counters()["fetch.changed"]
            world.do("cut")
            assert await gather(call, CALLS) == [200] * CALLS
            assert world.counters()["fetch.changed"] - before == 1
            async with api.stream("POST", "/v1/orders", content=[b"a", b"b"]) as response:
                assert await response.aread()
        async for event in events:
            if event.name == "swapped":
                assert event.to == "k2"
                break
        await keys.arefresh(10)

    loop(main)


@pytest.mark.parametrize("loop", LOOPS)
def test_errors_and_limits_arrive(world: World, loop: Any) -> None:
    world.do("endpoint", fault="hang")

    async def main(_: Gather) -> None:
        keys = world.keys()
        with pytest.raises(keyswap.TimeoutError):
            await keys.aready(0.05)
        keys.close()
        with pytest.raises(keyswap.ClosedError):
            await keys.aready(1)

    loop(main)


def test_a_task_of_trio_that_is_cancelled_takes_its_request_along(world: World) -> None:
    trio = pytest.importorskip("trio")

    async def main() -> None:
        async with world.async_client(world.ready()) as api:
            world.do("api", fault="hang")
            with trio.move_on_after(0.1) as scope:
                await api.get("/v1/price")
            assert scope.cancelled_caught
            world.do("api", fault="none")
            assert (await api.get("/v1/price")).is_success

            async def parts() -> Any:
                yield b"a"

            with pytest.raises(TypeError, match="not asynchronous"):
                await api.post("/v1/orders", content=parts())

    trio.run(main)


def test_httpx_on_trio(world: World) -> None:
    trio, httpx = pytest.importorskip("trio"), pytest.importorskip("httpx")
    from keyswap.integrations.httpx import AsyncTransport

    async def main() -> None:
        keys = world.ready()
        keyed = AsyncTransport(
            keys, scheme=keyswap.Header("x-api-key"), allowed_origins=[world.api_url]
        )
        async with httpx.AsyncClient(transport=keyed, trust_env=False) as api:
            assert (await api.get(f"{world.api_url}/v1/price")).status_code == 200
            before = world.counters()["fetch.changed"]
            world.do("cut")
            answers: list[int] = []

            async def call() -> None:
                answers.append((await api.get(f"{world.api_url}/v1/price")).status_code)

            async with trio.open_nursery() as nursery:
                for _ in range(64):
                    nursery.start_soon(call)
            assert answers == [200] * 64
            assert world.counters()["fetch.changed"] - before == 1

    trio.run(main)


@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_a_program_ends_silently_with_work_pending(world: World, loop: str) -> None:
    pytest.importorskip(loop)
    world.do("endpoint", fault="hang")
    code = f"""
        import sys, {loop}
        import keyswap

        keys = keyswap.KeySwap(sys.argv[1], bootstrap=sys.argv[2])
        api = keyswap.AsyncClient(keys, base_url="https://api.example.com")

        async def main():
            if "{loop}" == "trio":
                async with {loop}.open_nursery() as nursery:
                    for _ in range(50):
                        nursery.start_soon(keys.aready)
                    while keys.stats.waiting < 50:
                        await {loop}.sleep(0.001)
                    nursery.cancel_scope.cancel()
            else:
                import asyncio
                waiting = [asyncio.ensure_future(keys.aready()) for _ in range(50)]
                while keys.stats.waiting < 50:
                    await asyncio.sleep(0.001)

        {loop}.run(main{"" if loop == "trio" else "()"})
    """
    for _ in range(5):
        done = python(code, world.set_url, world.bootstrap)
        assert (done.returncode, done.stderr) == (0, "")
