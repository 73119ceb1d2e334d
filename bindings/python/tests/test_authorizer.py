"""What adapters for other HTTP libraries are made of, driven by hand."""

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from conftest import FAST, World, in_threads, wait_until

import keyswap
from keyswap import _native
from keyswap._bridge import run

Attempt = _native.Attempt


def authorizer(world: World, keys: keyswap.KeySwap, **options: Any) -> _native.Authorizer:
    options.setdefault("scheme", keyswap.Header("x-api-key"))
    return _native.Authorizer(keys, allowed_origins=[world.api_url], **options)


def send(url: str, patch: _native.Patch) -> tuple[int, bytes]:
    headers: dict[str, str] = {}
    patch.put(headers)
    request = urllib.request.Request(patch.url(url), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def finish(attempt: Attempt, url: str) -> tuple[int, bytes]:
    """The loop of an adapter."""
    status, body = 0, b""
    while True:
        step = attempt.step
        if step == Attempt.SEND:
            status, body = send(url, attempt.apply("GET", url))
            step = attempt.response(status)
        if step == Attempt.NEED_BODY:
            attempt.response(status, [], body[: attempt.body_limit])
        elif step == Attempt.WAIT:
            attempt.wait()
        elif step == Attempt.RETURN:
            return status, body
        elif step == Attempt.FAIL:
            assert attempt.error is not None
            raise attempt.error


def test_a_host_patches_from_its_snapshot_and_begins_after_a_rejection(world: World) -> None:
    keys = world.ready()
    host = authorizer(world, keys)
    url = f"{world.api_url}/v1/price"
    assert host.snapshot.needs_attempt and host.prepared(world.api_url) is None, "nothing was accepted yet"
    assert finish(host.begin(url, deadline=10), url)[0] == 200
    wait_until(lambda: not host.snapshot.needs_attempt)
    snapshot = host.snapshot
    assert host.snapshot is snapshot, "one object an epoch"
    assert host.admits(url) and not host.admits(world.other_url)
    response_filter = host.response_filter
    assert response_filter.statuses == [401] and response_filter.body_limit == 0
    assert response_filter.headers == ["credential-status", "retry-after"]
    assert snapshot.patch is not None and snapshot.patch.names == ("x-api-key",)
    assert snapshot.credential_id == "k1"
    sent: dict[str, str] = {}
    assert host.put(world.other_url, sent) is None and not sent, "an origin that is not allowed"
    assert host.put(world.api_url, sent) is snapshot.patch and host.prepared(world.api_url)
    assert sent == dict(snapshot.patch.reveal())
    assert send(url, snapshot.patch)[0] == 200
    world.do("cut")
    assert send(url, snapshot.patch)[0] == 401
    attempt = host.begin_after(snapshot.patch, url, deadline=10)
    assert attempt.credential_id == "k1"
    attempt.response(401)
    status, body = finish(attempt, url)
    assert (status, json.loads(body)["credential"]) == (200, "k2")
    assert attempt.sends == 2
    assert host.snapshot is not snapshot and host.snapshot.patch is not snapshot.patch


def test_a_hop_elsewhere_carries_nothing(world: World) -> None:
    for scheme in (keyswap.Header("x-api-key"), keyswap.Query("api_key")):
        host = authorizer(world, world.ready(), scheme=scheme)
        attempt = host.begin(world.api_url)
        assert not attempt.apply("GET", world.api_url).is_empty
        assert attempt.apply("GET", world.other_url).is_empty
        assert attempt.response(401) == Attempt.RETURN
        with pytest.raises(keyswap.OriginNotAllowedError):
            host.begin(world.other_url)
    patch = host.snapshot.patch
    assert patch is not None
    url = patch.url(f"{world.api_url}/x?q=1")
    assert "api_key=ks_" in url
    assert patch.location(world.api_url, url) == f"{world.api_url}/x?q=1"
    assert patch.location(world.api_url, url.replace("api_key", "next")) is None


def test_a_storm_of_hosts_at_a_cut(world: World) -> None:
    keys = world.ready()
    host = authorizer(world, keys)
    url = f"{world.api_url}/v1/price"
    before = world.counters()["fetch.changed"]
    world.do("cut")
    outcomes = in_threads(32, lambda: finish(host.begin(url, deadline=10), url)[0])
    assert outcomes == [200] * 32
    assert world.counters()["fetch.changed"] - before == 1


async def test_waiting_on_a_loop(world: World) -> None:
    keys = world.keys()
    attempt = authorizer(world, keys).begin(world.api_url, deadline=10)
    while attempt.step == Attempt.WAIT:
        assert await run(attempt._wait) in (Attempt.SEND, Attempt.WAIT)
    assert attempt.step == Attempt.SEND


def test_what_cannot_be_sent_fails_with_the_reason(world: World) -> None:
    world.do("endpoint", fault="unknown_set")
    keys = world.keys(policy={**FAST, "slow_retry_min": 60})
    with pytest.raises(keyswap.UnknownSetError):
        keys.ready(10)
    attempt = authorizer(world, keys).begin(world.api_url, deadline=1)
    while attempt.step == Attempt.WAIT:
        attempt.wait()
    assert attempt.step == Attempt.FAIL
    assert isinstance(attempt.error, keyswap.UnknownSetError)


def test_a_body_is_asked_for(world: World) -> None:
    def classify(status: int, headers: dict[str, str], body: "bytes | None") -> Any:
        return "need_body" if body is None else "accepted"

    classify.body_limit = 7  # type: ignore[attr-defined]
    attempt = authorizer(world, world.ready(), classifier=classify).begin(world.api_url)
    attempt.apply("GET", world.api_url)
    assert attempt.response(401) == Attempt.NEED_BODY and attempt.body_limit == 7
    assert attempt.response(401, [], b"x") == Attempt.RETURN
    assert attempt.error is None


def test_a_closed_attempt_says_so(world: World) -> None:
    host = authorizer(world, world.ready())
    attempt = host.begin(world.api_url)
    attempt.close()
    attempt.close()
    with pytest.raises(RuntimeError, match="closed, or in use"):
        attempt.step
    with pytest.raises(keyswap.InvalidConfigError, match="whole URL"):
        host.begin("nonsense")
    with pytest.raises(keyswap.InvalidConfigError, match="HTTP method"):
        host.begin(world.api_url).apply("NO GOOD", world.api_url)
    with pytest.raises(keyswap.InvalidConfigError, match="HTTP status"):
        host.begin(world.api_url).response(7)
    with pytest.raises(keyswap.InvalidConfigError, match="no allowed origin"):
        _native.Authorizer(world.ready(), allowed_origins=[])
