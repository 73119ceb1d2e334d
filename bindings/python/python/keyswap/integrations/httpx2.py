"""For programs that send with httpx2, as the SDKs of OpenAI (3) and Anthropic (2) do.

    httpx2.Client(transport=Transport(keys, scheme=keyswap.Header("x-api-key"),
                                     allowed_origins=["https://api.example.com"]))
"""

from __future__ import annotations

from typing import Any, ClassVar

import httpx2

from . import _httpx

__all__ = ["AsyncTransport", "Transport"]


class Transport(_httpx.Transport[httpx2.BaseTransport], httpx2.BaseTransport):
    """A transport whose requests live through rotations: that of `keyswap.integrations.httpx`, for httpx2."""

    _library: ClassVar[Any] = httpx2


class AsyncTransport(_httpx.AsyncTransport[httpx2.AsyncBaseTransport], httpx2.AsyncBaseTransport):
    """`Transport`, for `httpx2.AsyncClient` on asyncio or trio."""

    _library: ClassVar[Any] = httpx2
