"""What Python programs send a request of a story with: the package's own clients, and other libraries' adapters."""

from __future__ import annotations

import asyncio
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator
from typing import Any

import keyswap
from conftest import World

ORDER = b'{"order": 1}'
NO_ROOTS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Stories need no TLS, and to load the roots takes httpx longer than some of them poll."""


class Sender(ABC):
    """Sends one request of a caller and reads the answer to its end. Returns the status."""

    libraries: tuple[str, ...] = ()
    """What is imported before the story begins, as a program would have done."""

    def __init__(self, world: World, keys: keyswap.KeySwap, client: dict[str, Any]) -> None:
        self.base = world.api_url
        schemes: dict[str, keyswap.Scheme | None] = {
            "header": keyswap.Header("x-api-key"),
            "bearer": keyswap.Bearer(),
            "query": keyswap.Query("api_key"),
            "set": None,
        }
        self.options: dict[str, Any] = {"scheme": schemes[client.get("scheme", "header")]}
        if client.get("classifier") == "code_in_body":
            self.options["classifier"] = code_in_body
        self.open(keys, client.get("retries", 0))

    @abstractmethod
    def open(self, keys: keyswap.KeySwap, retries: int) -> None: ...

    def close(self) -> None: ...


class SyncSender(Sender):
    @abstractmethod
    def send(self, caller: dict[str, Any]) -> int: ...


class AsyncSender(Sender):
    @abstractmethod
    async def send(self, caller: dict[str, Any]) -> int: ...

    async def aclose(self) -> None: ...


def code_in_body(status: int, headers: dict[str, str], body: bytes | None) -> str:
    if status == 200:
        return "need_body" if body is None else "rejected" if b'"bad_key"' in body else "accepted"
    return "rejected" if status == 401 else "accepted" if status < 400 else "other"


code_in_body.statuses = [200, 401]  # type: ignore[attr-defined]
code_in_body.body_limit = 256  # type: ignore[attr-defined]


class ThroughClient(SyncSender):
    def open(self, keys: keyswap.KeySwap, retries: int) -> None:
        self.api = keyswap.Client(keys, base_url=self.base, retries=retries, **self.options)

    def send(self, caller: dict[str, Any]) -> int:
        return self.api.request(**what(caller)).status_code


class ThroughAsyncClient(AsyncSender):
    def open(self, keys: keyswap.KeySwap, retries: int) -> None:
        self.api = keyswap.AsyncClient(keys, base_url=self.base, retries=retries, **self.options)

    async def send(self, caller: dict[str, Any]) -> int:
        return (await self.api.request(**what(caller, once_async))).status_code


class ThroughHttpx(SyncSender):
    # httpx imports httpcore, and that trio, only once a transport is made.
    libraries = ("keyswap.integrations.httpx", "httpcore")

    def open(self, keys: keyswap.KeySwap, retries: int) -> None:
        import httpx
        from keyswap.integrations.httpx import Transport

        many = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        transport = Transport(
            keys,
            allowed_origins=[self.base],
            inner=httpx.HTTPTransport(limits=many, verify=NO_ROOTS),
            **self.options,
        )
        self.api = httpx.Client(base_url=self.base, transport=transport, follow_redirects=True)

    def send(self, caller: dict[str, Any]) -> int:
        return self.api.request(**extended(caller, once)).status_code

    def close(self) -> None:
        self.api.close()


class ThroughAsyncHttpx(AsyncSender):
    # httpx imports httpcore, and that trio, only once a transport is made.
    libraries = ("keyswap.integrations.httpx", "httpcore")

    def open(self, keys: keyswap.KeySwap, retries: int) -> None:
        import httpx
        from keyswap.integrations.httpx import AsyncTransport

        many = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        transport = AsyncTransport(
            keys,
            allowed_origins=[self.base],
            inner=httpx.AsyncHTTPTransport(limits=many, verify=NO_ROOTS),
            **self.options,
        )
        self.api = httpx.AsyncClient(base_url=self.base, transport=transport, follow_redirects=True)

    async def send(self, caller: dict[str, Any]) -> int:
        # httpx has a timeout for each phase, a story one for the whole request.
        sending = self.api.request(**extended(caller, once_async))
        return (await asyncio.wait_for(sending, caller["timeout_ms"] / 1000)).status_code

    async def aclose(self) -> None:
        await self.api.aclose()


class ThroughRequests(SyncSender):
    libraries = ("keyswap.integrations.requests",)

    def open(self, keys: keyswap.KeySwap, retries: int) -> None:
        import requests
        from keyswap.integrations.requests import Adapter

        self.adapter = Adapter(keys, allowed_origins=[self.base], **self.options)
        self.local = threading.local()
        self.new = requests.Session

    def send(self, caller: dict[str, Any]) -> int:
        # A session for each caller, as programs with threads have it.
        if not hasattr(self.local, "session"):
            self.local.session = self.new()
            self.local.session.mount(self.base, self.adapter)
            self.local.session.trust_env = False
        options = unscoped(caller, once)
        options["data"], options["url"] = options.pop("content"), self.base + caller["path"]
        return int(self.local.session.request(**options).status_code)


class ThroughAiohttp(AsyncSender):
    libraries = ("keyswap.integrations.aiohttp",)

    def open(self, keys: keyswap.KeySwap, retries: int) -> None:
        import aiohttp
        from keyswap.integrations.aiohttp import middleware

        keyed = middleware(keys, allowed_origins=[self.base], **self.options)

        def session(timeout: float) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                middlewares=[keyed],
                timeout=aiohttp.ClientTimeout(total=timeout),
            )

        self.new = session
        self.sessions: dict[float, aiohttp.ClientSession] = {}

    async def send(self, caller: dict[str, Any]) -> int:
        options = unscoped(caller, once_async)
        options["data"], options["url"] = options.pop("content"), self.base + caller["path"]
        # aiohttp tells the timeout of a session to what sends, and not that of a request.
        timeout = options.pop("timeout")
        if timeout not in self.sessions:
            self.sessions[timeout] = self.new(timeout)
        async with self.sessions[timeout].request(**options) as response:
            await response.read()
            return response.status

    async def aclose(self) -> None:
        for session in self.sessions.values():
            await session.close()


def once() -> Iterator[bytes]:
    yield ORDER


async def once_async() -> AsyncIterator[bytes]:
    yield ORDER


def what(caller: dict[str, Any], stream: Any = once) -> dict[str, Any]:
    """The options of a request."""
    body = {"none": None, "replayable": ORDER, "one_shot": stream}[caller.get("body", "none")]
    return {
        "method": caller["method"],
        "url": caller["path"],
        "content": body() if callable(body) else body,
        "timeout": caller["timeout_ms"] / 1000,
        "scopes": caller.get("scopes") or (),
    }


def extended(caller: dict[str, Any], stream: Any) -> dict[str, Any]:
    options = what(caller, stream)
    options["extensions"] = {"keyswap_scopes": options.pop("scopes")}
    return options


def unscoped(caller: dict[str, Any], stream: Any) -> dict[str, Any]:
    options = what(caller, stream)
    del options["scopes"]
    return options


THROUGH: dict[str, type[SyncSender] | type[AsyncSender]] = {
    "python": ThroughClient,
    "python-async": ThroughAsyncClient,
    "python-httpx": ThroughHttpx,
    "python-httpx-async": ThroughAsyncHttpx,
    "python-requests": ThroughRequests,
    "python-aiohttp": ThroughAiohttp,
}
