"""Programs that do not run as the others do: under gevent, in a notebook, frozen into one folder, in a loop that a
call holds up."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, World, python

import keyswap

GEVENT = """
    import gevent.monkey
    gevent.monkey.patch_all()
    import sys, time, threading
    import gevent
    import keyswap

    fast = {"fetch_floor": 0.05, "fetch_floor_min": 0.05}
    number = 0
"""


def under_gevent(code: str, *arguments: str) -> str:
    pytest.importorskip("gevent")
    done = python(textwrap.dedent(GEVENT) + textwrap.dedent(code), *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_function_is_called_under_gevent(kind: str) -> None:
    sleep = "await asyncio.sleep(0.01)" if "async" in kind else "time.sleep(0.01)"
    code = f"""
        import asyncio

        {kind} source():
            global number
            number += 1
            {sleep}
            return {{"generation": number, "current": {{"id": f"k{{number}}", "key": f"key-{{number}}"}}}}

        keys = keyswap.KeySwap(source, policy=fast)
        keys.ready(10)
        assert keys.key() == "key-1"
        keys.refresh(10)
        assert keys.key() == "key-2"
        gevent.spawn(keys.refresh, 10).get()
        print(keys.key())
        keys.close()
    """
    assert under_gevent(code) == "key-3\n"


def test_threads_of_functions_leave_nothing_behind_under_gevent() -> None:
    code = """
        import os

        def source():
            global number
            number += 1
            time.sleep(0.001)  # makes gevent's loop of this thread
            return {"generation": number, "current": {"id": f"k{number}", "key": "x"}}

        policy = {"fetch_floor": 0.001, "fetch_floor_min": 0.001, "emergency_burst": 1000}
        keys = keyswap.KeySwap(source, policy={"fetch_floor": 0.001, "fetch_floor_min": 0.001})
        keys.ready(10)
        keys.refresh(10)
        gevent.sleep(0.2)
        before = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        for _ in range(10):
            keys.refresh(10)
        gevent.sleep(0.2)
        after = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
        assert after == before, (before, after)
    """
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("there is no /proc to count descriptors in")
    under_gevent(code)


def test_other_greenlets_run_while_one_waits(world: World) -> None:
    world.do("api", fault="hang")
    code = """
        keys = keyswap.KeySwap(sys.argv[1], bootstrap=sys.argv[2])
        keys.ready(10)
        api = keyswap.Client(keys, base_url=sys.argv[3], scheme=keyswap.Header("x-api-key"))
        ticks = 0

        def tick():
            global ticks
            while True:
                gevent.sleep(0.01)
                ticks += 1

        def call():
            try:
                api.get("/v1/price", timeout=0.5)
            except keyswap.TimeoutError:
                return "timeout"

        gevent.spawn(tick)
        began = time.monotonic()
        calls = [gevent.spawn(call) for _ in range(20)]
        assert [each.get() for each in calls] == ["timeout"] * 20
        assert time.monotonic() - began < 5 and ticks > 10, ticks
        killed = gevent.spawn(call)
        gevent.sleep(0.05)
        killed.kill()
        with gevent.Timeout(0.1, False):
            api.get("/v1/price", timeout=5)
            assert False
        print("done")
    """
    assert under_gevent(code, world.set_url, world.bootstrap, world.api_url) == "done\n"


async def test_a_call_that_holds_up_the_loop_of_its_function() -> None:
    number = 0

    async def source() -> dict[str, Any]:
        nonlocal number
        number += 1
        await asyncio.sleep(0.01)
        return {"generation": number, "current": {"id": f"k{number}", "key": f"key-{number}"}}

    with keyswap.KeySwap(source, policy=FAST) as keys:
        began = time.monotonic()
        keys.ready(5)
        keys.refresh(5)
        assert time.monotonic() - began < 2
        assert keys.key().startswith("key-")
        await keys.arefresh(5)
        # One that has begun on the loop begins again elsewhere.
        refreshing = asyncio.create_task(keys.arefresh(5))
        before = number
        while number == before:
            await asyncio.sleep(0)
        keys.refresh(5)
        await refreshing
    with keyswap.KeySwap(lambda: source(), policy=FAST) as keys:
        keys.ready(5)


NOTEBOOK = """
import asyncio, os
import keyswap

async def source():
    await asyncio.sleep(0.01)
    return {"current": {"id": "k1", "key": "from-a-notebook"}}

keys = keyswap.KeySwap(source)
keys.ready(10)
first = keys.key()
await keys.aready(10)
trading = keyswap.KeySwap(os.environ["SET_URL"])
await trading.aready(10)
api = keyswap.AsyncClient(trading, base_url=os.environ["API_URL"], scheme=keyswap.Header("x-api-key"))
same = keyswap.Client(trading, base_url=os.environ["API_URL"], scheme=keyswap.Header("x-api-key"))
print(first, (await api.get("/v1/price")).json()["credential"], same.get("/v1/price").json()["credential"])
"""


def test_in_a_notebook(world: World) -> None:
    pytest.importorskip("ipykernel")
    jupyter = pytest.importorskip("jupyter_client")
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    env |= {
        "SET_URL": world.set_url, "KEYSWAP_BOOTSTRAP": world.bootstrap, "API_URL": world.api_url,
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    manager = jupyter.KernelManager(kernel_name="python3")
    manager.start_kernel(env=env)
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)

        def run(cell: str) -> str:
            told: list[str] = []

            def heard(message: dict[str, Any]) -> None:
                content = message["content"]
                told.append(content.get("text") or "\n".join(content.get("traceback", [])))

            client.execute_interactive(cell, timeout=30, output_hook=heard)
            return "".join(told)

        assert run(NOTEBOOK) == "from-a-notebook k1 k1\n"
        world.do("cut")
        assert run('print((await api.get("/v1/price")).json()["credential"])') == "k2\n"
        world.do("cut")
        assert run('print(same.get("/v1/price").json()["credential"])') == "k3\n"
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


PROGRAM = """
import os
import keyswap

number = 0

def source():
    global number
    number += 1
    return {"generation": number, "current": {"id": f"k{number}", "key": "x"}}

with keyswap.KeySwap(source, policy={"fetch_floor": 0.05, "fetch_floor_min": 0.05}) as own:
    own.ready(10)
    events = own.events()
    own.refresh(10)
    assert next(events).text and own.stats.sends == 0
with keyswap.KeySwap(os.environ["SET_URL"]) as keys:
    with keyswap.Client(keys, base_url=os.environ["API_URL"], scheme=keyswap.Header("x-api-key")) as api:
        print(api.get("/v1/price").json()["credential"])
    try:
        keys.refresh(0)
    except keyswap.KeyswapError as error:
        print(error.code)
"""


def test_frozen(world: World, tmp_path: Path) -> None:
    pytest.importorskip("PyInstaller")
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "PyInstaller", "--onedir", "--noconfirm", "--log-level", "ERROR", "program.py"]
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    env |= {"PYINSTALLER_CONFIG_DIR": str(tmp_path / "config")}
    made = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=240)
    assert made.returncode == 0, made.stderr
    env |= {"SET_URL": world.set_url, "KEYSWAP_BOOTSTRAP": world.bootstrap, "API_URL": world.api_url}
    program = tmp_path / "dist" / "program" / "program"
    done = subprocess.run([program], env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "k1\ntimeout\n")
