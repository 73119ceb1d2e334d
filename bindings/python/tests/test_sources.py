"""Sources: functions, files, variables, and how an endpoint is shown who asks."""

import asyncio
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, World, python, wait_for, wait_until

import keyswap

GOOD = {"current": {"id": "k1", "key": "material-1"}}


def follow(source: Any, **policy: Any) -> keyswap.KeySwap:
    return keyswap.KeySwap(source, policy={**FAST, **policy})


def test_a_function_runs_in_a_thread_of_its_own() -> None:
    seen: list[threading.Thread] = []

    def read() -> dict[str, Any]:
        seen.append(threading.current_thread())
        return GOOD

    with follow(read) as keys:
        keys.ready(10)
        assert keys.key() == "material-1"
        assert keys.credentials is not None and keys.credentials.generation == 1
    assert seen[0].name == "keyswap-source" and seen[0].daemon


async def test_an_asynchronous_function_runs_on_the_loop_of_the_handle() -> None:
    seen: list[asyncio.AbstractEventLoop] = []

    async def read() -> dict[str, Any]:
        await asyncio.sleep(0)
        seen.append(asyncio.get_running_loop())
        return GOOD

    class Reader:
        async def __call__(self) -> dict[str, Any]:
            return await read()

    for source in (read, Reader(), lambda: read()):
        async with follow(source) as keys:
            await keys.aready(10)
            assert keys.current.id == "k1"
    assert seen == [asyncio.get_running_loop()] * 3


def test_without_a_loop_it_runs_on_a_private_one() -> None:
    seen: list[str] = []

    async def read() -> dict[str, Any]:
        seen.append(threading.current_thread().name)
        return GOOD

    with follow(read) as keys:
        keys.ready(10)
    assert seen == ["keyswap-loop"]


def test_when_its_loop_has_ended_it_runs_on_the_private_one() -> None:
    seen: list[str] = []

    async def read() -> dict[str, Any]:
        seen.append(threading.current_thread().name)
        return GOOD

    async def begin() -> keyswap.KeySwap:
        keys = follow(read)
        await keys.aready(10)
        return keys

    with asyncio.run(begin()) as keys:
        keys.refresh(10)
    assert seen == ["MainThread", "keyswap-loop"]


def test_a_mapping_may_be_written_short() -> None:
    ends = datetime.now(timezone(timedelta(hours=2))) + timedelta(hours=1)
    document = {
        "generation": 7,
        "current": {
            "id": "k7",
            "key": "a",
            "secret": "b",
            "passphrase": "c",
            "version": "7",
            "expires_at": ends,
            "scopes": ["x"],
        },
        "previous": ({"id": "k6", "material": {"key": "d", "expires_at": "e"}},),
        "next": {"id": "k8", "key": "f", "activate_at": ends.timestamp(), "created_at": None},
        "revoked": ["k5"],
    }
    with follow(lambda: document) as keys:
        keys.ready(10)
        now, held = keys.current, keys.credentials
        assert [now.reveal(name) for name in ("key", "secret", "passphrase")] == ["a", "b", "c"]
        assert now.expires_at is not None
        assert abs(now.expires_at - ends) < timedelta(milliseconds=1)
        assert (now.version, now.scopes) == ("7", ["x"])
        assert held is not None and held.generation == 7
        assert held.ids == ["k7", "k6", "k8"] and held.revoked == ["k5"]
        assert held.previous[0].reveal("expires_at") == "e", "a piece of material of that name"
        assert held.next is not None and held.next.created_at is None


RECURSIVE: dict[str, Any] = {}
RECURSIVE["current"] = RECURSIVE


@pytest.mark.parametrize(
    ("value", "code", "words"),
    [
        (None, "malformed", "not NoneType"),
        ("s3cr3t", "malformed", "must return a mapping"),
        ([], "malformed", "must return a mapping"),
        ({}, "malformed", "current is missing"),
        ({"current": {"key": "s3cr3t"}}, "malformed", "current.id is missing"),
        ({"current": {"id": "s3cr3t key", "key": "x"}}, "malformed", "id must match"),
        ({"current": {"id": "k", "key": b"s3cr3t"}}, "malformed", "material must be"),
        ({"current": {"id": "k", "key": 7}}, "malformed", "material must be"),
        ({"current": {"id": "k", "key": object()}}, "malformed", "what JSON can hold"),
        ({"current": {"id": "k", "key": "\ud800s3cr3t"}}, "malformed", "what JSON can hold"),
        ({"current": {7: "s3cr3t"}}, "malformed", "must be strings"),
        ({"current": {"id": "k", "key": "x", "expires_at": datetime(2030, 1, 1)}}, "malformed",
         "a datetime with a time zone"),
        ({"current": {"id": "k", "key": "x", "expires_at": float("inf")}}, "malformed", "JSON"),
        ({"current": {"id": "k", "key": "x", "expires_at": True}}, "malformed", "RFC 3339"),
        ({"current": {"id": "k", "key": "x"}, "generation": float("nan")}, "malformed", "JSON"),
        (RECURSIVE, "malformed", "what JSON can hold"),
    ],
)
def test_junk_is_a_failed_fetch(value: Any, code: str, words: str) -> None:
    with follow(lambda: value) as keys:
        with pytest.raises(keyswap.KeyswapError, match=words) as caught:
            keys.ready(10)
        assert caught.value.code == code
        assert "s3cr3t" not in str(caught.value)


def fails_with(error: BaseException) -> Callable[[], Any]:
    def read() -> Any:
        raise error

    return read


class Odd(BaseException):
    pass


@pytest.mark.parametrize("error", [ValueError("s3cr3t"), SystemExit(3), KeyboardInterrupt(), Odd()])
def test_a_function_that_raises_displaces_nothing(error: BaseException) -> None:
    answers: list[Callable[[], Any]] = [lambda: GOOD, fails_with(error), lambda: GOOD]
    with follow(lambda: answers.pop(0)()) as keys:
        keys.ready(10)
        events = keys.events()
        with pytest.raises(keyswap.SourceFailedError) as caught:
            keys.refresh(10)
        assert type(error).__name__ in str(caught.value)
        assert "test_sources.py:" in str(caught.value), "where it was raised"
        assert "s3cr3t" not in str(caught.value), "its message may hold anything"
        assert wait_for(events, "fetch_failed").error == "source_failed"
        assert keys.current.id == "k1"
        keys.refresh(10)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_function_that_hangs_is_given_up(is_async: bool) -> None:
    release = threading.Event()
    cancelled = threading.Event()
    calls = 0

    def read() -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls > 1:
            release.wait(30)
        return GOOD

    async def aread() -> dict[str, Any]:
        nonlocal calls
        calls += 1
        try:
            if calls > 1:
                await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return GOOD

    source: Any = aread if is_async else read
    with follow(source, fetch_timeout=0.1) as keys:
        keys.ready(10)
        with pytest.raises(keyswap.TimeoutError, match="did not answer within 0.1 s"):
            keys.refresh(10)
        assert keys.current.id == "k1"
        if is_async:
            assert cancelled.wait(10)
            return
        # The call that was given up still runs; one more may run beside it, and no third.
        with pytest.raises(keyswap.TimeoutError):
            keys.refresh(10)
        with pytest.raises(keyswap.SourceFailedError, match="two earlier calls"):
            keys.refresh(10)
        assert calls == 3
        release.set()
        wait_until(lambda: refreshed(keys))


def refreshed(keys: keyswap.KeySwap) -> bool:
    try:
        keys.refresh(10)
    except keyswap.KeyswapError:
        return False
    return True


async def test_a_function_that_blocks_its_loop_is_given_up() -> None:
    calls = 0
    given_up = threading.Event()

    async def read() -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 2:
            assert given_up.wait(30)
        return GOOD

    def listen(events: keyswap.Events) -> None:
        wait_for(events, "fetch_failed")
        given_up.set()

    async with follow(read, fetch_timeout=0.1) as keys:
        await keys.aready(10)
        threading.Thread(target=listen, args=(keys.events(),), daemon=True).start()
        with pytest.raises(keyswap.TimeoutError):
            await keys.arefresh(10)
        assert keys.current.id == "k1"
        await keys.arefresh(10)


def test_a_local_generation_rises_with_the_material() -> None:
    key = ["a"]
    with follow(lambda: {"current": {"id": key[0], "key": key[0]}}) as keys:
        keys.ready(10)
        keys.refresh(10)
        assert keys.stats.generation == 1
        key[0] = "b"
        keys.refresh(10)
        assert (keys.stats.generation, keys.current.id) == (2, "b")


def test_a_function_that_mints_is_not_called_only_to_look() -> None:
    reads: list[str] = []
    mints: list[str] = []

    def called(calls: list[str]) -> dict[str, Any]:
        calls.append("called")
        return GOOD

    policy: keyswap.Policy = {**FAST, "poll": 0.05}
    with (
        keyswap.KeySwap(lambda: called(mints), policy=policy, mints=True) as minting,
        keyswap.KeySwap(lambda: called(reads), policy=policy) as reading,
    ):
        minting.ready(10)
        reading.ready(10)
        wait_until(lambda: len(reads) > 5)
        assert len(mints) == 1
    with pytest.raises(keyswap.InvalidConfigError, match="for a function"):
        keyswap.KeySwap("https://keys.example.com/v1/sets/s", mints=True)


def test_a_set_that_its_url_does_not_name(world: World) -> None:
    name = world.set_url.rpartition("/")[2]

    def named(name: str) -> keyswap.KeySwap:
        endpoint = keyswap.Endpoint(world.set_url, bootstrap=world.bootstrap, set_name=name)
        return keyswap.KeySwap(endpoint)

    with named(name) as keys:
        keys.ready(10)
    with named("another") as keys:
        with pytest.raises(keyswap.MalformedError, match="the one that was asked for"):
            keys.ready(10)


@pytest.mark.parametrize("option", ["root_certificates", "client_certificate"])
def test_certificates_in_a_file(option: str, world: World, tmp_path: Path) -> None:
    with pytest.raises(keyswap.InvalidConfigError, match=f"{option} or {option}_file, not both"):
        keyswap.Endpoint(world.set_url, **{option: b"", f"{option}_file": "x"})
    file = tmp_path / "file.pem"
    options: dict[str, Any] = {f"{option}_file": file, "bootstrap": world.bootstrap}
    url = world.set_url.replace("http:", "https:")
    for content, words in [(None, "file.pem"), ("nothing", "file.pem")]:
        if content is not None:
            file.write_text(content)
        with follow(keyswap.Endpoint(url, **options)) as keys:
            with pytest.raises(keyswap.KeyswapError, match=words):
                keys.ready(10)


def test_a_way_back_and_a_key_that_is_simply_wrong_are_told(world: World) -> None:
    number = [5]

    def read() -> dict[str, Any]:
        return {"generation": number[0], "current": {"id": f"k{number[0]}", "key": "wrong"}}

    with follow(read, go_back=0.1, wait_unproven=0.2) as keys, world.client(keys) as api:
        keys.ready(10)
        events = keys.events()
        assert api.get("/v1/price").status_code == 401
        told = wait_for(events, "exhausted")
        assert told.never_accepted is True and told.reason is None
        number[0] = 3
        wait_until(lambda: refreshed(keys) and keys.stats.generation == 3)
        back = wait_for(events, "recovered")
        while back.from_generation is None:
            back = wait_for(events, "recovered")
        assert (back.from_generation, back.to_generation) == (5, 3)


def test_a_file_and_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "key"
    path.write_text("material-1\n")
    with follow(keyswap.File(path)) as keys:
        keys.ready(10)
        assert keys.key() == "material-1"
        (tmp_path / "new").write_text("material-2\n")
        (tmp_path / "new").rename(path)
        keys.refresh(10)
        # Nobody said that the API accepts the first: it is no fallback.
        assert keys.key() == "material-2"
        assert keys.credentials is not None and len(keys.credentials.ids) == 1
    monkeypatch.setenv("KEYSWAP_TEST_KEY", "material-3")
    with follow(keyswap.Env("KEYSWAP_TEST_KEY", id="dev")) as keys:
        keys.ready(10)
        assert (keys.current.id, keys.key()) == ("dev", "material-3")
    with follow(keyswap.Env("KEYSWAP_TEST_NOTHING")) as keys:
        with pytest.raises(keyswap.InvalidConfigError, match="KEYSWAP_TEST_NOTHING is unset"):
            keys.ready(10)


def test_ways_to_show_who_asks(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bootstrap").write_text(world.bootstrap)

    async def ask() -> str:
        return world.bootstrap

    ways: list[dict[str, Any]] = [
        {"bootstrap": world.bootstrap},
        {"bootstrap": lambda: world.bootstrap},
        {"bootstrap": ask},
        {"bootstrap_file": tmp_path / "bootstrap"},
    ]
    for way in ways:
        with keyswap.KeySwap(world.set_url, **way) as keys:
            keys.ready(10)
            assert keys.current.id == "k1", way
        with keyswap.KeySwap(keyswap.Endpoint(world.set_url, timeout=5, **way)) as keys:
            keys.ready(10)
    # In a process of its own: the variable serves one endpoint a process.
    code = "import sys, keyswap; keyswap.KeySwap(sys.argv[1]).ready(10)"
    monkeypatch.setenv("KEYSWAP_BOOTSTRAP", world.bootstrap)
    done = python(code, world.set_url)
    assert (done.returncode, done.stderr) == (0, "")
    wrong: list[tuple[Any, type[keyswap.KeyswapError]]] = [
        ("wrong", keyswap.BootstrapRejectedError),
        (False, keyswap.BootstrapRejectedError),
        (lambda: 7, keyswap.SourceFailedError),
        (fails_with(ValueError("s3cr3t")), keyswap.SourceFailedError),
    ]
    for bootstrap, expected in wrong:
        with keyswap.KeySwap(world.set_url, bootstrap=bootstrap) as keys:
            with pytest.raises(expected) as caught:
                keys.ready(10)
            assert "s3cr3t" not in str(caught.value)
    with pytest.raises(keyswap.InvalidConfigError, match="not both"):
        keyswap.KeySwap(world.set_url, bootstrap="x", bootstrap_file="y")
    with pytest.raises(keyswap.InvalidConfigError, match="a string, a function, a KeySwap, or False"):
        keyswap.KeySwap(world.set_url, bootstrap=7)  # type: ignore[arg-type]


FAULTS: list[tuple[dict[str, Any], type[keyswap.KeyswapError]]] = [
    ({"fault": "outage"}, keyswap.UnavailableError),
    ({"fault": "torn"}, keyswap.UnavailableError),
    ({"fault": "garbage"}, keyswap.MalformedError),
    ({"fault": "oversized"}, keyswap.MalformedError),
    ({"fault": "rate_limited", "retry_after": 1}, keyswap.ThrottledError),
    ({"fault": "server_error", "status": 500}, keyswap.UnavailableError),
    ({"fault": "redirect"}, keyswap.MalformedError),
    ({"fault": "bootstrap_invalid"}, keyswap.BootstrapRejectedError),
    ({"fault": "unknown_set"}, keyswap.UnknownSetError),
    ({"fault": "too_many"}, keyswap.MalformedError),
    ({"fault": "expired"}, keyswap.MalformedError),
    ({"fault": "hang"}, keyswap.TimeoutError),
]


@pytest.mark.parametrize(("fault", "expected"), FAULTS, ids=lambda it: str(it)[:40])
def test_each_fault_of_an_endpoint_has_its_exception(
    world: World, fault: dict[str, Any], expected: type[keyswap.KeyswapError]
) -> None:
    keys = world.ready(policy={**FAST, "fetch_timeout": 0.5})
    world.do("endpoint", **fault)
    with pytest.raises(expected) as caught:
        keys.refresh(10)
    assert keys.current.id == "k1", "a failure displaces nothing"
    if expected is keyswap.ThrottledError:
        assert (caught.value.status, caught.value.retry_after) == (429, 1.0)
        assert not caught.value.is_lasting


class Odd:
    """What no document can hold; who prints it tells the secret."""

    def __repr__(self) -> str:
        return "s3cr3t"

    __str__ = __repr__


@pytest.mark.parametrize(
    "document",
    [
        {"s3cr3t": Odd()},
        {"current": {"id": "k1", "s3cr3t": Odd()}},
        {"current": {"id": "k1", "key": Odd()}},
        {"current": {"id": "k1", "key": {"s3cr3t": Odd()}}},
        {"current": {"id": "k1", "key": {"s3cr3t": "s3cr3t"}}},
        {"current": {"id": "k1", "key": {"s3cr3t": datetime(2026, 1, 1)}}},
        {"current": {"id": "k1", "material": {"key": {"s3cr3t": [Odd()]}}}},
        {"current": {"id": "k1", "key": {Odd(): 1}}},
        {"current": {"id": "k1", "key": "x", "scheme": {"s3cr3t": {"s3cr3t": Odd()}}}},
        {"current": {b"s3cr3t": 1}},
        {"current": {"id": "k1", "key": "x", "expires_at": "s3cr3t"}},
        {"current": "s3cr3t"},
        ["s3cr3t"],
        Odd(),
    ],
)
def test_an_error_quotes_nothing_of_a_mapping(
    document: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="keyswap")
    with follow(lambda: document) as keys:
        with pytest.raises(keyswap.KeyswapError) as caught:
            keys.ready(10)
        wait_until(lambda: any("fetch" in record.getMessage() for record in caplog.records))
    told = f"{caught.value!r} {caplog.text} {[vars(record) for record in caplog.records]}"
    assert "s3cr3t" not in told and isinstance(caught.value, keyswap.MalformedError)
