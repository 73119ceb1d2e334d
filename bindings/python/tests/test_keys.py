"""The handle."""

import asyncio
import copy
import pickle
import threading
import time
from datetime import datetime, timedelta, timezone
from typing import Any, get_type_hints

import pytest
from conftest import FAST, World, in_threads, wait_for, wait_until

import keyswap
from keyswap import _native


def test_making_one_never_waits(world: World) -> None:
    world.do("endpoint", fault="hang")
    began = time.monotonic()
    keys = world.keys()
    assert time.monotonic() - began < 1
    with pytest.raises(keyswap.NotReadyError, match="no credentials yet"):
        keys.current
    assert keys.credentials is None
    with pytest.raises(keyswap.TimeoutError) as caught:
        keys.ready(0.05)
    assert caught.value.code == "timeout"
    assert isinstance(caught.value, TimeoutError), "as Python's own"


def test_the_current_credential_is_one_object_an_epoch(world: World) -> None:
    world.story(ttl_ms=3_600_000, scopes=["trade:write"])
    keys = world.ready()
    now = keys.current
    assert (now.id, now.version) == ("k1", now.version)
    assert now is keys.current
    assert now.reveal() == now.reveal("key") == keys.key()
    with pytest.raises(KeyError, match="'k1 has no material named"):
        now.reveal("nothing")
    assert now.expires_at is not None and now.expires_at.tzinfo is timezone.utc
    assert timedelta(0) < now.expires_at - datetime.now(timezone.utc) < timedelta(hours=1)
    epoch = keys.epoch
    world.do("cut")
    keys.refresh(10)
    assert keys.epoch > epoch
    held = keys.credentials
    assert held is not None
    assert held.generation == 2 and held.ids[0] == "k2"
    assert held.scopes == ["trade:write"] and held.revoked == [] and held.next is None
    assert held.primary is not None and held.primary.id == "k2"


async def test_asynchronous_calls_are_the_same(world: World) -> None:
    async with world.keys() as keys:
        await keys.aready(10)
        await keys.arefresh(10)
        assert await keys.akey() == keys.key()
    with pytest.raises(keyswap.ClosedError):
        keys.current
    with pytest.raises(keyswap.ClosedError):
        await keys.aready()
    assert keys.stats.fetches_changed == 1, "what was can still be seen"


async def test_a_key_function_waits_for_the_first_set_only(world: World) -> None:
    world.do("endpoint", fault="slow", ms=100)
    keys = world.keys()
    assert (await keys.akey()).startswith("ks_")
    world.do("endpoint", fault="hang")
    assert keys.key() == await keys.akey()


def test_closing_ends_all_that_waits(world: World) -> None:
    world.do("endpoint", fault="hang")
    keys = world.keys()
    events = keys.events()
    keys.hint()
    closing = threading.Thread(target=lambda: _close_once_waited_for(keys, 4))
    closing.start()
    outcomes = in_threads(4, lambda: keys.ready(30))
    closing.join(30)
    assert [type(outcome) for outcome in outcomes] == [keyswap.ClosedError] * 4
    assert list(events) == [], "and the iteration over events"
    keys.close()
    with pytest.raises(keyswap.ClosedError):
        keys.refresh()


def _close_once_waited_for(keys: keyswap.KeySwap, waiters: int) -> None:
    wait_until(lambda: keys.stats.waiting == waiters)
    keys.close()


def test_events_are_objects_with_names(world: World) -> None:
    world.do("endpoint", fault="slow", ms=50)
    keys = world.keys()
    events = keys.events()
    fetched = wait_for(events, "fetched")
    assert (fetched.generation, fetched.primary) == (1, "k1")
    assert fetched.credential is None, "a field of other events"
    with pytest.raises(AttributeError, match="nonsense"):
        fetched.nonsense  # type: ignore[attr-defined]
    assert str(fetched) == "generation 1 fetched, current is k1"
    swapped = wait_for(events, "swapped")
    assert (swapped.from_, swapped.to) == (None, "k1")
    assert "k1" in repr(swapped)
    world.do("endpoint", fault="server_error", status=500)
    with pytest.raises(keyswap.UnavailableError):
        keys.refresh(10)
    failed = wait_for(events, "fetch_failed")
    assert failed.error == "unavailable" and failed.retry_in_ms >= 0
    with pytest.raises(keyswap.TimeoutError):
        events.next(0.01)


async def test_events_can_be_iterated_over_on_a_loop(world: World) -> None:
    keys = world.ready()
    events = keys.events()
    with pytest.raises(keyswap.TimeoutError):
        while True:  # What the first fetch told may come a moment after it.
            await events.anext(0.05)
    waiting = asyncio.create_task(events.anext())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    world.do("cut")
    await keys.arefresh(10)
    async for event in events:
        if event.name == "swapped":
            break
    assert event.to == "k2", "a wait that was cancelled loses no event"
    keys.close()
    async for event in events:
        pass


def test_a_slow_observer_is_told_what_it_missed() -> None:
    keys = keyswap.KeySwap(lambda: {"current": {"id": "k", "key": "x"}}, policy=FAST)
    keys.ready(10)
    events = keys.events()
    seen = keys.events()
    for number in range(70):
        keys.hint()
        assert seen.next(10) is not None, number
    first = events.next(10)
    assert first is not None and first.name == "lagged" and first.missed >= 1
    keys.close()


def test_events_do_not_keep_a_handle_alive(world: World) -> None:
    events = world.ready().events()
    world.opened.clear()
    assert events.next(10) is None


def test_what_was_counted(world: World) -> None:
    keys = world.ready()
    keys.refresh(10)
    stats = keys.stats
    assert (stats.generation, stats.in_use) == (1, "k1")
    assert (stats.fetches_changed, stats.fetches_not_modified, stats.fetches_failed) == (1, 1, 0)
    assert stats.age is not None and 0 <= stats.age < 10
    assert stats.last_success is not None
    assert abs(stats.last_success - datetime.now(timezone.utc)) < timedelta(seconds=10)
    assert (stats.sends, stats.extra_sends, stats.rejections, stats.waiting) == (0, 0, 0, 0)
    assert (stats.fetches_forced, stats.fallbacks, stats.rollbacks) == (0, 0, 0)
    assert stats.expires_at is None and stats.epoch == keys.epoch


def test_nothing_can_be_pickled_or_copied(world: World) -> None:
    keys = world.ready()
    api = world.client(keys)
    authorizer = _native.Authorizer(keys, scheme=keyswap.Bearer(), allowed_origins=[world.api_url])
    attempt = authorizer.begin(world.api_url)
    things = [
        keys,
        keys.current,
        keys.credentials,
        keyswap.Endpoint(world.set_url, bootstrap="x"),
        api,
        world.async_client(keys),
        authorizer,
        authorizer.snapshot.patch,
        attempt,
        keys.events(),
    ]
    for thing in things:
        for attempted in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="pickle"):
                attempted(thing)
    error = pickle.loads(
        pickle.dumps(keyswap.StatusError("no", status=404, retry_after=2.5, is_lasting=True))
    )
    assert (type(error), str(error)) == (keyswap.StatusError, "no")
    assert (error.code, error.status, error.retry_after) == ("status", 404, 2.5)
    assert error.is_lasting and not keyswap.StatusError("no").is_lasting


@pytest.mark.parametrize(
    ("arguments", "expected", "words"),
    [
        ((7,), TypeError, "a source is a URL"),
        (("nonsense",), keyswap.InvalidConfigError, "URL"),
        (("https://user:s3cr3t@keys.example.com/x",), keyswap.InvalidConfigError, "password"),
        ((keyswap.File("/nowhere"),), keyswap.InvalidConfigError, "bootstrap is for a URL"),
    ],
)
def test_a_bad_source_is_told_at_once(
    arguments: tuple[Any, ...], expected: type[Exception], words: str
) -> None:
    with pytest.raises(expected, match=words) as caught:
        keyswap.KeySwap(*arguments, bootstrap=None if arguments == (7,) else "s3cr3t")
    assert "s3cr3t" not in repr(caught.value)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"pol": 1}, "unknown field `pol`"),
        ({"poll": -1}, "number of seconds"),
        ({"poll": "soon"}, "invalid type"),
        ({"poll": object()}, "a number of seconds is wanted"),
        ({"poll": float("nan")}, "invalid policy"),
        ({"forced_burst": 0}, "forced_burst must be at least 1"),
        ([1], "must be a mapping"),
    ],
)
def test_a_bad_policy_is_told_at_once(policy: Any, words: str) -> None:
    with pytest.raises(keyswap.InvalidConfigError, match=words):
        keyswap.KeySwap(lambda: {}, policy=policy)


def test_a_policy_may_have_timedeltas_and_has_every_number() -> None:
    keyswap.KeySwap(lambda: {}, policy={"poll": timedelta(minutes=1), "probe_delays": [1]}).close()
    with pytest.raises(keyswap.InvalidConfigError) as caught:
        keyswap.KeySwap(lambda: {}, policy={"nonsense": 1})
    known = set(str(caught.value).partition("expected one of ")[2].split("`")[1::2])
    assert known == set(get_type_hints(keyswap.Policy))


def test_bad_timeouts_are_refused(world: World) -> None:
    keys = world.keys()
    for timeout in (-1, float("nan"), float("inf")):
        with pytest.raises(keyswap.InvalidConfigError, match="number of seconds"):
            keys.refresh(timeout)
    with pytest.raises(TypeError):
        keys.ready("soon")  # type: ignore[arg-type]


def test_names_are_those_of_the_core() -> None:
    assert set(keyswap.KeyswapError._by_code) == set(_native.error_codes())
    for code, kind in keyswap.KeyswapError._by_code.items():
        assert kind.__name__ == code.title().replace("_", "") + "Error"
        assert getattr(keyswap, kind.__name__) is kind
        assert kind.__name__ in keyswap.__all__ or kind is keyswap.TimeoutError
        assert issubclass(kind, keyswap.KeyswapError) and kind.__doc__
    assert len(_native.event_names()) == len(set(_native.event_names())) == 17


def test_each_kind_of_event_has_a_class() -> None:
    kinds = keyswap.events.KINDS
    assert set(kinds) == set(_native.event_names())
    for name, kind in kinds.items():
        assert kind.__name__ == name.title().replace("_", "") and kind.__doc__
        assert issubclass(kind, keyswap.Event)


def test_events_are_matched_on(world: World) -> None:
    keys = world.ready()
    events = keys.events()
    world.do("cut")
    keys.refresh(10)
    while True:
        event = events.next(10)
        match event:
            case keyswap.events.Swapped(from_="k1", to=fresh):
                assert (event.name, fresh, event.credential) == ("swapped", "k2", None)
                assert repr(event) == f"<keyswap.Event swapped: {event}>"
                break
            case keyswap.events.Fetched(primary=primary):
                assert primary == "k2"
            case other:
                assert isinstance(other, keyswap.Event)
