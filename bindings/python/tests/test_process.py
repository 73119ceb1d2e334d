"""Forks, the end of the interpreter, signals, loops, subinterpreters."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import World, in_threads, python, until, wait_until

import keyswap
from keyswap import _native

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")


def in_child(work: Callable[[], None]) -> float:
    """Runs it in a forked child, which must succeed; how many seconds it took."""
    began = time.monotonic()
    with_warnings = sys.version_info >= (3, 12)
    if with_warnings:
        import warnings

        warnings.simplefilter("ignore", DeprecationWarning)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)
    for _ in range(1000):
        done, outcome = os.waitpid(child, os.WNOHANG)
        if done:
            assert outcome == 0
            return time.monotonic() - began
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the child hung")


@needs_fork
def test_a_forked_child_works_within_a_second_and_its_parent_too(world: World) -> None:
    keys = world.ready()
    api, aapi = world.client(keys), world.async_client(keys)
    authorizer = _native.Authorizer(
        keys, scheme=keyswap.Bearer(), allowed_origins=[world.api_url]
    )
    attempt = authorizer.begin(world.api_url)
    snapshot = authorizer.snapshot
    events = keys.events()
    assert api.get("/v1/price").is_success

    def work() -> None:
        assert keys.current.id == "k1", "at once"
        assert api.get("/v1/price").json()["credential"] == "k1"
        with contextlib.suppress(keyswap.TimeoutError):
            events.next(0)
        keys.refresh(10)
        assert keys.stats.fetches_not_modified >= 1 and keys.stats.fetches_changed == 0
        assert asyncio.run(_fetch(aapi)).is_success
        assert attempt.step == _native.Attempt.SEND
        assert authorizer.snapshot is not snapshot
        world.do("cut")
        assert api.get("/v1/price").json()["credential"] == "k2"
        while (event := events.next(10)) is not None and event.name != "swapped":
            pass
        grandchild = in_child(lambda: _assert(api.get("/v1/price").is_success))
        assert grandchild < 1
        assert keyswap.KeySwap(world.set_url, bootstrap=world.bootstrap).key()

    assert in_child(work) < 2
    assert api.get("/v1/price").json()["credential"] == "k2"
    assert in_child(lambda: _assert(api.get("/v1/price").is_success)) < 1
    assert keys.current.id == "k2"
    keys.close()
    in_child(lambda: _raises(keyswap.ClosedError, lambda: keys.current))


async def _fetch(api: keyswap.AsyncClient) -> keyswap.Response:
    return await api.get("/v1/price")


def _assert(condition: object) -> None:
    assert condition


def _raises(kind: type[BaseException], work: Callable[[], Any]) -> None:
    with pytest.raises(kind):
        work()


@needs_fork
def test_a_child_serves_the_last_credential_while_the_endpoint_is_down(world: World) -> None:
    keys = world.ready()
    api = world.client(keys)
    world.do("endpoint", fault="hang")

    def work() -> None:
        assert api.get("/v1/price").json()["credential"] == "k1"

    assert in_child(work) < 1


@needs_fork
def test_a_child_of_a_busy_process_works(world: World) -> None:
    keys = world.ready()
    api = world.client(keys)
    ends = threading.Event()

    def load() -> None:
        while not ends.is_set():
            api.get("/v1/price")

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            in_child(lambda: _assert(api.get("/v1/price").is_success))
    finally:
        ends.set()
        for thread in threads:
            thread.join(30)


@needs_fork
def test_functions_work_in_a_child() -> None:
    calls: list[int] = []

    async def read() -> Any:
        return {"current": {"id": f"in-{os.getpid() == parent}", "key": "x"}}

    parent = os.getpid()
    keys = keyswap.KeySwap(read)
    plain = keyswap.KeySwap(lambda: {"current": {"id": "k", "key": str(len(calls))}})
    keys.ready(10)
    plain.ready(10)

    def work() -> None:
        assert keys.current.id == "in-True", "what the parent held"
        keys.refresh(10)
        assert keys.credentials is not None and keys.credentials.ids[0] == "in-False"
        calls.append(1)
        plain.refresh(10)
        assert plain.key() == "1"

    in_child(work)
    keys.close()
    plain.close()


def _in_process(api_url: str, keys: keyswap.KeySwap, results: Any) -> None:
    with keyswap.Client(keys, base_url=api_url, scheme=keyswap.Header("x-api-key")) as api:
        results.put(api.get("/v1/price").status_code)


@needs_fork
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_multiprocessing_that_forks(world: World) -> None:
    keys = world.ready()
    fork = multiprocessing.get_context("fork")
    results = fork.SimpleQueue()
    children = [
        fork.Process(target=_in_process, args=(world.api_url, keys, results)) for _ in range(4)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(10)
        assert child.exitcode == 0
    assert [results.get() for _ in children] == [200] * 4
    results.close()


@needs_fork
def test_objects_of_the_parent_may_go_in_a_child(world: World) -> None:
    held: list[Any] = []

    async def leave() -> None:
        keys = world.keys()
        api = world.async_client(keys)
        world.do("api", fault="hang")
        await keys.aready(10)
        task = asyncio.ensure_future(api.get("/v1/price"))
        await until(lambda: world.counters()["api.sends"])
        authorizer = _native.Authorizer(
            keys, scheme=keyswap.Bearer(), allowed_origins=[world.api_url]
        )
        held.extend([keys, api, keys.events(), authorizer, authorizer.begin(world.api_url)])
        world.opened.clear()

        in_child(held.clear)
        task.cancel()

    asyncio.run(leave())


def test_nothing_starts_at_import() -> None:
    done = python(
        """
        import threading, keyswap, os
        tasks = len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 1
        assert threading.active_count() == tasks == 1
        """
    )
    assert (done.returncode, done.stderr) == (0, "")


LEAVE = """
    import asyncio, sys, threading, keyswap
    set_url, api_url, bootstrap, way = sys.argv[1:]
    keys = keyswap.KeySwap(set_url, bootstrap=bootstrap)
    keys.ready(10)

    async def work():
        api = keyswap.AsyncClient(keys, base_url=api_url, scheme=keyswap.Header("x-api-key"))
        tasks = [asyncio.ensure_future(api.get("/v1/price")) for _ in range(50)]
        await asyncio.sleep(0)
        if way == "finished":
            await asyncio.gather(*tasks)
        return tasks

    async def slow():
        await asyncio.sleep(60)

    if way == "loop":
        loop = asyncio.new_event_loop()
        tasks = loop.run_until_complete(work())
        for task in tasks:
            task._log_destroy_pending = False
    elif way == "source":
        keys = keyswap.KeySwap(slow), keyswap.KeySwap(lambda: threading.Event().wait(60))
    elif way == "threads":
        api = keyswap.Client(keys, base_url=api_url, scheme=keyswap.Header("x-api-key"))
        def call():
            while True:
                api.get("/v1/price")
        for _ in range(8):
            threading.Thread(target=call, daemon=True).start()
        api.get("/v1/price")
    elif way == "waits":
        api = keyswap.Client(keys, base_url=api_url, scheme=keyswap.Header("x-api-key"))
        events = keys.events()
        for call in (events.next, lambda: api.get("/v1/price")):
            threading.Thread(target=call, daemon=True).start()
    else:
        asyncio.run(work())
"""
WAYS = ("cancelled", "finished", "loop", "threads", "waits", "source")


def test_a_hundred_interpreters_that_end_in_the_middle_of_work(world: World) -> None:
    world.do("api", fault="slow", ms=20)

    def leave(number: int) -> tuple[int, str, str]:
        way = WAYS[number % len(WAYS)]
        done = python(LEAVE, world.set_url, world.api_url, world.bootstrap, way)
        return done.returncode, done.stderr, way

    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(leave, range(102)))
    assert [outcome for outcome in outcomes if outcome[:2] != (0, "")] == []


def test_an_interpreter_that_uses_it_while_it_ends(world: World) -> None:
    done = python(
        """
        import atexit, sys, keyswap
        fast = {"fetch_floor": 0.05, "fetch_floor_min": 0.05}
        keys = keyswap.KeySwap(sys.argv[1], bootstrap=sys.argv[2], policy=fast)

        class Late:
            def __del__(self):
                try:
                    keys.refresh(1)
                except BaseException as error:
                    print(type(error).__name__, flush=True)
        late = Late()
        keys.ready(10)
        late.me = late
        atexit.register(lambda: keys.refresh(10))
        """,
        world.set_url,
        world.bootstrap,
    )
    assert (done.returncode, done.stderr) == (0, "")


async def test_a_loop_that_closes_does_not_matter(world: World) -> None:
    keys = world.ready()
    api = world.async_client(keys)
    world.do("api", fault="slow", ms=30)

    def leave() -> bool:
        loop = asyncio.new_event_loop()
        task = loop.create_task(api.get("/v1/price"))
        loop.run_until_complete(asyncio.sleep(0))
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coroutine = task.get_coro()
        loop.close()
        assert coroutine is not None
        coroutine.close()
        return True

    outcomes = await asyncio.to_thread(in_threads, 8, leave)
    assert outcomes == [True] * 8
    world.do("api", fault="none")
    answers = await asyncio.gather(*[api.get("/v1/price") for _ in range(8)])
    assert all(answer.is_success for answer in answers)


BLOCKS = {
    "ready": "hung.ready()",
    "key": "hung.key()",
    "refresh": "hung.refresh()",
    "events": "next(hung.events())",
    "get": "api.get('/v1/price')",
    "stream": "[*api.stream('GET', '/v1/price').__enter__().iter_bytes()]",
    "attempt": "wait()",
    "body": "stream.send(b'x'); stream.send(b'y')",
}


@pytest.mark.skipif(os.name == "nt", reason="signals of this platform differ")
@pytest.mark.parametrize("call", BLOCKS)
def test_ctrl_c_ends_each_blocking_call(world: World, call: str) -> None:
    code = f"""
        import signal, sys, threading, keyswap
        from keyswap import _native
        # A shell starts what runs in its background with the signal ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        set_url, api_url, bootstrap = sys.argv[1:]
        keys = keyswap.KeySwap(set_url, bootstrap=bootstrap, policy={{"wait": 60}})
        keys.ready(10)
        hung = keyswap.KeySwap(lambda: threading.Event().wait(60), policy={{"fetch_timeout": 60}})
        api = keyswap.Client(keys, base_url=api_url, scheme=keyswap.Header("x-api-key"))
        stream = _native.Body()

        def wait():
            authorizer = _native.Authorizer(hung, scheme=keyswap.Bearer(), allowed_origins=[api_url])
            attempt = authorizer.begin(api_url)
            while attempt.step == attempt.WAIT:
                attempt.wait()

        print("now", flush=True)
        try:
            {BLOCKS[call]}
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    world.do("api", fault="hang")
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), world.set_url, world.api_url, world.bootstrap],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    # It says «now» a moment before it blocks.
    wait_until(lambda: is_blocked(process.pid))
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=10)
    assert (out, errors, process.returncode) == ("interrupted\n", "", 0)
    assert time.monotonic() - began < 2


def is_blocked(pid: int) -> bool:
    """Whether the main thread of a process has slept for a while."""
    stat = Path(f"/proc/{pid}/stat")
    seen: set[str] = set()
    for _ in range(20):
        time.sleep(0.005)
        # Where there is no such file, to have waited is all that can be done.
        seen.add(stat.read_text().rpartition(") ")[2][:1] if stat.exists() else "S")
    return seen == {"S"}


def test_other_threads_run_while_one_waits(world: World) -> None:
    world.do("api", fault="slow", ms=300)
    with world.client(world.ready()) as api:
        waiting = threading.Thread(target=lambda: api.get("/v1/price"))
        waiting.start()
        turns = 0
        while waiting.is_alive():
            turns += 1
            time.sleep(0.005)
        assert turns > 10


def test_a_subinterpreter_is_refused() -> None:
    done = python(
        """
        import sys
        if sys.version_info >= (3, 13):
            import _interpreters
            made = _interpreters.create("legacy")
            failed = _interpreters.exec(made, "import keyswap")
            print(failed.formatted if failed else "imported")
        else:
            import _xxsubinterpreters
            made = _xxsubinterpreters.create(isolated=False)
            try:
                _xxsubinterpreters.run_string(made, "import keyswap")
            except _xxsubinterpreters.RunFailedError as error:
                print(error)
        import keyswap
        keyswap.KeySwap(lambda: {"current": {"id": "k", "key": "x"}}).ready(10)
        print("and the main one works")
        """
    )
    assert "cannot be imported in a subinterpreter" in done.stdout, done
    assert "and the main one works" in done.stdout, done


def test_no_panic_is_an_exception() -> None:
    names = [name for name in dir(_native) if "anic" in name]
    assert names == []
