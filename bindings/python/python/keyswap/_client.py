"""HTTP clients whose requests live through rotations."""

from __future__ import annotations

import asyncio
import json as _json
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Final, Literal, Union, cast

from . import _native
from ._bridge import run
from ._errors import ClosedError, KeyswapError

Verdict = Literal["accepted", "rejected", "throttled", "other", "need_body"]
Classifier = Callable[[int, "dict[str, str]", "bytes | None"], Verdict]
Params = Union[Mapping[str, Any], Iterable["tuple[str, Any]"]]
HeaderInput = Union[Mapping[str, str], Iterable["tuple[str, str]"]]
Content = Union[bytes, bytearray, memoryview, str, Iterable[bytes]]
AsyncContent = Union[Content, AsyncIterable[bytes]]
Order = tuple[
    str, str, "list[tuple[str, str]]", "list[tuple[str, str]]", "float | None", "str | None",
    "list[str]", bool,
]


class Unset:
    """The type of what was not passed, where None means something."""

    def __repr__(self) -> str:
        return "..."


UNSET: Final = Unset()


class Headers(Mapping[str, str]):
    """The headers of a response. Names are compared without regard to case."""

    __slots__ = ("_pairs", "_known")

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._pairs = [(name.lower(), value) for name, value in pairs]
        known: dict[str, str] = {}
        for name, value in self._pairs:
            known[name] = f"{known[name]}, {value}" if name in known else value
        self._known = known

    def __getitem__(self, name: str) -> str:
        return self._known[name.lower()]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def get_list(self, name: str) -> list[str]:
        """Each value of this name, for headers that stand several times."""
        return [value for known, value in self._pairs if known == name.lower()]

    def __repr__(self) -> str:
        return f"<keyswap.Headers {', '.join(self._known)}>"


class Response:
    """What the API answered: whole, or on its way if it comes from `stream`."""

    __slots__ = ("_native", "_headers", "_content")

    def __init__(self, native: _native.Reply) -> None:
        self._native = native
        self._headers: Headers | None = None
        self._content: bytes | None = native.content

    @property
    def status_code(self) -> int:
        """The HTTP status."""
        return self._native.status

    @property
    def headers(self) -> Headers:
        """The headers."""
        if self._headers is None:
            self._headers = Headers(self._native.headers)
        return self._headers

    @property
    def url(self) -> str:
        """The URL that answered, after redirects; without what a scheme added."""
        return self._native.url

    @property
    def is_success(self) -> bool:
        """Whether the status is from 200 to 299."""
        return 200 <= self._native.status < 300

    @property
    def content(self) -> bytes:
        """The body. Of a streamed response, once it was read with `read` or `aread`."""
        if self._content is None:
            raise RuntimeError("the body is on its way: call read() or aread() first")
        return self._content

    @property
    def text(self) -> str:
        """The body as text, in the charset that the response names, else UTF-8."""
        kind = self.headers.get("content-type", "")
        charset = kind.partition("charset=")[2].partition(";")[0].strip(" \"'") or "utf-8"
        try:
            return self.content.decode(charset, "replace")
        except LookupError:
            return self.content.decode("utf-8", "replace")

    def json(self, **kwargs: Any) -> Any:
        """The body, from JSON. Raises ValueError if it is none."""
        return _json.loads(self.content, **kwargs)

    def raise_for_status(self) -> Response:
        """The response itself. Raises StatusError if its status is 400 or more."""
        error = self._native.error
        if error is None:
            return self
        raise error

    def read(self) -> bytes:
        """Reads the rest of a streamed body, and keeps it."""
        if self._content is None:
            self._content = b"".join(self.iter_bytes())
        return self._content

    async def aread(self) -> bytes:
        """`read`, for an event loop."""
        if self._content is None:
            self._content = b"".join([part async for part in self.aiter_bytes()])
        return self._content

    def iter_bytes(self) -> Iterator[bytes]:
        """The parts of the body as they arrive. Raises BodyError if the connection broke."""
        if self._content is not None:
            yield self._content
            return
        while (part := self._native.next()) is not None:
            yield part

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """`iter_bytes`, for an event loop."""
        if self._content is not None:
            yield self._content
            return
        while (part := await run(self._native._next)) is not None:
            yield part

    def close(self) -> None:
        """Leaves the rest of a streamed body unread."""
        self._native.close()

    async def aclose(self) -> None:
        """`close`, for an event loop. It does not wait."""
        self._native.close()

    def __repr__(self) -> str:
        return f"<keyswap.Response [{self.status_code}]>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a Response cannot be pickled or copied: take what you need from it")


class _Base:
    """What both clients are made of. How they send differs, and nothing else."""

    __slots__ = ("_client", "_timeout", "__weakref__")

    def __init__(
        self,
        keys: _native.KeySwap,
        *,
        base_url: str | None = None,
        scheme: _native.Scheme | None = None,
        allowed_origins: Sequence[str] = (),
        classifier: Classifier | None = None,
        named: Mapping[str, _native.KeySwap] | None = None,
        headers: HeaderInput | None = None,
        timeout: float | None = 30.0,
        retries: int = 2,
        max_redirects: int = 10,
        plain_http_allowed: bool = False,
    ) -> None:
        if isinstance(allowed_origins, str):
            raise TypeError("allowed_origins is a list of URLs, not one string")
        self._timeout = timeout
        self._client: _native.Client | None = _native.Client(
            keys,
            base_url,
            scheme,
            list(allowed_origins),
            plain_http_allowed,
            classifier,
            list((named or {}).items()),
            _pairs(headers),
            retries,
            max_redirects,
        )

    def _order(
        self,
        method: str,
        url: str,
        params: Params | None,
        headers: HeaderInput | None,
        content: Any,
        json: Any,
        timeout: float | None | Unset,
        keys: str | None,
        scopes: Sequence[str],
        stream: bool,
    ) -> tuple[_native.Client, Order, Any]:
        client = self._client
        if client is None:
            raise ClosedError("the client was closed")
        sent = _pairs(headers)
        if json is not None:
            if content is not None:
                raise TypeError("pass content or json, not both")
            content = _json.dumps(json, separators=(",", ":"), allow_nan=False).encode()
            if not any(name.lower() == "content-type" for name, _ in sent):
                sent.append(("content-type", "application/json"))
        elif isinstance(content, str):
            content = content.encode()
        elif isinstance(content, (bytearray, memoryview)):
            content = bytes(cast("bytearray", content))
        limit = self._timeout if isinstance(timeout, Unset) else timeout
        wanted = [scopes] if isinstance(scopes, str) else list(scopes)
        query = _query(params) if params else []
        return client, (method, url, query, sent, limit, keys, wanted, stream), content

    def __repr__(self) -> str:
        shown = "closed" if self._client is None else repr(self._client)
        return f"<keyswap.{type(self).__name__} {shown}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied: make one where it is needed"
        )


class Client(_Base):
    """An HTTP client whose requests live through rotations.

        with keyswap.Client(keys, base_url="https://api.example.com", scheme=keyswap.Bearer()) as api:
            api.get("/v1/price/BTC").raise_for_status().json()

    `base_url` is what paths are added to and the first origin that credentials may go to;
    `allowed_origins` adds more. Without `scheme`, credentials go onto requests as the set says. `named`
    holds further keys, for requests that pass `keys="name"`. `headers` are on every request unless it sets
    its own. `timeout` (30 s; None for none) is for all resends until the head of the response is there, and
    then for each part of the body. `retries` (2) is for 429, 502, 503, 504 and failed connections.

    `classifier` judges responses for an API that says "bad key" in a way of its own: a function of the
    status, the headers (a dict, names in lower case) and the body (None at first) that returns
    "accepted", "rejected", "throttled", "other", or "need_body" to be asked again with the first bytes of
    the body. Its attributes `statuses` ([401]) and `body_limit` (4096) say which responses it is shown and
    how much of a body. One that raises counts as "other", and is logged.

    It may be shared by threads. Raises InvalidConfigError and InsecureUrlError.
    """

    __slots__ = ()

    def request(
        self,
        method: str,
        url: str,
        *,
        params: Params | None = None,
        headers: HeaderInput | None = None,
        content: Content | None = None,
        json: Any = None,
        timeout: float | None | Unset = UNSET,
        keys: str | None = None,
        scopes: Sequence[str] = (),
    ) -> Response:
        """Sends a request, through any rotation. A response of any status is not an error.

        `content` that is neither bytes nor text is an iterator, which can be sent only once: if its
        credential is rejected, the API's response is returned. `timeout` is in seconds.
        """
        client, order, body = self._order(
            method, url, params, headers, content, json, timeout, keys, scopes, False
        )
        return Response(_send(client, order, body))

    @contextmanager
    def stream(
        self,
        method: str,
        url: str,
        *,
        params: Params | None = None,
        headers: HeaderInput | None = None,
        content: Content | None = None,
        json: Any = None,
        timeout: float | None | Unset = UNSET,
        keys: str | None = None,
        scopes: Sequence[str] = (),
    ) -> Generator[Response]:
        """`request`, whose body is read as it arrives: `with api.stream("GET", url) as response`."""
        client, order, body = self._order(
            method, url, params, headers, content, json, timeout, keys, scopes, True
        )
        response = Response(_send(client, order, body))
        try:
            yield response
        finally:
            response.close()

    def get(self, url: str, **options: Any) -> Response:
        """A GET request, with the options of `request`."""
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Any) -> Response:
        """A POST request, with the options of `request`."""
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Any) -> Response:
        """A PUT request, with the options of `request`."""
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Any) -> Response:
        """A PATCH request, with the options of `request`."""
        return self.request("PATCH", url, **options)

    def delete(self, url: str, **options: Any) -> Response:
        """A DELETE request, with the options of `request`."""
        return self.request("DELETE", url, **options)

    def head(self, url: str, **options: Any) -> Response:
        """A HEAD request, with the options of `request`."""
        return self.request("HEAD", url, **options)

    def close(self) -> None:
        """Closes its connections. The keys go on."""
        self._client = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(_Base):
    """`Client`, for an event loop: the same options, the same methods, to be awaited.

        async with keyswap.AsyncClient(keys, base_url="https://api.example.com") as api:
            (await api.get("/v1/price/BTC")).raise_for_status().json()

    It may be used from several event loops. A caller that is cancelled takes its request along, and
    nothing else.
    """

    __slots__ = ()

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Params | None = None,
        headers: HeaderInput | None = None,
        content: AsyncContent | None = None,
        json: Any = None,
        timeout: float | None | Unset = UNSET,
        keys: str | None = None,
        scopes: Sequence[str] = (),
    ) -> Response:
        """Sends a request, through any rotation. A response of any status is not an error.

        `content` that is neither bytes nor text is an iterator, which can be sent only once: if its
        credential is rejected, the API's response is returned. `timeout` is in seconds.
        """
        client, order, body = self._order(
            method, url, params, headers, content, json, timeout, keys, scopes, False
        )
        return Response(await _asend(client, order, body))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        url: str,
        *,
        params: Params | None = None,
        headers: HeaderInput | None = None,
        content: AsyncContent | None = None,
        json: Any = None,
        timeout: float | None | Unset = UNSET,
        keys: str | None = None,
        scopes: Sequence[str] = (),
    ) -> AsyncGenerator[Response]:
        """`request`, whose body is read as it arrives: `async with api.stream("GET", url) as response`."""
        client, order, body = self._order(
            method, url, params, headers, content, json, timeout, keys, scopes, True
        )
        response = Response(await _asend(client, order, body))
        try:
            yield response
        finally:
            response.close()

    async def get(self, url: str, **options: Any) -> Response:
        """A GET request, with the options of `request`."""
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Any) -> Response:
        """A POST request, with the options of `request`."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Any) -> Response:
        """A PUT request, with the options of `request`."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Any) -> Response:
        """A PATCH request, with the options of `request`."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Any) -> Response:
        """A DELETE request, with the options of `request`."""
        return await self.request("DELETE", url, **options)

    async def head(self, url: str, **options: Any) -> Response:
        """A HEAD request, with the options of `request`."""
        return await self.request("HEAD", url, **options)

    async def aclose(self) -> None:
        """Closes its connections. The keys go on."""
        self._client = None

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()


def _send(client: _native.Client, order: Order, body: Any) -> _native.Reply:
    if body is None or isinstance(body, bytes):
        return client.send(order, body)
    stream, errors = _native.Body(), list[BaseException]()
    _in_background(stream, body, errors)
    try:
        return client.send(order, stream)
    except KeyswapError:
        if errors:
            raise errors[0] from None
        raise
    finally:
        stream.close(False)


async def _asend(client: _native.Client, order: Order, body: Any) -> _native.Reply:
    if body is None or isinstance(body, bytes):
        return cast(_native.Reply, await run(client._send, order, body))
    stream, errors = _native.Body(), list[BaseException]()
    pump: asyncio.Task[None] | None = None
    if hasattr(body, "__aiter__"):
        pump = asyncio.create_task(_pump(stream, body, errors))
    else:
        _in_background(stream, body, errors)
    try:
        return cast(_native.Reply, await run(client._send, order, stream))
    except KeyswapError:
        if errors:
            raise errors[0] from None
        raise
    finally:
        stream.close(False)
        if pump is not None:
            pump.cancel()


def _in_background(
    stream: _native.Body, body: Iterable[bytes], errors: list[BaseException]
) -> None:
    """Iterates in a thread: an iterator that waits must hold up neither the send nor an event loop."""
    parts = iter(body)

    def pump() -> None:
        try:
            for part in parts:
                if not stream.send(part.encode() if isinstance(part, str) else part):
                    return
        except BaseException as error:
            errors.append(error)
            stream.close(False)
        else:
            stream.close(True)

    threading.Thread(target=pump, name="keyswap-body", daemon=True).start()


async def _pump(
    stream: _native.Body, body: AsyncIterable[bytes], errors: list[BaseException]
) -> None:
    try:
        async for part in body:
            if not await run(stream._send, part.encode() if isinstance(part, str) else part):
                return
    except BaseException as error:
        errors.append(error)
        stream.close(False)
        if not isinstance(error, Exception):
            raise
    else:
        stream.close(True)


def _pairs(headers: HeaderInput | None) -> list[tuple[str, str]]:
    if headers is None:
        return []
    if isinstance(headers, Mapping):
        return list(cast("Mapping[str, str]", headers).items())
    return [(name, value) for name, value in headers]


def _query(params: Params) -> list[tuple[str, str]]:
    if isinstance(params, Mapping):
        params = cast("Mapping[str, Any]", params).items()
    pairs: list[tuple[str, str]] = []
    for name, value in params:
        if isinstance(value, (list, tuple)):
            pairs.extend((name, _text(each)) for each in cast("Sequence[Any]", value))
        else:
            pairs.append((name, _text(value)))
    return pairs


def _text(value: Any) -> str:
    if value is True:
        return "true"
    if value is False:
        return "false"
    return "" if value is None else str(value)
