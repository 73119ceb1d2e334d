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
from ._drive import adrive, drive
from ._flow import SMALL, Answer, Failure, Flow, Keys, first, plain
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
    it waits for a fresh credential. One with the extension `{"keyswap_scopes": ["trade"]}` is sent only if the
    credential has these scopes, and raises MissingScopeError otherwise. A request that has a header of the scheme's name already fails; with
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
            keys,
            scheme,
            allowed_origins,
            classifier,
            plain_http_allowed,
            resend,
            own_header_wins,
            _failure,
        )
        self._inner = httpx.HTTPTransport() if inner is None else inner
        self._direct = httpx.HTTPTransport(verify=_NO_TLS) if _is_proxied(self._inner) else None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        inner = self._inner
        if self._direct is not None and self._keys.goes_direct(_origin(request)):
            inner = self._direct
        return drive(_flow(self._keys, request), _Hop(request, self._inner, inner))

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
            keys,
            scheme,
            allowed_origins,
            classifier,
            plain_http_allowed,
            resend,
            own_header_wins,
            _failure,
        )
        self._inner = httpx.AsyncHTTPTransport() if inner is None else inner
        self._direct = (
            httpx.AsyncHTTPTransport(verify=_NO_TLS) if _is_proxied(self._inner) else None
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        inner = self._inner
        if self._direct is not None and self._keys.goes_direct(_origin(request)):
            inner = self._direct
        return await adrive(_flow(self._keys, request), _AsyncHop(request, self._inner, inner))

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
        scopes=request.extensions.get("keyswap_scopes") or (),
    )


def _origin(request: httpx.Request) -> str:
    """What httpx connects to, however another reader would understand the URL."""
    return f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"


class _Hop:
    """One request, sent through `inner` with nothing on it, and through `keyed` with a credential."""

    def __init__(
        self, request: httpx.Request, inner: httpx.BaseTransport, keyed: httpx.BaseTransport
    ) -> None:
        self._request, self._inner, self._keyed = request, inner, keyed

    def send(self, patch: _native.Patch | None) -> httpx.Response:
        if patch is None or patch.is_empty:
            return self._inner.handle_request(self._request)
        sent = _patched(self._request, patch)
        try:
            response = self._keyed.handle_request(sent)
        except BaseException as error:
            scrub(error, sent, self._request)
            raise
        finally:
            _stripped(self._request, sent, patch)
        _cleaned(self._request, response, patch)
        return response

    def answer(self, response: httpx.Response) -> Answer:
        return response.status_code, response.headers.multi_items()

    def peek(self, response: httpx.Response, limit: int) -> bytes:
        inner = response.stream
        assert isinstance(inner, httpx.SyncByteStream)
        rest = iter(inner)
        seen = first(rest, limit)
        response.stream = _Whole(seen, rest, inner)
        return plain(b"".join(seen), response.headers.get("content-encoding", ""), limit)

    def hold(self, response: httpx.Response) -> bool:
        if not _is_small(response):
            return False
        stream = response.stream
        assert isinstance(stream, httpx.SyncByteStream)
        try:
            response.stream = httpx.ByteStream(b"".join(stream))
        except httpx.TransportError:
            return False
        stream.close()
        return True

    def drop(self, response: httpx.Response) -> None:
        self.hold(response)
        response.close()

    def close(self, response: httpx.Response) -> None:
        response.close()


class _AsyncHop:
    """`_Hop`, for event loops."""

    def __init__(
        self,
        request: httpx.Request,
        inner: httpx.AsyncBaseTransport,
        keyed: httpx.AsyncBaseTransport,
    ) -> None:
        self._request, self._inner, self._keyed = request, inner, keyed

    async def send(self, patch: _native.Patch | None) -> httpx.Response:
        if patch is None or patch.is_empty:
            return await self._inner.handle_async_request(self._request)
        sent = _patched(self._request, patch)
        try:
            response = await self._keyed.handle_async_request(sent)
        except BaseException as error:
            scrub(error, sent, self._request)
            raise
        finally:
            _stripped(self._request, sent, patch)
        _cleaned(self._request, response, patch)
        return response

    def answer(self, response: httpx.Response) -> Answer:
        return response.status_code, response.headers.multi_items()

    async def peek(self, response: httpx.Response, limit: int) -> bytes:
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

    async def hold(self, response: httpx.Response) -> bool:
        if not _is_small(response):
            return False
        stream = response.stream
        assert isinstance(stream, httpx.AsyncByteStream)
        try:
            response.stream = httpx.ByteStream(b"".join([part async for part in stream]))
        except httpx.TransportError:
            return False
        await stream.aclose()
        return True

    async def drop(self, response: httpx.Response) -> None:
        await self.hold(response)
        await response.aclose()

    async def close(self, response: httpx.Response) -> None:
        await response.aclose()

    def is_over(self) -> bool:
        # httpx has no timeout of a whole request.
        return False


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
    """Takes out of a redirect what a server copied into it."""
    location = response.headers.get("location")
    if location is not None:
        shown = patch.location(_origin(request) + request.url.raw_path.decode("ascii"), location)
        if shown is None:
            del response.headers["location"]
        elif shown != location:
            response.headers["location"] = shown


def _failure(error: BaseException) -> Failure:
    if isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
        return "connect"
    return "timeout" if isinstance(error, httpx.TimeoutException) else "other"


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


def _is_small(response: httpx.Response) -> bool:
    length = response.headers.get("content-length", "")
    return length.isdigit() and int(length) <= SMALL
