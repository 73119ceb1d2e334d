"""What `httpx` and `httpx2` share: one is the other's continuation, under another name.

httpx makes one call of its transport for each hop of a chain of redirects, and copies a request's own headers from
hop to hop, to other origins too. So a credential is put on what the inner transport sends and never on
the request that httpx knows: a hop elsewhere carries none, and no response, error, hook or Referer shows one.
There is no `httpx.Auth` here for that reason: it could only put a credential on the request itself.
"""

from __future__ import annotations

import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import lru_cache
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from .. import _native
from .._error_types import InvalidConfigError
from ._drive import adrive, drive
from ._flow import PATIENCE, SMALL, Answer, Failure, Flow, Keys, rewinding
from ._leftovers import scrub, strip

if TYPE_CHECKING:
    from .._options import Classifier

T = TypeVar("T")


class _Base(Generic[T]):
    """A transport of either kind, around another one."""

    _library: ClassVar[Any]
    """The module: httpx or httpx2."""
    _own: ClassVar[tuple[str, str]]
    """What the library calls its client and its transport of this kind."""

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
        inner: T | None = None,
        trust_env: bool = True,
    ) -> None:
        self._keys = Keys(
            keys,
            scheme,
            allowed_origins,
            classifier,
            plain_http_allowed,
            resend,
            own_header_wins,
            lambda error: _failure(self._library, error),
        )
        self._origins = tuple(allowed_origins)
        client, transport = (getattr(self._library, name) for name in self._own)
        # A client knows the proxies of the environment, and which of them a URL is for.
        self._environment: Any = client(trust_env=trust_env) if inner is None else None
        self._inner: Any = inner
        held = self._all_inner()
        is_proxied = any(_is_proxied(self._library, each) for each in held)
        self._direct: Any = transport(verify=_NO_TLS) if is_proxied else None

    def _all_inner(self) -> list[Any]:
        if self._environment is None:
            return [self._inner]
        mounts = (each for each in self._environment._mounts.values() if each is not None)
        return [self._environment._transport, *mounts]

    def _for(self, request: Any) -> tuple[Any, Any]:
        """What sends a request with nothing on it, and with a credential."""
        inner = self._inner
        if inner is None:
            inner = self._environment._transport_for_url(request.url)
        is_direct = self._direct is not None and self._keys.goes_direct(_origin(request))
        return inner, self._direct if is_direct else inner

    def _refuse_to_be_passed_by(self, client: Any) -> None:
        """A client's own `proxy` and `mounts` take requests past its transport, which hears nothing of them."""
        if not hasattr(client, "_transport_for_url"):
            return
        for origin in self._origins:
            if not isinstance(client._transport_for_url(self._library.URL(origin)), _Base):
                raise InvalidConfigError(
                    f"a proxy or a mount of the client takes requests to {origin} past keyswap: give the proxy to "
                    f"the transport, with inner={self._library.__name__}.{self._own[1]}(proxy=...)"
                )


class Transport(_Base[T]):
    """`Transport` of either library."""

    _own = ("Client", "HTTPTransport")

    def handle_request(self, request: Any) -> Any:
        hop = _Hop(self._library, request, *self._for(request))
        return drive(_flow(self._library, self._keys, request, hop), hop)

    def close(self) -> None:
        for each in [*self._all_inner(), *([self._direct] if self._direct else [])]:
            each.close()

    def __enter__(self) -> Any:
        # It is the client that enters its transports, and nothing else tells a transport whose it is.
        self._refuse_to_be_passed_by(sys._getframe(1).f_locals.get("self"))
        for each in self._all_inner():
            each.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        for each in self._all_inner():
            each.__exit__(exc_type, exc_value, traceback)
        if self._direct is not None:
            self._direct.close()


class AsyncTransport(_Base[T]):
    """`AsyncTransport` of either library."""

    _own = ("AsyncClient", "AsyncHTTPTransport")

    async def handle_async_request(self, request: Any) -> Any:
        hop = _AsyncHop(self._library, request, *self._for(request))
        return await adrive(_flow(self._library, self._keys, request, hop), hop)

    async def aclose(self) -> None:
        for each in [*self._all_inner(), *([self._direct] if self._direct else [])]:
            await each.aclose()

    async def __aenter__(self) -> Any:
        self._refuse_to_be_passed_by(sys._getframe(1).f_locals.get("self"))
        for each in self._all_inner():
            await each.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        for each in self._all_inner():
            await each.__aexit__(exc_type, exc_value, traceback)
        if self._direct is not None:
            await self._direct.aclose()


_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Without roots: what sends directly sends plain HTTP, and to load them takes long."""


def _is_proxied(library: Any, transport: object, depth: int = 3) -> bool:
    """Whether a transport, or one that it is made around, has a proxy. httpx tells it nowhere in public."""
    held: dict[str, Any] = getattr(transport, "__dict__", {})
    pool: Any = held.get("_pool")
    if "Proxy" in type(pool).__name__ or getattr(pool, "_proxy", None) is not None:
        return True
    within = (library.BaseTransport, library.AsyncBaseTransport)
    around = [each for each in held.values() if isinstance(each, within)]
    return depth > 0 and any(_is_proxied(library, each, depth - 1) for each in around)


def _flow(library: Any, keys: Keys, request: Any, hop: _Sends) -> Flow:
    stream = request.stream
    content = b"".join(stream) if isinstance(stream, library.ByteStream) else None
    hop.rewind = _rewinding(stream) if content is None else None
    timeout: dict[str, float | None] = request.extensions.get("timeout") or {}
    return keys.flow(
        request.method,
        _origin(request),
        request.url.raw_path.decode("ascii"),
        request.headers,
        lambda: list(request.headers.multi_items()),
        content,
        is_once=content is None and hop.rewind is None,
        deadline=timeout.get("read"),
        scopes=request.extensions.get("keyswap_scopes") or (),
    )


def _rewinding(stream: Any) -> Callable[[], object] | None:
    """What makes a body that is not held as bytes ready to be sent again. None for one that can be had once."""
    fields = getattr(stream, "fields", None)
    if fields is not None:
        # A form: the library takes each file back to its beginning by itself.
        files = [field.file for field in fields if hasattr(field, "file")]
        again = all(isinstance(file, (bytes, str)) or rewinding(file) for file in files)
        return (lambda: None) if again else None
    body = getattr(stream, "_stream", None)
    return (lambda: None) if isinstance(body, (list, tuple)) else rewinding(body)


def _origin(request: Any) -> str:
    """What httpx connects to, however another reader would understand the URL."""
    return f"{request.url.scheme}://{request.url.netloc.decode('ascii')}"


class _Sends:
    """One request, sent through `inner` with nothing on it, and through `keyed` with a credential."""

    def __init__(self, library: Any, request: Any, inner: Any, keyed: Any) -> None:
        self._library, self._request, self._inner, self._keyed = library, request, inner, keyed
        self.rewind: Callable[[], object] | None = None
        self._is_sent = False
        # The library's transports look into it when they begin to read a body.
        self._timeout: dict[str, float | None] = {}

    def _patched(self, patch: _native.Patch) -> Any:
        """The request to be sent: a copy, so that the one which httpx knows never holds a credential."""
        request = self._request
        if self._is_sent and self.rewind is not None:
            self.rewind()
        self._is_sent = True
        url = request.url
        if not patch.names:
            sent = self._library.URL(patch.url(_origin(request) + url.raw_path.decode("ascii")))
            url = url.copy_with(raw_path=sent.raw_path)
        headers = request.headers.copy()
        patch.put(headers)
        self._timeout = dict(request.extensions.get("timeout") or {})
        return self._library.Request(
            request.method,
            url,
            headers=headers,
            stream=request.stream,
            extensions={**request.extensions, "timeout": self._timeout},
        )

    def answer(self, response: Any) -> Answer:
        return response.status_code, response.headers.multi_items()

    def _is_worth_reading(self, response: Any) -> bool:
        """Whether the body may be small. From now on its next part comes soon, or the connection is given up."""
        length = response.headers.get("content-length", "")
        if length.isdigit() and int(length) > SMALL:
            return False
        self._timeout["read"] = PATIENCE / 2
        # What was looked into is read with the timeout that the program set.
        return not isinstance(response.stream, _whole(self._library)) or response.stream.is_over


class _Hop(_Sends):
    def send(self, patch: _native.Patch | None) -> Any:
        if patch is None or patch.is_empty:
            return self._inner.handle_request(self._request)
        sent = self._patched(patch)
        try:
            response = self._keyed.handle_request(sent)
        except BaseException as error:
            scrub(error, sent, self._request)
            raise
        finally:
            _stripped(self._request, sent, patch)
        _cleaned(self._request, response, patch)
        return response

    def peek(self, response: Any, limit: int) -> bytes:
        whole = _whole(self._library)(response.stream, iter(response.stream))
        seen = _Seen(self._library, response, limit)
        for part in whole.rest:
            whole.seen.append(part)
            if seen.is_enough_with(part):
                break
        else:
            whole.is_over = True
        response.stream = whole
        return seen.decoded()

    def hold(self, response: Any) -> bool:
        stream = response.stream
        if isinstance(stream, self._library.ByteStream):
            return True
        if not self._is_worth_reading(response):
            return False
        parts, size, until = list[bytes](), 0, time.monotonic() + PATIENCE
        try:
            for part in stream:
                parts.append(part)
                size += len(part)
                if size > SMALL or time.monotonic() > until:
                    return False
        except self._library.TransportError:
            return False
        response.stream = self._library.ByteStream(b"".join(parts))
        stream.close()
        return True

    def drop(self, response: Any) -> None:
        self.hold(response)
        response.close()

    def close(self, response: Any) -> None:
        response.close()


class _AsyncHop(_Sends):
    """`_Hop`, for event loops."""

    async def send(self, patch: _native.Patch | None) -> Any:
        if patch is None or patch.is_empty:
            return await self._inner.handle_async_request(self._request)
        sent = self._patched(patch)
        try:
            response = await self._keyed.handle_async_request(sent)
        except BaseException as error:
            scrub(error, sent, self._request)
            raise
        finally:
            _stripped(self._request, sent, patch)
        _cleaned(self._request, response, patch)
        return response

    async def peek(self, response: Any, limit: int) -> bytes:
        whole = _whole(self._library)(response.stream, response.stream.__aiter__())
        seen = _Seen(self._library, response, limit)
        async for part in whole.rest:
            whole.seen.append(part)
            if seen.is_enough_with(part):
                break
        else:
            whole.is_over = True
        response.stream = whole
        return seen.decoded()

    async def hold(self, response: Any) -> bool:
        stream = response.stream
        if isinstance(stream, self._library.ByteStream):
            return True
        if not self._is_worth_reading(response):
            return False
        parts, size, until = list[bytes](), 0, time.monotonic() + PATIENCE
        try:
            async for part in stream:
                parts.append(part)
                size += len(part)
                if size > SMALL or time.monotonic() > until:
                    return False
        except self._library.TransportError:
            return False
        response.stream = self._library.ByteStream(b"".join(parts))
        await stream.aclose()
        return True

    async def drop(self, response: Any) -> None:
        await self.hold(response)
        await response.aclose()

    async def close(self, response: Any) -> None:
        await response.aclose()

    def is_over(self) -> bool:
        # httpx has no timeout of a whole request.
        return False


def _stripped(request: Any, sent: Any, patch: _native.Patch) -> None:
    strip(sent.headers, patch.names)
    sent.url = request.url


def _cleaned(request: Any, response: Any, patch: _native.Patch) -> None:
    """Takes out of a redirect what a server copied into it."""
    location = response.headers.get("location")
    if location is not None:
        shown = patch.location(_origin(request) + request.url.raw_path.decode("ascii"), location)
        if shown is None:
            del response.headers["location"]
        elif shown != location:
            response.headers["location"] = shown


def _failure(library: Any, error: BaseException) -> Failure:
    if isinstance(error, (library.ConnectError, library.ConnectTimeout, library.PoolTimeout)):
        return "connect"
    return "timeout" if isinstance(error, library.TimeoutException) else "other"


class _Seen:
    """The beginning of a body, decoded by the library."""

    def __init__(self, library: Any, response: Any, limit: int) -> None:
        self._error, self._limit = library.DecodingError, limit
        encodings = [item for item in response.headers.raw if item[0].lower() == b"content-encoding"]
        # Of another response: the decoder of this one is for the program.
        self._decoder = library.Response(200, headers=encodings)._get_content_decoder()
        self._decoded, self._plain = bytearray(), bytearray()

    def is_enough_with(self, part: bytes) -> bool:
        self._plain += part
        # A few bytes may stand for very many.
        for start in range(0, len(part), _SLICE):
            if len(self._decoded) >= self._limit:
                break
            try:
                decoded = self._decoder.decode(part[start : start + _SLICE])
                # httpx2 decodes bit by bit.
                for each in [decoded] if isinstance(decoded, bytes) else decoded:
                    self._decoded += each
                    if len(self._decoded) >= self._limit:
                        break
            except self._error:
                return True
        return len(self._decoded) >= self._limit

    def decoded(self) -> bytes:
        return bytes((self._decoded or self._plain)[: self._limit])


_SLICE = 1024


@lru_cache(maxsize=None)
def _whole(library: ModuleType) -> Any:
    streams: Any = library

    class Whole(streams.SyncByteStream, streams.AsyncByteStream):  # type: ignore[misc]
        """A body whose beginning was read."""

        def __init__(self, inner: Any, rest: Any) -> None:
            self.seen: list[bytes] = []
            self.is_over = False
            self.rest, self._inner = rest, inner

        def __iter__(self) -> Iterator[bytes]:
            yield from self.seen
            yield from self.rest

        async def __aiter__(self) -> AsyncIterator[bytes]:
            for part in self.seen:
                yield part
            async for part in self.rest:
                yield part

        def close(self) -> None:
            self._inner.close()

        async def aclose(self) -> None:
            await self._inner.aclose()

    return Whole
