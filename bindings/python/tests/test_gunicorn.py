"""A real server that loads the program before it forks, through rotations: with threads, and with greenlets."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import World

pytest.importorskip("gunicorn")

WORKERS = 4
PROGRAM = """
import json, os
import keyswap

policy = {"poll": 0.2, "fetch_floor": 0.05, "fetch_floor_min": 0.05}
keys = keyswap.KeySwap(os.environ["SET_URL"], policy=policy)
keys.ready(10)
api = keyswap.Client(keys, base_url=os.environ["API_URL"], scheme=keyswap.Header("x-api-key"))
loaded_in = os.getpid()

def app(environ, start_response):
    response = api.get("/v1/price")
    told = {"status": response.status_code, "worker": os.getpid(), "loaded_in": loaded_in}
    told["credential"] = response.json().get("credential")
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps(told).encode()]
"""


class Server:
    """gunicorn, and those who call it."""

    def __init__(self, world: World, folder: Path, kind: str) -> None:
        (folder / "program.py").write_text(PROGRAM)
        listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", str(WORKERS)]
        command += ["--worker-class", kind, *(["--threads", "2"] if kind == "gthread" else [])]
        command += ["--bind", f"fd://{listener.fileno()}", "program:app"]
        env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        env |= {
            "SET_URL": world.set_url, "KEYSWAP_BOOTSTRAP": world.bootstrap, "API_URL": world.api_url
        }
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stderr=log, pass_fds=[listener.fileno()]
            )
        listener.close()
        self.answers: list[dict[str, object]] = []
        self.failures: list[str] = []
        self.is_over = threading.Event()
        self.callers = [threading.Thread(target=self._call) for _ in range(8)]
        for caller in self.callers:
            caller.start()

    def _call(self) -> None:
        while not self.is_over.is_set():
            try:
                with urllib.request.urlopen(self.url, timeout=30) as response:
                    answer = json.load(response)
            except OSError as error:
                self.failures.append(repr(error))
                return
            self.answers.append(answer)
            if answer["status"] != 200:
                self.failures.append(repr(answer))

    def wait_until_all_use(self, credential: str) -> None:
        """Until each worker has sent with this credential."""
        until = time.monotonic() + 30
        seen: set[object] = set()
        start = len(self.answers)
        while len(seen) < WORKERS:
            assert not self.failures, f"{self.failures}\n{self.log.read_text()}"
            assert time.monotonic() < until, f"only {seen} use {credential}\n{self.log.read_text()}"
            time.sleep(0.02)
            recent = self.answers[start:]
            seen |= {told["worker"] for told in recent if told["credential"] == credential}

    def stop(self) -> None:
        self.is_over.set()
        for caller in self.callers:
            caller.join(60)
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(params=["gthread", "gevent"])
def server(world: World, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    pytest.importorskip(request.param if request.param == "gevent" else "gunicorn")
    server = Server(world, tmp_path, request.param)
    yield server
    server.stop()


def test_preloaded_workers_live_through_five_rotations(world: World, server: Server) -> None:
    server.wait_until_all_use("k1")
    for version in range(2, 7):
        # With an overlap, and without one.
        if version % 2:
            world.do("rotate", grace_ms=60000)
        else:
            world.do("cut")
        server.wait_until_all_use(f"k{version}")
    server.stop()
    assert not server.failures
    assert server.process.returncode == 0
    parents = {told["loaded_in"] for told in server.answers}
    workers = {told["worker"] for told in server.answers}
    assert len(parents) == 1 and len(workers) == WORKERS and not parents & workers
    assert world.counters()["leaks"] == 0
    told = server.log.read_text()
    assert "Traceback" not in told and "panicked" not in told and "ks_" not in told, told
