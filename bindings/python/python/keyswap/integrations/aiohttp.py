"""For programs that send with aiohttp.

    aiohttp.ClientSession(middlewares=[middleware(keys, scheme=keyswap.Header("x-api-key"),
                                                  allowed_origins=["https://api.example.com"])])

aiohttp runs middleware for each hop of a chain of redirects, on a request made anew from what the program passed. A
credential is on it only while it is sent, so that no error, no trace and no `request_info` shows one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse
from aiohttp.payload import AsyncIterablePayload, BytesPayload, IOBasePayload
from multidict import CIMultiDictProxy

from .. import _native
from .._error_types import InvalidConfigError
from .._schemes import Query
from ._drive import adrive
from ._flow import PATIENCE, SMALL, Answer, Failure, Keys, rewinding
from ._leftovers import scrub, strip

if TYPE_CHECKING:
    from .._options import Classifier

__all__ = ["middleware"]


def middleware(
    keys: _native.KeySwap,
    *,
    scheme: _native.Scheme | None = None,
    allowed_origins: Sequence[str],
    classifier: Classifier | None = None,
    plain_http_allowed: bool = False,
    resend: bool = True,
    own_header_wins: bool = False,
) -> ClientMiddlewareType:
    """A middleware whose requests live through rotations. Name it last: others then run once a request.

    Credentials go to `allowed_origins` and nowhere else: requests to other origins pass through without.
    Without `scheme`, they go onto requests as the set says. `classifier` is that of `keyswap.Client`. A body
    that can be read only once, such as a generator, is sent once: if its credential is rejected, the API's response
    is returned, and so it is for every request with `resend=False`. The total timeout holds for all sends; if it ends while a request waits for a fresh
    credential, the API's response is returned. While an API wants fewer requests, one waits for as long as the
    session's timeout allows. A request that has a header of the scheme's name already fails;
    with `own_header_wins=True` it is sent as it is, and says nothing of a credential.

    A credential for plain HTTP on this machine never goes through a proxy: such a request is sent directly. A
    connector that has a proxy of its own cannot be seen from here. What `localhost` is, is for the resolver to
    say: use 127.0.0.1 or [::1] where that is not to be trusted.

    A key in a query would show in the errors of aiohttp, so the scheme `Query` is refused: use
    `keyswap.AsyncClient`. Raises InvalidConfigError and InsecureUrlError; sending raises KeyswapError
    where there is no credential to send with.
    """
    if isinstance(scheme, Query):
        raise InvalidConfigError("a key in a query shows in errors of aiohttp: use keyswap.AsyncClient")
    held = Keys(
        keys,
        scheme,
        allowed_origins,
        classifier,
        plain_http_allowed,
        resend,
        own_header_wins,
        _failure,
    )

    async def authorize(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        body = request.body
        whole: bytes | None = b""
        if body:
            whole = bytes(await body.as_bytes()) if isinstance(body, BytesPayload) else None
        flow = held.flow(
            request.method,
            _origin(request),
            request.url.raw_path_qs,
            request.headers,
            lambda: list(request.headers.items()),
            whole,
            is_once=whole is None and not _can_be_sent_again(body),
            # That of the request itself cannot be seen from here, only that it strikes.
            deadline=request.session.timeout.total,
        )
        return await adrive(flow, _Hop(held, request, handler))

    return authorize


class _Hop:
    """One request, and the timer that ends it as if the program had cancelled it."""

    def __init__(self, held: Keys, request: ClientRequest, handler: ClientHandlerType) -> None:
        self._held, self._request, self._handler = held, request, handler
        self._timer: Any = getattr(request, "_timer", None)
        self._before = _cancelling()

    async def send(self, patch: _native.Patch | None) -> ClientResponse:
        request: Any = self._request
        if patch is None or patch.is_empty:
            return await self._handler(request)
        if request.proxy is not None and self._held.goes_direct(_origin(request)):
            request.update_proxy(None, None, None)
        names, traces = patch.names, request._traces
        before = [(name, value) for name in names for value in request.headers.popall(name, [])]
        patch.put(request.headers)
        request._traces = [_Trace(each, names) for each in traces]
        try:
            response = await self._handler(request)
        except BaseException as error:
            scrub(error, request, request)
            raise
        finally:
            # `request_info` of a response and of an error is a view of these headers.
            strip(request.headers, names)
            request.headers.extend(before)
            request._traces = traces
        _cleaned(f"{_origin(request)}{request.url.raw_path_qs}", response, patch)
        return response

    def answer(self, response: ClientResponse) -> Answer:
        return response.status, list(response.headers.items())

    async def peek(self, response: ClientResponse, limit: int) -> bytes:
        content: Any = response.content
        seen = bytearray()
        while len(seen) < limit and (part := await content.readany()):
            seen += part
        if seen:
            # As `unread_data` does, which aiohttp wants nobody to call any more, and has nothing else for.
            content._buffer.appendleft(bytes(seen))
            content._size += len(seen)
            content._cursor -= len(seen)
            content._eof_counter = 0
        return bytes(seen[:limit])

    async def hold(self, response: ClientResponse) -> bool:
        size = response.content_length
        if not response.content.is_eof() and size is not None and size > SMALL:
            return False
        try:
            await asyncio.wait_for(self._read(response), PATIENCE)
        except (aiohttp.ClientError, asyncio.TimeoutError):
            return False
        return True

    async def _read(self, response: ClientResponse) -> None:
        # It does not come where there is more than aiohttp holds for a reader.
        await response.content.wait_eof()
        await response.read()

    async def drop(self, response: ClientResponse) -> None:
        await self.hold(response)
        response.close()

    async def close(self, response: ClientResponse) -> None:
        response.close()

    def is_over(self) -> bool:
        if not getattr(self._timer, "_cancelled", False):
            return False
        task: Any = asyncio.current_task()
        if not hasattr(task, "uncancel"):
            return True
        if _cancelling() != self._before + 1:
            return False
        task.uncancel()
        return True


def _can_be_sent_again(body: Any) -> bool:
    """What aiohttp reads from its beginning whenever it is sent: bytes, files that can go back, forms of them."""
    if isinstance(body, aiohttp.MultipartWriter):
        return all(_can_be_sent_again(part) for part, _, _ in body)
    if isinstance(body, AsyncIterablePayload) or not isinstance(body, (BytesPayload, IOBasePayload)):
        return False
    return isinstance(body, BytesPayload) or rewinding(body._value) is not None


def _cancelling() -> int:
    """How many want this task to end. Python 3.10 does not count them."""
    task: Any = asyncio.current_task()
    return int(task.cancelling()) if hasattr(task, "cancelling") else 0


def _cleaned(url: str, response: ClientResponse, patch: _native.Patch) -> None:
    """Takes out of a redirect what a server copied into it."""
    location = response.headers.get("location")
    shown = None if location is None else patch.location(url, location)
    if location is None or shown == location:
        return
    headers = response.headers.copy()
    del headers["location"]
    if shown is not None:
        headers["location"] = shown
    # aiohttp lets nobody change a response's headers.
    changed: Any = response
    changed._cache.pop("headers", None)
    changed._cache.pop("raw_headers", None)
    changed._headers = CIMultiDictProxy(headers)
    changed._raw_headers = tuple((name.encode(), value.encode()) for name, value in headers.items())


def _failure(error: BaseException) -> Failure:
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return "connect"
    return "timeout" if isinstance(error, asyncio.TimeoutError) else "other"


def _origin(request: ClientRequest) -> str:
    return str(request.url.origin())


class _Trace:
    """A program's trace, which is not told of the credential."""

    def __init__(self, inner: Any, names: tuple[str, ...]) -> None:
        self._inner, self._names = inner, names

    async def send_request_headers(self, method: Any, url: Any, headers: Any) -> None:
        shown = headers.copy()
        strip(shown, self._names)
        await self._inner.send_request_headers(method, url, shown)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)
