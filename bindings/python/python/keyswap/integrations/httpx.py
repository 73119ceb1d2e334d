"""For programs that send with httpx.

    httpx.Client(transport=Transport(keys, scheme=keyswap.Header("x-api-key"),
                                     allowed_origins=["https://api.example.com"]))

httpx makes one call of its transport for each hop of a chain of redirects, and copies a request's own headers from
hop to hop, to other origins too. So a credential is put on what the inner transport sends and never on
the request that httpx knows: a hop elsewhere carries none, and no response, error, hook or Referer shows one.
There is no `httpx.Auth` here for that reason: it could only put a credential on the request itself.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Any

import httpx

from .. import _native
from .._bridge import run
from ._flow import SMALL, Answer, Flow, Keys, Peek, Send, first, plain
from ._leftovers import scrub, strip

if TYPE_CHECKING:
    from .._client import Classifier

__all__ = ["AsyncTransport", "Transport"]


class Transport(httpx.BaseTransport):
    """A transport whose requests live through rotations, around `inner` (a `httpx.HTTPTransport()`).

    Credentials go to `allowed_origins` and nowhere else: requests to other origins pass through without.
    Without `scheme`, they go onto requests as the set says. `classifier` is that of `keyswap.Client`. A
    body that is a stream is sent once: if its credential is rejected, the API's response is returned, and so
    it is for every request with `resend=False`. The read timeout of a request is also the longest time that
    it waits for a fresh credential. A request that has a header of the scheme's name already fails; with
    `own_header_wins=True` it is sent as it is, and says nothing of a credential.

    A credential for plain HTTP on this machine never goes through a proxy, that of `inner` neither: such a
    request is sent directly. What `localhost` is, is for the resolver to say: use 127.0.0.1 or [::1] where
    that is not to be trusted.

    Closing it closes `inner`; the keys go on. Raises InvalidConfigError and InsecureUrlError; sending
    raises KeyswapError where there is no credential to send with.
    """

    def __init__(
        self,
        keys: _native.KeySwap,
        *,
        scheme: _native.Scheme | None = None,
        allowed_origins: Sequence[str],
        classifier: Classifier | None = None,
        plain_http_allowed: bool = False,
        resend: bool = True,
        own_header_wins: bool = False,
        inner: httpx.BaseTransport | None = None,
    ) -> None:
        self._keys = Keys(
            keys, scheme, allowed_origins, classifier, plain_http_allowed, resend, own_header_wins
        )
        self._inner = httpx.HTTPTransport() if inner is None else inner
        self._direct = httpx.HTTPTransport(verify=_NO_TLS) if _is_proxied(self._inner) else None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        flow = _flow(self._keys, request)
        response: httpx.Response | None = None
        try:
            order = next(flow)
            while True:
                told: Answer | bytes | None = None
                if isinstance(order, Send):
                    if response is not None:
                        _done(response)
                    response = self._send(request, order.patch)
                    told = _answer(response)
                elif isinstance(order, Peek):
                    assert response is not None
                    told = _peek(response, order.limit)
                else:
                    order.wait()
                order = flow.send(told)
        except StopIteration:
            assert response is not None
            return response
        except BaseException as error:
            if response is not None:
                response.close()
            _end(flow, error)
            raise

    def _send(self, request: httpx.Request, patch: _native.Patch | None) -> httpx.Response:
        if patch is None or patch.is_empty:
            return self._inner.handle_request(request)
        inner = self._inner
        if self._direct is not None and self._keys.goes_direct(_origin(request)):
            inner = self._direct
        sent = _patched(request, patch)
        try:
            response = inner.handle_request(sent)
        except BaseException as error:
            scrub(error, sent, request)
            raise
        finally:
            _stripped(request, sent, patch)
        _cleaned(request, response, patch)
        return response

    def close(self) -> None:
        self._inner.close()
        if self._direct is not None:
            self._direct.close()

    def __enter__(self) -> Transport:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self._inner.__exit__(exc_type, exc_value, traceback)
        if self._direct is not None:
            self._direct.close()


class AsyncTransport(httpx.AsyncBaseTransport):
    """`Transport`, for `httpx.AsyncClient` on asyncio or trio, around `inner` (a `httpx.AsyncHTTPTransport()`)."""

    def __init__(
        self,
        keys: _native.KeySwap,
        *,
        scheme: _native.Scheme | None = None,
        allowed_origins: Sequence[str],
        classifier: Classifier | None = None,
        plain_http_allowed: bool = False,
        resend: bool = True,
        own_header_wins: bool = False,
        inner: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._keys = Keys(
            keys, scheme, allowed_origins, classifier, plain_http_allowed, resend, own_header_wins
        )
        self._inner = httpx.AsyncHTTPTransport() if inner is None else inner
        self._direct = (
            httpx.AsyncHTTPTransport(verify=_NO_TLS) if _is_proxied(self._inner) else None
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        flow = _flow(self._keys, request)
        response: httpx.Response | None = None
        try:
            order = next(flow)
            while True:
                told: Answer | bytes | None = None
                if isinstance(order, Send):
                    if response is not None:
                        await _adone(response)
                    response = await self._send(request, order.patch)
                    told = _answer(response)
                elif isinstance(order, Peek):
                    assert response is not None
                    told = await _apeek(response, order.limit)
                else:
                    await run(order._wait)
                order = flow.send(told)
        except StopIteration:
            assert response is not None
            return response
        except BaseException as error:
            _end(flow, error)
            if response is not None:
                await response.aclose()
            raise

    async def _send(self, request: httpx.Request, patch: _native.Patch | None) -> httpx.Response:
        if patch is None or patch.is_empty:
            return await self._inner.handle_async_request(request)
        inner = self._inner
        if self._direct is not None and self._keys.goes_direct(_origin(request)):
            inner = self._direct
        sent = _patched(request, patch)
        try:
            response = await inner.handle_async_request(sent)
        except BaseException as error:
            scrub(error, sent, request)
            raise
        finally:
            _stripped(request, sent, patch)
        _cleaned(request, response, patch)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()
        if self._direct is not None:
            await self._direct.aclose()

    async def __aenter__(self) -> AsyncTransport:
        await self._inner.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self._inner.__aexit__(exc_type, exc_value, traceback)
        if self._direct is not None:
            await self._direct.aclose()


_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Without roots: what sends directly sends plain HTTP, and to load them takes long."""


def _is_proxied(transport: object, depth: int = 3) -> bool:
    """Whether a transport, or one that it is made around, has a proxy. httpx tells it nowhere in public."""
    held: dict[str, Any] = getattr(transport, "__dict__", {})
    pool: Any = held.get("_pool")
    if "Proxy" in type(pool).__name__ or getattr(pool, "_proxy", None) is not None:
        return True
    within = (httpx.BaseTransport, httpx.AsyncBaseTransport)
    around = [each for each in held.values() if isinstance(each, within)]
    return depth > 0 and any(_is_proxied(each, depth - 1) for each in around)


def _flow(keys: Keys, request: httpx.Request) -> Flow:
    # What is not held as bytes can be read once.
    stream = request.stream
    content = b"".join(stream) if isinstance(stream, httpx.ByteStream) else None
    timeout: dict[str, float | None] = request.extensions.get("timeout") or {}
    return keys.flow(
        request.method,
        _origin(request),
        request.url.raw_path.decode("ascii"),
        request.headers,
        lambda: list(request.headers.multi_items()),
        content,
        deadline=timeout.get("read"),
    )


def _origin(request: httpx.Request) -> str:
    """What httpx connects to, however another reader would understand the URL."""
    return f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"


def _patched(request: httpx.Request, patch: _native.Patch) -> httpx.Request:
    """The request to be sent: a copy, so that the one which httpx knows never holds a credential."""
    url = request.url
    if not patch.names:
        sent = httpx.URL(patch.url(_origin(request) + url.raw_path.decode("ascii")))
        url = url.copy_with(raw_path=sent.raw_path)
    headers = request.headers.copy()
    patch.put(headers)
    return httpx.Request(
        request.method, url, headers=headers, stream=request.stream, extensions=request.extensions
    )


def _stripped(request: httpx.Request, sent: httpx.Request, patch: _native.Patch) -> None:
    strip(sent.headers, patch.names)
    sent.url = request.url


def _cleaned(request: httpx.Request, response: httpx.Response, patch: _native.Patch) -> None:
    """Takes a key out of a redirect that a server copied from the query into it."""
    if not patch.names and "location" in response.headers:
        try:
            there = str(request.url.join(response.headers["location"]))
            response.headers["location"] = patch.clean(there)
        except Exception:
            # A redirect that cannot be read cannot be followed either.
            del response.headers["location"]


def _answer(response: httpx.Response) -> Answer:
    return response.status_code, response.headers.multi_items()


class _Whole(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body whose beginning was read."""

    def __init__(
        self,
        seen: list[bytes],
        rest: Iterator[bytes] | AsyncIterator[bytes],
        inner: httpx.SyncByteStream | httpx.AsyncByteStream,
    ) -> None:
        self._seen, self._rest, self._inner = seen, rest, inner

    def __iter__(self) -> Iterator[bytes]:
        assert isinstance(self._rest, Iterator)
        return chain(self._seen, self._rest)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        assert isinstance(self._rest, AsyncIterator)
        for part in self._seen:
            yield part
        async for part in self._rest:
            yield part

    def close(self) -> None:
        assert isinstance(self._inner, httpx.SyncByteStream)
        self._inner.close()

    async def aclose(self) -> None:
        assert isinstance(self._inner, httpx.AsyncByteStream)
        await self._inner.aclose()


def _peek(response: httpx.Response, limit: int) -> bytes:
    inner = response.stream
    assert isinstance(inner, httpx.SyncByteStream)
    rest = iter(inner)
    seen = first(rest, limit)
    response.stream = _Whole(seen, rest, inner)
    return plain(b"".join(seen), response.headers.get("content-encoding", ""), limit)


async def _apeek(response: httpx.Response, limit: int) -> bytes:
    inner = response.stream
    assert isinstance(inner, httpx.AsyncByteStream)
    rest = inner.__aiter__()
    seen: list[bytes] = []
    async for part in rest:
        seen.append(part)
        if sum(map(len, seen)) >= limit:
            break
    response.stream = _Whole(seen, rest, inner)
    return plain(b"".join(seen), response.headers.get("content-encoding", ""), limit)


def _done(response: httpx.Response) -> None:
    """Gives up a response. A small one is read to its end, so that its connection can be used again."""
    try:
        if _is_small(response):
            assert isinstance(response.stream, httpx.SyncByteStream)
            for _ in response.stream:
                pass
    except httpx.TransportError:
        pass
    finally:
        response.close()


async def _adone(response: httpx.Response) -> None:
    try:
        if _is_small(response):
            assert isinstance(response.stream, httpx.AsyncByteStream)
            async for _ in response.stream:
                pass
    except httpx.TransportError:
        pass
    finally:
        await response.aclose()


def _is_small(response: httpx.Response) -> bool:
    length = response.headers.get("content-length", "")
    return length.isdigit() and int(length) <= SMALL


def _end(flow: Flow, error: BaseException) -> None:
    """Tells the flow how it ended, so that what it holds is free at once."""
    try:
        flow.throw(error)
    except BaseException:
        pass
