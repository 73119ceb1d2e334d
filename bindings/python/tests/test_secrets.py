"""Nothing printable holds key material: representations, texts, exceptions, logs, tracebacks."""

import asyncio
import io
import logging
import traceback
from typing import Any

import pytest
from conftest import FAST, World, wait_until

import keyswap
from keyswap import _native

SECRETS = ("s3cr3t-key", "s3cr3t-secret", "s3cr3t-bootstrap", "s3cr3t-old")
DOCUMENT = {
    "generation": 2,
    "current": {"id": "k2", "key": "s3cr3t-key", "secret": "s3cr3t-secret", "scopes": ["a"]},
    "previous": [{"id": "k1", "key": "s3cr3t-old"}],
}


def shown(thing: object) -> str:
    parts = [repr(thing), str(thing), format(thing), ascii(thing)]
    for name in dir(type(thing)):
        # What a debugger, or a serializer that walks attributes, would print.
        if name.startswith("__") or callable(getattr(type(thing), name, None)):
            continue
        try:
            parts.append(repr(getattr(thing, name)))
        except Exception as error:
            parts.append(repr(error))
    return "\n".join(parts)


def check(text: str) -> None:
    assert text
    for secret in (*SECRETS, "s3cr3t", "Basic "):
        assert secret not in text, text


def test_nothing_that_can_be_printed_holds_a_secret(world: World) -> None:
    output = io.StringIO()
    handler = logging.StreamHandler(output)
    logger = logging.getLogger("keyswap")
    logger.addHandler(handler)
    logger.setLevel(1)
    try:
        keys = keyswap.KeySwap(lambda: DOCUMENT, policy={**FAST, "wait": 0.2})
        events = keys.events()
        keys.ready(10)
        keys.refresh(10)
        held = keys.credentials
        assert held is not None
        things: list[Any] = [keys, keys.current, held, held.primary, *held.previous, keys.stats]
        things += [event for event in iter(lambda: next_now(events), None)]
        for scheme in (keyswap.Basic(), keyswap.Query("s"), keyswap.Bearer()):
            api = keyswap.Client(keys, base_url=world.api_url, scheme=scheme)
            authorizer = _native.Authorizer(
                keys, scheme=scheme, allowed_origins=[world.api_url]
            )
            attempt = authorizer.begin(world.api_url)
            response = api.get("/v1/price?x=1")
            things += [scheme, api, authorizer, authorizer.snapshot, authorizer.snapshot.patch]
            things += [attempt, attempt.apply("GET", world.api_url)]
            things += [response.url, dict(response.headers), response]
            things.append(asyncio.run(fetch(keys, world.api_url, scheme)))
            for call in (
                lambda: api.get("/v1/price").raise_for_status(),
                lambda: api.get("http://127.0.0.1:1/?a=b"),
                lambda: keys.current.reveal("nothing"),
                lambda: api.get("/", scopes=["b"]),
            ):
                with pytest.raises(Exception) as caught:
                    call()
                things += [caught.value, "".join(traceback.format_exception(caught.value))]
        endpoint = keyswap.Endpoint(world.set_url, bootstrap="s3cr3t-bootstrap")
        other = keyswap.KeySwap(endpoint)
        with pytest.raises(keyswap.BootstrapRejectedError) as caught:
            other.ready(10)
        things += [endpoint, other, caught.value]
        for thing in things:
            check(shown(thing))
        assert keys.current.reveal("secret") == "s3cr3t-secret"
        keys.close()
        other.close()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
    check(output.getvalue() + "-")


def next_now(events: keyswap.Events) -> "keyswap.Event | None":
    try:
        return events.next(0)
    except keyswap.TimeoutError:
        return None


async def fetch(keys: keyswap.KeySwap, url: str, scheme: keyswap.Scheme) -> keyswap.Response:
    async with keyswap.AsyncClient(keys, base_url=url, scheme=scheme) as api:
        return await api.get("/v1/price")


def test_logs_go_to_logging(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="keyswap")
    keys = world.ready()
    world.do("endpoint", fault="garbage")
    with pytest.raises(keyswap.MalformedError):
        keys.refresh(10)
    wait_until(lambda: any(getattr(r, "event", "") == "fetch_failed" for r in caplog.records))
    by_event = {getattr(record, "event", ""): record for record in caplog.records}
    assert by_event["fetched"].levelname == "INFO"
    assert by_event["fetch_failed"].levelname == "WARNING"
    assert "generation 1 fetched" in by_event["fetched"].getMessage()


def test_a_slow_handler_holds_up_nothing(world: World) -> None:
    import threading

    release = threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            release.wait(30)

    logger = logging.getLogger("keyswap")
    slow = Slow()
    logger.addHandler(slow)
    logger.setLevel(logging.DEBUG)
    try:
        keys = world.ready()
        with world.client(keys) as api:
            assert api.get("/v1/price").is_success
        keys.refresh(10)
    finally:
        release.set()
        logger.removeHandler(slow)
        logger.setLevel(logging.NOTSET)
