"""With keyswap added, everything is as before, but for the key: each behaviour, in each library with its adapter, and
where it makes sense beside the library alone.

`KEYSWAP_BEHAVIOURS=FILE` writes what came of it, one line of JSON for each behaviour and adapter. What a library
cannot do is named as a limit, and shown by the library alone failing in the same way.
"""

from __future__ import annotations

import asyncio
import gzip
import random
import threading
import time
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx")
pytest.importorskip("httpx2")
pytest.importorskip("requests")
pytest.importorskip("aiohttp")

from libraries import PROXIES, SECRET, Aiohttp, Answer, AsyncLibrary, Library, Site, followed  # noqa: E402
from wire import (  # noqa: E402
    EVERY,
    AsyncOwn,
    Heard,
    Own,
    Wire,
    answer,
    bodies,
    content,
    once,
    once_async,
    streamed,
)

import keyswap  # noqa: E402

NEW = "the-next-key"
KEY = keyswap.Header("X-MEXC-APIKEY")
OWN = (Own, AsyncOwn)
Tested = type[Library]


def behaviour(text: str, limits: dict[str, str] | None = None) -> Callable[[Any], Any]:
    """A row of the table, in each library; `limits` says of those that cannot why."""

    def mark(test: Any) -> Any:
        test = pytest.mark.behaviour(text, limits or {})(test)
        return pytest.mark.parametrize("library", EVERY, ids=lambda it: it.adapter_name)(test)

    return mark


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*PROXIES, "no_proxy", "NO_PROXY"]:
        monkeypatch.delenv(name, raising=False)


def is_new(heard: Heard) -> bool:
    return heard.headers.get("x-mexc-apikey") == NEW


def short(connection: Any) -> None:
    """Less than it says, and then silence."""
    answer(connection, 401, b"short", length=100)


def cut(connection: Any) -> None:
    """Less than it says, and then the end."""
    short(connection)
    connection.close()


def dripping(connection: Any) -> None:
    answer(connection, 401, b"", length=1000)
    for _ in range(1000):
        time.sleep(0.02)
        connection.sendall(b"x")


def dripping_chunks(connection: Any) -> None:
    connection.sendall(b"HTTP/1.1 401 No\r\ntransfer-encoding: chunked\r\n\r\n")
    for _ in range(1000):
        time.sleep(0.02)
        connection.sendall(b"1\r\nx\r\n")


def endless(connection: Any) -> None:
    connection.sendall(b"HTTP/1.1 401 No\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")


def to_the_end(connection: Any) -> None:
    connection.sendall(b"HTTP/1.1 401 No\r\nconnection: close\r\n\r\nit goes on until ")


@behaviour("a rejected response that does not end is given up")
@pytest.mark.parametrize("reject", [short, cut, dripping, dripping_chunks, endless, to_the_end])
def test_given_up(library: Tested, reject: Callable[[Any], None]) -> None:
    def say(heard: Heard, connection: Any) -> None:
        if is_new(heard):
            answer(connection, body=b"yes")
        else:
            reject(connection)

    with followed(SECRET, NEW) as keys, Wire(say) as api, library(keys, api.url, scheme=KEY) as http:
        began = time.monotonic()
        response = http.get(f"{api.url}/")
        took = time.monotonic() - began
        assert (response.status_code, content(response)) == (200, b"yes")
        assert len(api.heard) == 2 and took < 3, took


@behaviour("a small rejection keeps its connection, and is returned if all is in vain")
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunks"])
def test_kept(library: Tested, is_chunked: bool) -> None:
    connections: set[int] = set()

    def say(heard: Heard, connection: Any) -> None:
        connections.add(id(connection))
        body = f"no {len(api.heard)}".encode()
        if is_chunked:
            head = b"HTTP/1.1 401 No\r\ntransfer-encoding: chunked\r\n\r\n"
            connection.sendall(head + b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n")
        else:
            answer(connection, 401, body)

    with followed(SECRET, NEW) as keys, Wire(say) as api, library(keys, api.url, scheme=KEY) as http:
        response = http.get(f"{api.url}/", timeout=0.5)
        assert (response.status_code, content(response)) == (401, b"no 1")
        # The package's own client keeps none whose length it was not told.
        assert len(api.heard) > 1 and (len(connections) == 1 or is_chunked and library in OWN)


@behaviour("a body that can be had again is sent again")
def test_sent_again(library: Tested, tmp_path: Path) -> None:
    with ExitStack() as stack:
        for name, make in bodies(library, tmp_path, stack).items():
            api = stack.enter_context(Wire(lambda heard, to: answer(to, 200 if is_new(heard) else 401)))
            keys = stack.enter_context(followed(SECRET, NEW))
            http = stack.enter_context(library(keys, api.url, scheme=KEY))
            assert http.send("POST", f"{api.url}/", **make()).status_code == 200, name
            first, second = api.bodies
            assert first == second and first, name
            # The boundary of a form is another each time.
            if library not in OWN and "form" not in name:
                stack.enter_context(library(None)).send("POST", f"{api.url}/", **make())
                assert api.bodies[2] == first, name


@behaviour("a body that can be had once is sent once")
def test_sent_once(library: Tested) -> None:
    with followed(SECRET, NEW) as keys, Wire(lambda _, to: answer(to, 401)) as api:
        with library(keys, api.url, scheme=KEY) as http:
            body = once_async() if issubclass(library, AsyncLibrary) else once()
            assert http.send("POST", f"{api.url}/", content=body).status_code == 401
    assert api.bodies == [b"one part after another"]


def raw_deflate(plain: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(plain) + compressor.flush()


def brotli(plain: bytes) -> bytes:
    return bytes(pytest.importorskip("brotli").compress(plain, quality=1))


def zstd(plain: bytes) -> bytes:
    return bytes(pytest.importorskip("zstandard").compress(plain))


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate, raw": raw_deflate,
    "br": brotli,
    "zstd": zstd,
}


def by_code(status: int, headers: dict[str, str], body: bytes | None) -> Any:
    return "need_body" if body is None else "rejected" if b"bad_key" in body else "accepted"


by_code.statuses = [200]  # type: ignore[attr-defined]
by_code.body_limit = 64  # type: ignore[attr-defined]


def alone_decodes(library: Tested, url: str) -> bool:
    with library(None) as alone:
        try:
            return content(alone.get(f"{url}/")).startswith(b'{"code"')
        except Exception:
            return False


@behaviour("a classifier sees the body as the library decodes it, and the program all of it")
@pytest.mark.parametrize("size", [0, 200_000])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_decoded(library: Tested, encoding: str, size: int) -> None:
    # What can be compressed, and is large all the same.
    tail = b"ab" * 50 + random.Random(1).randbytes(size // 2).hex().encode()

    def say(heard: Heard, connection: Any) -> None:
        # The package's own client asks for none.
        coded = encoding if "accept-encoding" in heard.headers else "identity"
        body = b'{"code": "ok"}' if is_new(heard) else b'{"code": "bad_key"}'
        answer(connection, 200, ENCODINGS[coded](body + tail), content_encoding=coded.split(",")[0])

    with Wire(say) as api:
        if library not in OWN and not alone_decodes(library, api.url):
            return
        with followed(SECRET, NEW) as keys:
            with library(keys, api.url, scheme=KEY, classifier=by_code) as http:
                assert content(http.get(f"{api.url}/")) == b'{"code": "ok"}' + tail
                parts: list[bytes] = []
                streamed(http, f"{api.url}/", parts.append)
                assert b"".join(parts) == b'{"code": "ok"}' + tail


@behaviour("a streamed response arrives as it is sent, looked into or not")
@pytest.mark.parametrize("classifier", [None, by_code], ids=["401", "body"])
def test_streamed(library: Tested, classifier: Any) -> None:
    is_heard = threading.Event()

    def say(heard: Heard, connection: Any) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        connection.sendall(b"40\r\n" + b"x" * 64 + b"\r\n")
        assert is_heard.wait(5), "the beginning did not arrive before the end was sent"
        connection.sendall(b"3\r\nend\r\n0\r\n\r\n")

    def heard(part: bytes) -> None:
        parts.append(part)
        is_heard.set()

    parts: list[bytes] = []
    with followed(SECRET) as keys, Wire(say) as api:
        with library(keys, api.url, scheme=KEY, classifier=classifier) as http:
            streamed(http, f"{api.url}/", heard)
    assert b"".join(parts) == b"x" * 64 + b"end"


HYPER = "hyper, beneath it, writes every name in lower case on HTTP/1.1"


@behaviour("names of headers keep their case on HTTP/1.1", {"python": HYPER, "python-async": HYPER})
def test_case(library: Tested) -> None:
    with followed(SECRET) as keys, Wire(lambda _, to: answer(to)) as api:
        with library(keys, api.url, scheme=KEY) as http:
            http.get(f"{api.url}/", headers={"X-Of-The-Program": "1"})
        with library(keys, api.url, scheme=keyswap.Sign(lambda *_: {"X-SIGN": "1"})) as http:
            http.get(f"{api.url}/")
        if library in OWN:
            assert "x-of-the-program" in api.heard[0].names, "it writes those of the program so, too"
            return
        with library(None) as alone:
            alone.get(f"{api.url}/", headers={"X-Of-The-Program": "1"})
    assert "X-MEXC-APIKEY" in api.heard[0].names and "X-SIGN" in api.heard[1].names
    assert [name for name in api.heard[0].names if name != "X-MEXC-APIKEY"] == api.heard[2].names


@behaviour("headers of the program's own are sent as they are")
def test_own_headers(library: Tested) -> None:
    own = {"User-Agent": "own/1", "Accept": "text/own", "Authorization": "Bearer own", "X-Own": 'a, b;c="d"'}
    with followed(SECRET, NEW) as keys, Wire(lambda heard, to: answer(to, 200 if is_new(heard) else 401)) as api:
        for held in alone_too(library, keys):
            with library(held, api.url, **keyed(held)) as http:
                http.send("POST", f"{api.url}/", headers=own, content=b"text")
    seen = [{name: it for name, it in each.headers.items() if name != "x-mexc-apikey"} for each in api.heard]
    assert all(each == seen[0] for each in seen) and len(seen) >= 2
    assert {name: seen[0][name.lower()] for name in own} == own


def alone_too(library: Tested, keys: keyswap.KeySwap) -> list[keyswap.KeySwap | None]:
    """With the keys, and then the library alone; the package's own client has none beneath it."""
    return [keys] if library in OWN else [keys, None]


def keyed(held: keyswap.KeySwap | None) -> dict[str, Any]:
    return {} if held is None else {"scheme": KEY}


@behaviour("redirects are followed as the library follows them")
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
def test_redirects(library: Tested, method: str) -> None:
    def say(heard: Heard, connection: Any) -> None:
        _, path, _ = heard.line.split()
        if path == "/there":
            answer(connection, body=b"there")
        else:
            answer(connection, int(path[1:]), location="/there")

    body = {} if method == "GET" else {"content": b"text"}
    with followed(SECRET) as keys, Wire(say) as api:
        for status in (301, 302, 303, 307, 308):
            hops: list[list[tuple[str, bytes, str | None]]] = []
            for held in alone_too(library, keys):
                with library(held, api.url, **keyed(held)) as http:
                    api.heard.clear()
                    assert content(http.send(method, f"{api.url}/{status}", **body)) == b"there"
                hops.append([(it.line, it.body, it.headers.get("content-type")) for it in api.heard])
            assert len(hops[0]) == 2 and all(each == hops[0] for each in hops), hops
            if library in OWN:
                kept = method == "GET" or status > 303 or (method == "PUT" and status != 303)
                assert hops[0][1][0].startswith(method if kept else "GET ")


@behaviour("cookies are kept as the library keeps them")
def test_cookies(library: Tested) -> None:
    sent: list[list[str | None]] = []
    with followed(SECRET) as keys, Wire(lambda _, to: answer(to, set_cookie="a=1")) as api:
        # A jar of aiohttp's takes none from an address.
        url = api.url.replace("127.0.0.1", "localhost")
        for held in alone_too(library, keys):
            with library(held, url, **keyed(held)) as http:
                api.heard.clear()
                response = http.get(f"{url}/")
                http.get(f"{url}/")
                http.get(f"{url}/", headers={"Cookie": "own=1"})
            assert response.headers["set-cookie"] == "a=1"
            sent.append([heard.headers.get("cookie") for heard in api.heard])
    assert all(each == sent[0] for each in sent), sent
    assert sent[0][:2] == [None, None if library in OWN else "a=1"], "the package's own client has no jar"
    assert "own=1" in str(sent[0][2])


def gone(connection: Any, ended: threading.Semaphore) -> None:
    """Waits until the other side ends the connection."""
    connection.settimeout(10)
    try:
        is_over = connection.recv(1) == b""
    except ConnectionResetError:
        is_over = True
    if is_over:
        ended.release()


@behaviour("a timeout ends the request")
def test_timeout(library: Tested) -> None:
    ended = threading.Semaphore(0)
    raised: list[type[BaseException]] = []
    with followed(SECRET) as keys, Wire(lambda _, to: gone(to, ended)) as api:
        for held in alone_too(library, keys):
            with library(held, api.url, **keyed(held)) as http:
                began = time.monotonic()
                with pytest.raises(Exception) as caught:
                    http.get(f"{api.url}/", timeout=0.2)
                assert 0.15 < time.monotonic() - began < 2
                raised.append(caught.type)
                settled(http, ended)
    assert all(each is raised[0] for each in raised), raised
    assert library not in OWN or raised == [keyswap.TimeoutError]


def settled(http: Library, ended: threading.Semaphore) -> None:
    """The connection has ended. A library with a loop ends it there."""
    if isinstance(http, AsyncLibrary):
        assert http.loop.run_until_complete(asyncio.to_thread(ended.acquire, timeout=5))
    else:
        assert ended.acquire(timeout=5)


class Enough(Exception):
    """Of a program that does not want the rest."""


@behaviour("a request that is given up ends its connection")
def test_given_back(library: Tested) -> None:
    ended = threading.Semaphore(0)

    def say(heard: Heard, connection: Any) -> None:
        if " /begin " in heard.line:
            connection.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nbegin\r\n")
        if " /done " in heard.line:
            answer(connection)
        else:
            gone(connection, ended)

    def enough(_: bytes) -> None:
        raise Enough

    async def cancelled(http: AsyncLibrary) -> None:
        before = len(api.heard)
        task = asyncio.ensure_future(http.asend("GET", f"{api.url}/hang"))
        while len(api.heard) == before:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with followed(SECRET) as keys, Wire(say) as api:
        for held in alone_too(library, keys):
            with library(held, api.url, **keyed(held)) as http:
                with pytest.raises(Enough):
                    streamed(http, f"{api.url}/begin", enough)
                settled(http, ended)
                if isinstance(http, AsyncLibrary):
                    http.loop.run_until_complete(cancelled(http))
                    settled(http, ended)
                assert http.get(f"{api.url}/done").status_code == 200


@behaviour("the proxies of the environment are used, and NO_PROXY counts")
def test_environment(library: Tested, monkeypatch: pytest.MonkeyPatch) -> None:
    with followed(SECRET) as keys, Site(lambda _: Answer()) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", "direct.test")
        options: dict[str, Any] = {"scheme": KEY, "plain_http_allowed": True}
        for held in [keys] if library in OWN else [keys, None]:
            more = {} if library in OWN else {"trust_env": True}
            more |= {} if held is None else options
            with library(held, "http://api.test", "http://direct.test", **more) as http:
                assert http.get("http://api.test/a").status_code == 200
                with pytest.raises(Exception):
                    http.get("http://direct.test/b")
    assert {asked.path.removeprefix("http://api.test") for asked in proxy.asked} == {"/a"}
    assert proxy.asked[0].is_keyed()


@behaviour(
    "a proxy that cannot be used is said", {"python-aiohttp": "aiohttp takes no notice of ALL_PROXY"}
)
def test_socks(library: Tested, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://127.0.0.1:1")

    def said(held: Any, **options: Any) -> str:
        try:
            if library not in OWN:
                options["trust_env"] = True
            with library(held, "http://127.0.0.1:1", "http://api.test", **options) as http:
                http.get("http://api.test/", timeout=1)
        except Exception as error:
            return f"{type(error).__name__} {error}"
        return "nothing"

    with followed(SECRET) as keys:
        told = said(keys, scheme=KEY, plain_http_allowed=True)
    if library is not Aiohttp:
        assert "socks" in told.lower(), told
    if library not in OWN:
        assert told == said(None)
