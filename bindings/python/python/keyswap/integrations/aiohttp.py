"""For programs that send with aiohttp.

    aiohttp.ClientSession(middlewares=[middleware(keys, scheme=keyswap.Header("x-api-key"),
                                                  allowed_origins=["https://api.example.com"])])

aiohttp runs middleware for each hop of a chain of redirects, on a request made anew from what the program passed. A
credential is on it only while it is sent, so that no error and no `request_info` shows one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse
from aiohttp.payload import BytesPayload

from .. import _native
from .._bridge import run
from .._errors import InsecureUrlError, InvalidConfigError
from ._flow import SMALL, Answer, Keys, Peek, Send

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
) -> ClientMiddlewareType:
    """A middleware whose requests live through rotations. Name it last: others then run once a request.

    Credentials go to `allowed_origins` and nowhere else: requests to other origins pass through without.
    Without `scheme`, they go onto requests as the set says. `classifier` is that of `keyswap.Client`; one
    that asks for the body has it read whole. A body that is neither bytes, text nor JSON is sent once: if its
    credential is rejected, the API's response is returned. The session's total timeout holds for all sends.

    A key in a query would show in the errors of aiohttp, so the scheme `Query` is refused: use
    `keyswap.AsyncClient`. Raises InvalidConfigError and InsecureUrlError; sending raises KeyswapError
    where there is no credential to send with.
    """
    if isinstance(scheme, _native.Query):
        raise InvalidConfigError("a key in a query shows in errors of aiohttp: use keyswap.AsyncClient")
    held = Keys(keys, scheme, allowed_origins, classifier, plain_http_allowed)

    async def authorize(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        origin = str(request.url.origin())
        if request.proxy and request.url.scheme == "http" and not plain_http_allowed:
            if held.admits(origin):
                raise InsecureUrlError("a proxy would read the credential: use HTTPS")
        body = request.body
        whole: bytes | None = b""
        if body:
            whole = await body.as_bytes() if isinstance(body, BytesPayload) else None
        flow = held.flow(
            request.method,
            origin,
            request.url.raw_path_qs,
            lambda: list(request.headers.items()),
            whole,
            replayable=whole is not None,
        )
        response: ClientResponse | None = None
        try:
            order = next(flow)
            while True:
                told: Answer | bytes | None = None
                if isinstance(order, Send):
                    if response is not None:
                        await _done(response)
                    try:
                        response = await _send(request, handler, order.patch)
                    except Exception as error:
                        response = None
                        flow.throw(error)
                        raise
                    told = response.status, list(response.headers.items())
                elif isinstance(order, Peek):
                    assert response is not None
                    told = (await response.read())[: order.limit]
                else:
                    await run(order._wait)
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
    request: ClientRequest, handler: ClientHandlerType, patch: _native.Patch | None
) -> ClientResponse:
    if patch is None:
        return await handler(request)
    before = {name: request.headers.getall(name, []) for name in patch.names}
    patch.put(request.headers)
    try:
        return await handler(request)
    finally:
        for name, values in before.items():
            request.headers.popall(name, None)
            for value in values:
                request.headers.add(name, value)


async def _done(response: ClientResponse) -> None:
    """Gives up a response. A small one is read to its end, so that its connection can be used again."""
    if response.content_length is not None and response.content_length <= SMALL:
        try:
            await response.read()
        except aiohttp.ClientError:
            pass
    response.close()
