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
from aiohttp.payload import BytesPayload

from .. import _native
from .._bridge import run
from .._errors import InvalidConfigError
from ._flow import SMALL, Answer, Keys, Peek, Send
from ._leftovers import scrub, strip

if TYPE_CHECKING:
    from .._client import Classifier

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
    Without `scheme`, they go onto requests as the set says. `classifier` is that of `keyswap.Client`; one
    that asks for the body has it read whole. A body that is neither bytes, text nor JSON is sent once: if its
    credential is rejected, the API's response is returned, and so it is for every request with
    `resend=False`. The total timeout holds for all sends; if it ends while a request waits for a fresh
    credential, the API's response is returned. A request that has a header of the scheme's name already fails;
    with `own_header="keep"` it is sent as it is, and with "replace" the credential takes its place.

    A credential for plain HTTP on this machine never goes through a proxy: such a request is sent directly. A
    connector that has a proxy of its own cannot be seen from here. What `localhost` is, is for the resolver to
    say: use 127.0.0.1 or [::1] where that is not to be trusted.

    A key in a query would show in the errors of aiohttp, so the scheme `Query` is refused: use
    `keyswap.AsyncClient`. Raises InvalidConfigError and InsecureUrlError; sending raises KeyswapError
    where there is no credential to send with.
    """
    if isinstance(scheme, _native.Query):
        raise InvalidConfigError("a key in a query shows in errors of aiohttp: use keyswap.AsyncClient")
    held = Keys(
        keys, scheme, allowed_origins, classifier, plain_http_allowed, resend, own_header_wins
    )

    async def authorize(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        origin = str(request.url.origin())
        body = request.body
        whole: bytes | None = b""
        if body:
            whole = await body.as_bytes() if isinstance(body, BytesPayload) else None
        flow = held.flow(
            request.method,
            origin,
            request.url.raw_path_qs,
            request.headers,
            lambda: list(request.headers.items()),
            whole,
        )
        timer = _Timer(request)
        response: ClientResponse | None = None
        try:
            order = next(flow)
            while True:
                told: Answer | bytes | None = None
                if isinstance(order, Send):
                    if response is not None:
                        await _done(response)
                    try:
                        response = await _send(held, origin, request, handler, order.patch)
                    except Exception as error:
                        response = None
                        flow.throw(error)
                        raise
                    told = response.status, list(response.headers.items())
                elif isinstance(order, Peek):
                    assert response is not None
                    told = (await response.read())[: order.limit]
                else:
                    held_whole = response is not None and await _held(response)
                    try:
                        await run(order._wait)
                    except asyncio.CancelledError:
                        # A response in hand is worth more than to be told of the timeout.
                        if response is not None and held_whole and timer.has_ended():
                            return response
                        raise
                order = flow.send(told)
        except StopIteration:
            assert response is not None
            return response
        except BaseException:
            if response is not None:
                response.close()
            raise
        finally:
            flow.close()

    return authorize


async def _send(
    held: Keys,
    origin: str,
    request: ClientRequest,
    handler: ClientHandlerType,
    patch: _native.Patch | None,
) -> ClientResponse:
    if patch is None or patch.is_empty:
        return await handler(request)
    if request.proxy is not None and held.goes_direct(origin):
        request.update_proxy(None, None, None)
    names = patch.names
    before = [(name, value) for name in names for value in request.headers.popall(name, [])]
    patch.put(request.headers)
    sent: Any = request
    traces = sent._traces
    sent._traces = [_Trace(each, names) for each in traces]
    try:
        return await handler(request)
    except BaseException as error:
        scrub(error, request, request)
        raise
    finally:
        # `request_info` of a response and of an error is a view of these headers.
        strip(request.headers, names)
        request.headers.extend(before)
        sent._traces = traces


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


class _Timer:
    """The total timeout of a request, which ends it as if the program had cancelled it."""

    def __init__(self, request: ClientRequest) -> None:
        self._timer: Any = getattr(request, "_timer", None)
        self._before = self._cancelling()

    def has_ended(self) -> bool:
        """Whether it was the timeout and nobody else that cancelled this task, which then goes on."""
        if not getattr(self._timer, "_cancelled", False):
            return False
        task: Any = asyncio.current_task()
        if not hasattr(task, "uncancel"):
            return True
        if self._cancelling() != self._before + 1:
            return False
        task.uncancel()
        return True

    @staticmethod
    def _cancelling() -> int:
        task: Any = asyncio.current_task()
        return int(task.cancelling()) if hasattr(task, "cancelling") else 0


async def _held(response: ClientResponse) -> bool:
    """Whether a response could be read, so that nothing of it is still to come. A large one is not tried."""
    if not response.content.is_eof() and not _is_small(response):
        return False
    try:
        await response.read()
    except aiohttp.ClientError:
        return False
    return True


def _is_small(response: ClientResponse) -> bool:
    return response.content_length is not None and response.content_length <= SMALL


async def _done(response: ClientResponse) -> None:
    """Gives up a response. A small one is read to its end, so that its connection can be used again."""
    if _is_small(response):
        try:
            await response.read()
        except aiohttp.ClientError:
            pass
    response.close()
