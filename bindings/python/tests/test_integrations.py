"""Adapters for other HTTP libraries: nothing leaks, and no storm."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from conftest import World, in_threads

import keyswap

httpx = pytest.importorskip("httpx")
pytest.importorskip("httpx2")
requests = pytest.importorskip("requests")
aiohttp = pytest.importorskip("aiohttp")

import keyswap.integrations.aiohttp as for_aiohttp  # noqa: E402
import keyswap.integrations.httpx as for_httpx  # noqa: E402
import keyswap.integrations.httpx2 as for_httpx2  # noqa: E402
import keyswap.integrations.requests as for_requests  # noqa: E402

from keyswap.integrations import PLACEHOLDER  # noqa: E402

KEY = keyswap.Header("x-api-key")
MATERIAL = "ks_"
"""How every key of the API begins."""


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Elsewhere(HTTPServer):
    """A server that always says the same."""

    def __init__(self, status: int, location: str = "") -> None:
        self.asked: list[str] = []
        asked = self.asked

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(str(self.headers))
                self.send_response(status)
                self.send_header("content-length", "0")
                if location:
                    self.send_header("location", location)
                self.end_headers()

            def log_message(self, *_: Any) -> None: ...

        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_: Any) -> None:
        self.shutdown()
        self.server_close()


Get = Callable[..., Any]
"""Sends a GET and returns the library's response."""


def by_httpx(
    world: World, keys: keyswap.KeySwap, stack: ExitStack, more: Sequence[str] = (), **options: Any
) -> Get:
    transport = for_httpx.Transport(keys, allowed_origins=[world.api_url, *more], **options)
    http = httpx.Client(transport=transport, follow_redirects=True, timeout=30)
    return stack.enter_context(http).get


def by_requests(
    world: World, keys: keyswap.KeySwap, stack: ExitStack, more: Sequence[str] = (), **options: Any
) -> Get:
    adapter = for_requests.Adapter(keys, allowed_origins=[world.api_url, *more], **options)
    stack.callback(adapter.close)

    def get(url: str) -> Any:
        # Each thread has a session of its own, and they share the adapter.
        session = requests.Session()
        session.mount("http://", adapter)
        return session.get(url)

    return get


AGet = Callable[..., Awaitable[Any]]


async def by_async_httpx(
    world: World, keys: keyswap.KeySwap, stack: AsyncExitStack, **options: Any
) -> AGet:
    transport = for_httpx.AsyncTransport(keys, allowed_origins=[world.api_url], **options)
    http = httpx.AsyncClient(transport=transport, follow_redirects=True, timeout=30)
    get: AGet = (await stack.enter_async_context(http)).get
    return get


async def by_aiohttp(
    world: World, keys: keyswap.KeySwap, stack: AsyncExitStack, **options: Any
) -> AGet:
    keyed = for_aiohttp.middleware(keys, allowed_origins=[world.api_url], **options)
    http = await stack.enter_async_context(aiohttp.ClientSession(middlewares=[keyed]))

    async def get(url: str) -> Any:
        async with http.get(url) as response:
            await response.read()
            response.status_code = response.status
            return response

    return get


SYNC = [by_httpx, by_requests]
ASYNC = [by_async_httpx, by_aiohttp]


@pytest.mark.parametrize("library", SYNC)
def test_64_threads_at_a_cut(world: World, library: Any) -> None:
    keys = world.ready()
    with ExitStack() as stack:
        get = library(world, keys, stack, scheme=KEY)
        url = f"{world.api_url}/v1/price"
        assert get(url).status_code == 200
        before = world.counters()
        world.do("cut")
        outcomes = in_threads(64, lambda: get(url).status_code)
        assert outcomes == [200] * 64
    after = world.counters()
    assert after["fetch.changed"] - before["fetch.changed"] == 1
    assert after["api.rejected"] > before["api.rejected"], "the key was not cut"


@pytest.mark.parametrize("library", ASYNC)
async def test_256_coroutines_at_a_cut(world: World, library: Any) -> None:
    keys = world.ready()
    async with AsyncExitStack() as stack:
        get = await library(world, keys, stack, scheme=KEY)
        url = f"{world.api_url}/v1/price"
        assert (await get(url)).status_code == 200
        before = world.counters()
        world.do("cut")
        answers = await asyncio.gather(*(get(url) for _ in range(256)))
        assert [answer.status_code for answer in answers] == [200] * 256
    after = world.counters()
    assert after["fetch.changed"] - before["fetch.changed"] == 1
    assert after["api.rejected"] > before["api.rejected"], "the key was not cut"


def test_what_a_library_does_by_itself_would_be_seen(world: World) -> None:
    """The counter of leaks counts: both libraries take a header of the program's elsewhere."""
    key = world.ready().key()
    with httpx.Client(follow_redirects=True, trust_env=False) as one, requests.Session() as two:
        for http in (one, two):
            before = world.counters()["leaks"]
            response = http.get(f"{world.api_url}/redirect", headers={"x-api-key": key})
            assert response.status_code == 200
            assert world.counters()["leaks"] > before


@pytest.mark.parametrize("library", SYNC)
def test_a_redirect_to_another_origin_carries_nothing(world: World, library: Any) -> None:
    keys = world.ready()
    schemes = [KEY, keyswap.Bearer()]
    for scheme in schemes + ([keyswap.Query("api_key")] if library is by_httpx else []):
        with ExitStack() as stack:
            get = library(world, keys, stack, scheme=scheme)
            before = world.counters()["api.sends"]
            response = get(f"{world.api_url}/redirect")
            assert response.status_code == 200 and str(response.url).startswith(world.other_url)
            assert get(f"{world.other_url}/").status_code == 200
            assert get(f"{world.api_url}/redirect-here").status_code == 200
            assert world.counters()["api.sends"] - before == 3, "each hop was sent once"
            hops = [*response.history, response]
            seen = [f"{hop.url} {dict(hop.request.headers)} {hop.headers}" for hop in hops]
            assert MATERIAL not in " ".join(seen)
    assert world.counters()["leaks"] == 0


@pytest.mark.parametrize("library", ASYNC)
async def test_a_redirect_of_a_coroutine_carries_nothing(world: World, library: Any) -> None:
    keys = world.ready()
    async with AsyncExitStack() as stack:
        get = await library(world, keys, stack, scheme=KEY)
        before = world.counters()["api.sends"]
        response = await get(f"{world.api_url}/redirect")
        assert response.status_code == 200 and str(response.url).startswith(world.other_url)
        assert (await get(f"{world.other_url}/")).status_code == 200
        assert (await get(f"{world.api_url}/redirect-here")).status_code == 200
        assert world.counters()["api.sends"] - before == 3, "each hop was sent once"
        if library is by_aiohttp:
            seen = [repr(hop.request_info) for hop in [*response.history, response]]
            assert MATERIAL not in " ".join(seen)
    assert world.counters()["leaks"] == 0


@pytest.mark.parametrize("is_allowed", [False, True])
@pytest.mark.parametrize("library", [by_httpx, by_requests])
def test_a_redirect_from_elsewhere_to_an_allowed_origin_is_authorized(
    world: World, library: Any, is_allowed: bool
) -> None:
    keys = world.ready()
    with Elsewhere(302, f"{world.api_url}/v1/price") as server, ExitStack() as stack:
        more = [server.url] if is_allowed else []
        get = library(world, keys, stack, scheme=keyswap.Bearer(), more=more)
        assert get(server.url).status_code == 200
    assert len(server.asked) == 1 and (MATERIAL in server.asked[0]) == is_allowed
    assert keys.stats.rejections == 0, "a hop without a credential says nothing of one"


@pytest.mark.parametrize("library", SYNC)
def test_what_another_origin_rejects_says_nothing(world: World, library: Any) -> None:
    keys = world.ready()
    with Elsewhere(401) as last, Elsewhere(302, last.url) as server, ExitStack() as stack:
        get = library(world, keys, stack, scheme=keyswap.Bearer(), more=[server.url])
        assert get(server.url).status_code == 401
    assert MATERIAL in server.asked[0] and len(server.asked) == 1
    assert MATERIAL not in last.asked[0] and len(last.asked) == 1
    assert keys.stats.rejections == 0


def test_a_classifier_may_read_the_body(world: World) -> None:
    def classify(status: int, headers: dict[str, str], body: bytes | None) -> Any:
        if status != 200:
            return "other"
        return "need_body" if body is None else "rejected" if b"bad_key" in body else "accepted"

    classify.statuses = [200]  # type: ignore[attr-defined]
    keys = world.ready()
    for library in (by_httpx, by_requests):
        with ExitStack() as stack:
            get = library(world, keys, stack, scheme=KEY, classifier=classify)
            assert "credential" in get(f"{world.api_url}/body-code").json()
            world.do("cut")
            assert "credential" in get(f"{world.api_url}/body-code").json(), "whole, and with the new key"


def test_a_connection_that_fails_is_the_librarys_own_error(world: World) -> None:
    keys = world.ready()
    world.do("api", fault="outage")
    with ExitStack() as stack:
        with pytest.raises(httpx.TransportError):
            by_httpx(world, keys, stack, scheme=KEY)(f"{world.api_url}/x")
        with pytest.raises(requests.ConnectionError) as caught:
            by_requests(world, keys, stack, scheme=KEY)(f"{world.api_url}/x")
    assert MATERIAL not in f"{caught.value!r}"


def test_with_no_credential_the_reason_is_raised(world: World) -> None:
    world.do("revoke_set")
    keys = world.keys()
    with pytest.raises(keyswap.KeyswapError):
        keys.ready(10)
    with ExitStack() as stack:
        for library in SYNC:
            with pytest.raises(keyswap.SetRevokedError):
                library(world, keys, stack, scheme=KEY)(f"{world.api_url}/x")


def test_what_cannot_be_kept_safe_is_refused(world: World) -> None:
    keys = world.ready()
    origins = [world.api_url]
    for make in (for_requests.Adapter, for_aiohttp.middleware):
        with pytest.raises(keyswap.InvalidConfigError, match="query"):
            make(keys, scheme=keyswap.Query("api_key"), allowed_origins=origins)
    for make in (for_requests.Adapter, for_httpx.Transport, for_httpx.AsyncTransport):
        with pytest.raises(TypeError, match="list of URLs"):
            make(keys, allowed_origins=world.api_url)  # type: ignore[arg-type, operator]
        with pytest.raises(keyswap.InsecureUrlError):
            make(keys, allowed_origins=["http://api.example.com"])  # type: ignore[operator]
        made = make(keys, allowed_origins=origins)  # type: ignore[operator]
        assert MATERIAL not in f"{made!r} {vars(made)}"


async def test_a_function_for_the_key_serves_an_sdk(world: World) -> None:
    openai = pytest.importorskip("openai")
    keys = world.ready()
    with openai.OpenAI(
        api_key=keys.key, base_url=world.api_url, http_client=httpx.Client(trust_env=False)
    ) as sdk:
        async with openai.AsyncOpenAI(
            api_key=keys.akey,
            base_url=world.api_url,
            http_client=httpx.AsyncClient(trust_env=False),
        ) as asdk:

            async def used() -> list[str]:
                one = sdk.models.with_raw_response.retrieve("m").http_response
                two = (await asdk.models.with_raw_response.retrieve("m")).http_response
                return [one.json()["credential"], two.json()["credential"]]

            assert await used() == ["k1", "k1"]
            world.do("cut")
            with pytest.raises(openai.AuthenticationError):
                await used()
            await keys.arefresh(10)
            assert await used() == ["k2", "k2"]
    with openai.OpenAI(
        api_key=PLACEHOLDER,
        base_url=world.api_url,
        http_client=httpx.Client(
            transport=for_httpx.Transport(
                keys, scheme=keyswap.Bearer(), allowed_origins=[world.api_url]
            )
        ),
    ) as sdk:
        world.do("cut")
        answer = sdk.models.with_raw_response.retrieve("m").http_response
        assert answer.json()["credential"] == "k3", "with the transport it is sent again"


def test_sdks_of_httpx2_live_through_a_cut(world: World) -> None:
    httpx2 = pytest.importorskip("httpx2")
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    keys = world.ready()
    keyed = for_httpx2.Transport(keys, scheme=keyswap.Bearer(), allowed_origins=[world.api_url])
    with httpx2.Client(transport=keyed) as http:
        options = {"base_url": world.api_url, "http_client": http, "max_retries": 0}
        one = openai.OpenAI(api_key=PLACEHOLDER, **options)
        two = anthropic.Anthropic(auth_token=PLACEHOLDER, **options)

        def used() -> list[str]:
            asked = one.models, two.models
            answers = [each.with_raw_response.retrieve("m").http_response for each in asked]
            return [each.json()["credential"] for each in answers]

        assert used() == ["k1", "k1"]
        world.do("cut")
        assert used() == ["k2", "k2"]
