"""For programs that send with httpx.

    httpx.Client(transport=Transport(keys, scheme=keyswap.Header("x-api-key"),
                                     allowed_origins=["https://api.example.com"]))
"""

from __future__ import annotations

from typing import Any, ClassVar

import httpx

from . import _httpx

__all__ = ["AsyncTransport", "Transport"]


class Transport(_httpx.Transport[httpx.BaseTransport], httpx.BaseTransport):
    """A transport whose requests live through rotations, around `inner`.

    Without `inner` it sends as a client without a transport does: through the proxies of the environment, unless
    `trust_env=False`. A client's own `proxy` and `mounts` take requests past its transport: make `inner` with
    the proxy (`httpx.HTTPTransport(proxy=...)`). Where they would, entering the client raises InvalidConfigError.

    Credentials go to `allowed_origins` and nowhere else: requests to other origins pass through without.
    Without `scheme`, they go onto requests as the set says. `classifier` is that of `keyswap.Client`. A
    body that can be read only once, such as a generator, is sent once: if its credential is rejected, the API's
    response is returned, and so it is for every request with `resend=False`. The read timeout of a request is also
    the longest time that it waits for a fresh credential. One with the extension `{"keyswap_scopes": ["trade"]}`
    is sent only if the credential has these scopes, and raises MissingScopeError otherwise. A request that has a
    header of the scheme's name already fails; with `own_header_wins=True` it is sent as it is, and says nothing of
    a credential.

    A credential for plain HTTP on this machine never goes through a proxy, that of `inner` neither: such a
    request is sent directly. What `localhost` is, is for the resolver to say: use 127.0.0.1 or [::1] where
    that is not to be trusted.

    Closing it closes `inner`; the keys go on. Raises InvalidConfigError and InsecureUrlError; sending
    raises KeyswapError where there is no credential to send with.
    """

    _library: ClassVar[Any] = httpx


class AsyncTransport(_httpx.AsyncTransport[httpx.AsyncBaseTransport], httpx.AsyncBaseTransport):
    """`Transport`, for `httpx.AsyncClient` on asyncio or trio."""

    _library: ClassVar[Any] = httpx
