"""HTTP clients whose requests live through rotations."""

from __future__ import annotations

import asyncio
import json as _json
import threading
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Generator,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from . import _native
from ._bridge import in_trio, run
from ._error_types import ClosedError
from ._errors import KeyswapError
from ._inputs import to_json
from ._options import (
    UNSET,
    AsyncContent,
    AsyncRequestOptions,
    Classifier,
    Content,
    HeaderInput,
    Params,
    RequestOptions,
    Unset,
)
from ._response import Response

if TYPE_CHECKING:
    from typing_extensions import Unpack

Order = tuple[
    str, str, "list[tuple[str, str]]", "list[tuple[str, str]]", "float | None", "str | None",
    "list[str]", bool, bool,
]


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
        own_header_wins: bool = False,
    ) -> None:
        if isinstance(allowed_origins, str):
            raise TypeError("allowed_origins is a list of URLs, not one string")
        self._timeout = timeout
        authorizer = {
            "allowed_origins": list(allowed_origins),
            "plain_http_allowed": plain_http_allowed,
            "own_header_wins": own_header_wins,
        }
        options = {
            "base_url": base_url,
            "headers": _pairs(headers),
            "retries": retries,
            "max_redirects": max_redirects,
        }
        self._client: _native.Client | None = _native.Client(
            keys,
            scheme,
            classifier,
            list((named or {}).items()),
            to_json(authorizer, "option"),
            to_json(options, "option"),
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
        resend: bool,
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
        elif isinstance(content, BytesIO):
            content = content.read()
        elif isinstance(content, (list, tuple)):
            content = b"".join(map(_bytes, cast("Sequence[bytes | str]", content)))
        limit = self._timeout if isinstance(timeout, Unset) else timeout
        wanted = [scopes] if isinstance(scopes, str) else list(scopes)
        query = _query(params) if params else []
        return client, (method, url, query, sent, limit, keys, wanted, stream, resend), content

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

    `named` holds further keys, for requests that pass `keys="name"`. The other options:

    - `base_url`: What paths are added to, and the first allowed origin.
    - `headers`: Headers that every request carries unless it sets its own: pairs of a name and a
      value.
    - `timeout`: How long a request may take until the head of its response is there, with all
      resends, and then each part of the body, in seconds. 30 s by default. None is no limit.
    - `retries`: How often 429, 502, 503, 504 and failed connections are retried, within a budget. 2
      by default.
    - `max_redirects`: How many redirects a request follows. 10 by default.
    - `scheme`: How credentials go onto requests; without it, as the set says.
    - `allowed_origins`: The origins that credentials may be sent to, and nowhere else. Requests to
      other origins go without.
    - `classifier`: Which responses the program's own classifier judges; nothing if it has none, and
      then 401 means that the credential is rejected.
    - `plain_http_allowed`: Allows plain HTTP to other machines. Everybody on the way can read the
      keys.
    - `own_header_wins`: A request that sets the header of the scheme itself goes as it is, and what
      the API says of it is no evidence about the credential. By default such a request is an error.

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
        resend: bool = True,
    ) -> Response:
        """Sends a request, through any rotation. A response of any status is not an error.

        `content` that is not held in memory (bytes, text, a BytesIO, a list of parts) is an iterator, which can
        be sent only once: if its credential is rejected, the API's response is returned; so it is for
        `resend=False`, which sends the request once, whatever happens. `timeout` is in seconds.
        """
        began = perf_counter()
        client, order, body = self._order(
            method, url, params, headers, content, json, timeout, keys, scopes, resend, False
        )
        return Response(_send(client, order, body), began)

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
        resend: bool = True,
    ) -> Generator[Response]:
        """`request`, whose body is read as it arrives: `with api.stream("GET", url) as response`."""
        began = perf_counter()
        client, order, body = self._order(
            method, url, params, headers, content, json, timeout, keys, scopes, resend, True
        )
        response = Response(_send(client, order, body), began)
        try:
            yield response
        finally:
            response.close()

    def get(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """A GET request, with the options of `request`."""
        return self.request("GET", url, **options)

    def post(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """A POST request, with the options of `request`."""
        return self.request("POST", url, **options)

    def put(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """A PUT request, with the options of `request`."""
        return self.request("PUT", url, **options)

    def patch(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """A PATCH request, with the options of `request`."""
        return self.request("PATCH", url, **options)

    def delete(self, url: str, **options: Unpack[RequestOptions]) -> Response:
        """A DELETE request, with the options of `request`."""
        return self.request("DELETE", url, **options)

    def head(self, url: str, **options: Unpack[RequestOptions]) -> Response:
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

    It may be used from several event loops, of asyncio (uvloop too) and of trio. A caller that is cancelled takes its request along, and
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
        resend: bool = True,
    ) -> Response:
        """Sends a request, through any rotation. A response of any status is not an error.

        `content` that is not held in memory (bytes, text, a BytesIO, a list of parts) is an iterator, which can
        be sent only once: if its credential is rejected, the API's response is returned; so it is for
        `resend=False`, which sends the request once, whatever happens. `timeout` is in seconds.
        """
        began = perf_counter()
        client, order, body = self._order(
            method, url, params, headers, content, json, timeout, keys, scopes, resend, False
        )
        return Response(await _asend(client, order, body), began)

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
        resend: bool = True,
    ) -> AsyncGenerator[Response]:
        """`request`, whose body is read as it arrives: `async with api.stream("GET", url) as response`."""
        began = perf_counter()
        client, order, body = self._order(
            method, url, params, headers, content, json, timeout, keys, scopes, resend, True
        )
        response = Response(await _asend(client, order, body), began)
        try:
            yield response
        finally:
            response.close()

    async def get(self, url: str, **options: Unpack[AsyncRequestOptions]) -> Response:
        """A GET request, with the options of `request`."""
        return await self.request("GET", url, **options)

    async def post(self, url: str, **options: Unpack[AsyncRequestOptions]) -> Response:
        """A POST request, with the options of `request`."""
        return await self.request("POST", url, **options)

    async def put(self, url: str, **options: Unpack[AsyncRequestOptions]) -> Response:
        """A PUT request, with the options of `request`."""
        return await self.request("PUT", url, **options)

    async def patch(self, url: str, **options: Unpack[AsyncRequestOptions]) -> Response:
        """A PATCH request, with the options of `request`."""
        return await self.request("PATCH", url, **options)

    async def delete(self, url: str, **options: Unpack[AsyncRequestOptions]) -> Response:
        """A DELETE request, with the options of `request`."""
        return await self.request("DELETE", url, **options)

    async def head(self, url: str, **options: Unpack[AsyncRequestOptions]) -> Response:
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
        return cast(_native.Reply, client._send(order, body).wait())
    stream, errors = _native.Body(), list[BaseException]()
    _in_background(stream, body, errors)
    try:
        return cast(_native.Reply, client._send(order, stream).wait())
    except KeyswapError:
        if errors:
            raise errors[0] from None
        raise
    finally:
        stream.close(False)


async def _asend(client: _native.Client, order: Order, body: Any) -> _native.Reply:
    if body is None or isinstance(body, bytes):
        return cast(_native.Reply, await run(client._send, order, body))
    if in_trio() and hasattr(body, "__aiter__"):
        raise TypeError("in trio, content is bytes, text, or an iterator that is not asynchronous")
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
                if not stream.send(_bytes(part)):
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
            if not await run(stream._send, _bytes(part)):
                return
    except BaseException as error:
        errors.append(error)
        stream.close(False)
        if not isinstance(error, Exception):
            raise
    else:
        stream.close(True)


def _bytes(part: bytes | str) -> bytes:
    return part.encode() if isinstance(part, str) else part


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
