"""The HTTP libraries that have an adapter, each behind the same few methods, and a server to say anything to them."""

from __future__ import annotations

import asyncio
import ssl
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import httpx2
import requests

import keyswap
from keyswap.integrations import httpx as for_httpx
from keyswap.integrations import httpx2 as for_httpx2
from keyswap.integrations.aiohttp import middleware
from keyswap.integrations.requests import Adapter

SECRET = "s3cr3t-key"
NO_ROOTS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Nothing here needs TLS, and to load the roots takes httpx long."""
PROXIES = [name for base in ("http", "https", "all") for name in (f"{base}_proxy", f"{base}_PROXY".upper())]


@contextmanager
def followed(*secrets: str) -> Iterator[keyswap.KeySwap]:
    """A handle that holds the first of these, then the next with each fetch."""
    left = list(enumerate(secrets, 1))

    def fetch() -> dict[str, Any]:
        number, secret = left.pop(0) if len(left) > 1 else left[0]
        return {"generation": number, "current": {"id": f"k{number}", "key": secret}}

    policy: keyswap.Policy = {"fetch_floor": 0.05, "fetch_floor_min": 0.05}
    with keyswap.KeySwap(fetch, policy=policy) as keys:
        keys.ready(10)
        yield keys


@dataclass
class Asked:
    """One request that a site received."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def is_keyed(self) -> bool:
        return SECRET in f"{self.path} {self.headers}"


@dataclass
class Answer:
    status: int = 200
    headers: Mapping[str, str] | None = None
    body: bytes = b"{}"
    drops: bool = False
    """The connection ends in place of an answer."""


class Site(ThreadingHTTPServer):
    """A server that answers as a function says, and notes what it was asked. As a proxy, too."""

    daemon_threads = True

    def __init__(self, answer: Callable[[Asked], Answer] = lambda asked: Answer()) -> None:
        self.asked: list[Asked] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def respond(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, body)
                site.asked.append(asked)
                said = answer(asked)
                if said.drops:
                    self.close_connection = True
                    return
                self.send_response(said.status)
                for name, value in (said.headers or {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(said.body)))
                self.end_headers()
                self.wfile.write(said.body)

            do_GET = do_POST = do_PUT = do_PATCH = respond

            def log_message(self, *_: Any) -> None: ...

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def sends(self) -> list[str]:
        return [f"{asked.method} {asked.path}" for asked in self.asked]

    def __exit__(self, *_: Any) -> None:
        self.shutdown()
        self.server_close()


class Library(ABC):
    """A session of one library with its adapter. Without keys, the library alone."""

    adapter_name = ""

    def __init__(self, keys: keyswap.KeySwap | None, *origins: str, **options: Any) -> None:
        options.setdefault("scheme", keyswap.Header("x-api-key"))
        self.proxy = options.pop("proxy", None)
        self.trust_env = options.pop("trust_env", False)
        self.seen: list[str] = []
        """What the library's hooks or traces were shown."""
        self.open(keys, list(origins), options)

    @abstractmethod
    def open(self, keys: Any, origins: list[str], options: dict[str, Any]) -> None: ...

    @abstractmethod
    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: Any = None,
        timeout: float = 10,
    ) -> Any:
        """The response, read to its end, with `status_code`."""

    @abstractmethod
    def kept(self, response: Any) -> str:
        """What the library knows of the requests of a chain."""

    def get(self, url: str, **options: Any) -> Any:
        return self.send("GET", url, **options)

    def close(self) -> None: ...

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Requests(Library):
    adapter_name = "python-requests"

    def open(self, keys: Any, origins: list[str], options: dict[str, Any]) -> None:
        self.http = requests.Session()
        if keys is not None:
            self.http.mount("http://", Adapter(keys, allowed_origins=origins, **options))
        self.http.trust_env = self.trust_env
        self.http.proxies = {"http": self.proxy} if self.proxy else {}
        self.http.hooks["response"].append(lambda it, *_, **__: self.seen.append(shown(it.request)))

    def send(self, method: str, url: str, timeout: Any = 10, **options: Any) -> Any:
        if "content" in options:
            options["data"] = options.pop("content")
        return self.http.request(method, url, timeout=timeout, **options)

    def kept(self, response: Any) -> str:
        chain = [*response.history, response]
        return " ".join(shown(hop.request) + shown(hop) + shown(hop.next) for hop in chain)

    def close(self) -> None:
        self.http.close()


class Httpx(Library):
    adapter_name = "python-httpx"
    library: Any = httpx
    adapter: Any = for_httpx

    def open(self, keys: Any, origins: list[str], options: dict[str, Any]) -> None:
        inner = options.pop("inner", None)
        if not self.trust_env or self.proxy:
            inner = inner or self.library.HTTPTransport(proxy=self.proxy, verify=NO_ROOTS)
        transport = inner
        if keys is not None:
            transport = self.adapter.Transport(keys, allowed_origins=origins, inner=inner, **options)
        hooks = {
            "request": [lambda it: self.seen.append(shown(it))],
            "response": [lambda it: self.seen.append(shown(it.request))],
        }
        self.http = self.library.Client(transport=transport, follow_redirects=True, event_hooks=hooks)

    def send(self, method: str, url: str, **options: Any) -> Any:
        return self.http.request(method, url, **options)

    def kept(self, response: Any) -> str:
        chain = [*response.history, response]
        hops = [hop.request for hop in chain] + [hop.next_request for hop in chain]
        return " ".join(shown(hop) for hop in [*hops, *chain])

    def close(self) -> None:
        self.http.close()


class Httpx2(Httpx):
    adapter_name = "python-httpx2"
    library, adapter = httpx2, for_httpx2


class AsyncLibrary(Library):
    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.loop = asyncio.new_event_loop()
        try:
            super().__init__(*arguments, **options)
        except BaseException:
            self.loop.close()
            raise

    def send(self, method: str, url: str, **options: Any) -> Any:
        return self.loop.run_until_complete(self.asend(method, url, **options))

    @abstractmethod
    async def asend(self, method: str, url: str, **options: Any) -> Any: ...

    @abstractmethod
    async def aclose(self) -> None: ...

    def close(self) -> None:
        self.loop.run_until_complete(self.aclose())
        self.loop.close()


class AsyncHttpx(AsyncLibrary):
    adapter_name = "python-httpx-async"
    library: Any = httpx
    adapter: Any = for_httpx

    def open(self, keys: Any, origins: list[str], options: dict[str, Any]) -> None:
        async def sent(it: httpx.Request) -> None:
            self.seen.append(shown(it))

        async def answered(it: httpx.Response) -> None:
            self.seen.append(shown(it.request))

        inner = options.pop("inner", None)
        if not self.trust_env or self.proxy:
            inner = inner or self.library.AsyncHTTPTransport(proxy=self.proxy, verify=NO_ROOTS)
        transport = inner
        if keys is not None:
            transport = self.adapter.AsyncTransport(keys, allowed_origins=origins, inner=inner, **options)
        hooks = {"request": [sent], "response": [answered]}
        self.http = self.library.AsyncClient(transport=transport, follow_redirects=True, event_hooks=hooks)

    async def asend(self, method: str, url: str, **options: Any) -> Any:
        return await self.http.request(method, url, **options)

    kept = Httpx.kept

    async def aclose(self) -> None:
        await self.http.aclose()


class AsyncHttpx2(AsyncHttpx):
    adapter_name = "python-httpx2-async"
    library, adapter = httpx2, for_httpx2


class Aiohttp(AsyncLibrary):
    adapter_name = "python-aiohttp"

    def open(self, keys: Any, origins: list[str], options: dict[str, Any]) -> None:
        traces = aiohttp.TraceConfig()

        async def noted(_: Any, __: Any, told: Any) -> None:
            self.seen.append(shown(told))

        for name in ("start", "headers_sent", "end", "redirect", "exception"):
            getattr(traces, f"on_request_{name}").append(noted)

        async def make() -> aiohttp.ClientSession:
            keyed = [] if keys is None else [middleware(keys, allowed_origins=origins, **options)]
            return aiohttp.ClientSession(
                middlewares=keyed, proxy=self.proxy, trust_env=self.trust_env, trace_configs=[traces]
            )

        self.http = self.loop.run_until_complete(make())

    async def asend(
        self, method: str, url: str, content: Any = None, timeout: float = 10, **options: Any
    ) -> Any:
        options["timeout"] = aiohttp.ClientTimeout(total=timeout)
        async with self.http.request(method, url, data=content, **options) as response:
            await response.read()
            response.status_code = response.status  # type: ignore[attr-defined]
            return response

    def kept(self, response: Any) -> str:
        return " ".join(shown(hop) for hop in [*response.history, response])

    async def aclose(self) -> None:
        await self.http.close()


ALL: list[type[Library]] = [Requests, Httpx, AsyncHttpx, Httpx2, Aiohttp]


def shown(thing: Any) -> str:
    """What a program that logs this would show: its representation, and its URL and headers."""
    parts = [repr(thing)]
    for name in ("url", "headers", "request_info", "params", "request"):
        try:
            value = getattr(thing, name, None)
        except RuntimeError:  # so say errors of httpx that name no request
            continue
        parts.append(repr(dict(value)) if isinstance(value, Mapping) else repr(value))
        headers = getattr(value, "headers", None)
        parts.append(repr(dict(headers)) if isinstance(headers, Mapping) else "")
    return " ".join(parts)


def told_by(error: BaseException) -> str:
    """All that an error reporter prints: the chain of errors with what each holds, and the local variables of
    each frame."""
    told, ahead, seen = [], [error], set[int]()
    while ahead:
        each: Any = ahead.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        told += [shown(each), repr(each.args), repr(vars(each))]
        for frame, _ in traceback.walk_tb(each.__traceback__):
            # The tests themselves know the key.
            if Path(frame.f_code.co_filename).parent != Path(__file__).parent:
                told += [shown(local) for local in frame.f_locals.values()]
        ahead += [each.__cause__, each.__context__]
        ahead += [held for held in each.args if isinstance(held, BaseException)]
    return "\n".join(told)
