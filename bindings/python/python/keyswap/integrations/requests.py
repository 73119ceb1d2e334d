"""For programs that send with requests.

    session.mount("https://api.example.com", Adapter(keys, scheme=keyswap.Bearer(),
                                                     allowed_origins=["https://api.example.com"]))

requests copies a request's headers to wherever a redirect points, keeps them on the response and names the
request in its exceptions; it makes one call of its adapter for each hop. So a credential is put on a copy,
which is sent, and never on the request that requests knows. There is no `requests.auth.AuthBase` here for that
reason: it could only put a credential on the request itself.
"""

from __future__ import annotations

import copy
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Union, cast
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import Timeout, parse_url

from .. import _native
from .._error_types import InvalidConfigError
from .._schemes import Query
from ._drive import drive
from ._flow import PATIENCE, SMALL, Answer, Failure, Flow, Keys, Pairs, rewinding
from ._leftovers import scrub, strip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._options import Classifier

__all__ = ["Adapter"]

Request = requests.PreparedRequest
Response = requests.Response
Patience = Union[float, "tuple[float | None, float | None]", Timeout, None]


class Adapter(BaseAdapter):
    """A transport adapter whose requests live through rotations, around `inner` (a `HTTPAdapter()`).

    Credentials go to `allowed_origins` and nowhere else: requests to other origins pass through without, so
    it may be mounted for all URLs. Without `scheme`, they go onto requests as the set says. `classifier` is
    that of `keyswap.Client`. A body that can be read only once, such as a generator, is sent once: if its
    credential is rejected, the API's response is returned, and so it is for every request with
    `resend=False`. The read timeout of a request is also the longest time that it waits for a
    fresh credential. A request that has a header of the scheme's name already, from ~/.netrc say, fails; with
    `own_header_wins=True` it is sent as it is, and says nothing of a credential.

    A credential for plain HTTP on this machine never goes through a proxy: such a request is sent directly.
    What `localhost` is, is for the resolver to say: use 127.0.0.1 or [::1] where that is not to be trusted.
    A key in a query would show in the errors of requests, so the scheme `Query` is refused: use
    `keyswap.Client`.

    It may be shared by threads and sessions; a session that is closed closes `inner`, which opens again when
    it is used. Raises InvalidConfigError and InsecureUrlError; sending raises KeyswapError where there is no
    credential to send with.
    """

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
        inner: BaseAdapter | None = None,
    ) -> None:
        super().__init__()
        if isinstance(scheme, Query):
            raise InvalidConfigError("a key in a query shows in errors of requests: use keyswap.Client")
        self._keys = Keys(
            keys,
            scheme,
            allowed_origins,
            classifier,
            plain_http_allowed,
            resend,
            own_header_wins,
            _failure,
        )
        self._inner = HTTPAdapter() if inner is None else inner

    def send(
        self,
        request: Request,
        stream: bool = False,
        timeout: Patience = None,
        verify: Any = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        how = {
            "stream": stream,
            "timeout": timeout,
            "verify": verify,
            "cert": cert,
            "proxies": proxies,
        }
        hop = _Hop(self, request, how)
        return drive(self._flow(request, timeout, hop), hop)

    def close(self) -> None:
        self._inner.close()

    def _flow(self, request: Request, timeout: Patience, hop: _Hop) -> Flow:
        body: Any = request.body or b""
        whole: bytes | None = None
        if isinstance(body, str):
            whole = body.encode()
        elif isinstance(body, (bytes, bytearray, memoryview)):
            whole = bytes(cast("bytes", body))
        hop.rewind = rewinding(body) if whole is None else None
        return self._keys.flow(
            request.method or "GET",
            _origin(request.url or ""),
            _path(request),
            request.headers,
            lambda: _pairs(request.headers),
            whole,
            is_once=whole is None and hop.rewind is None,
            deadline=_patience(timeout),
        )

    def _send(
        self, request: Request, patch: _native.Patch | None, how: dict[str, Any]
    ) -> Response:
        if patch is None or patch.is_empty:
            response = self._inner.send(request, **how)
        else:
            origin = _origin(request.url or "")
            if self._keys.goes_direct(origin):
                how = {**how, "proxies": {}}
            sent = copy.copy(request)
            sent.headers = request.headers.copy()
            patch.put(sent.headers)
            try:
                response = self._inner.send(sent, **how)
            except BaseException as error:
                scrub(error, sent, request)
                raise
            finally:
                strip(sent.headers, patch.names)
            response.request = request
            _cleaned(f"{origin}{_path(request)}", response, patch)
        # Who sends again, as requests' own digest authentication does, gets a credential too.
        connection: Any = self
        response.connection = connection
        return response


class _Hop:
    """One request of an adapter."""

    def __init__(self, adapter: Adapter, request: Request, how: dict[str, Any]) -> None:
        self._adapter, self._request, self._how = adapter, request, how
        self.rewind: Callable[[], object] | None = None
        self._is_sent = False

    def send(self, patch: _native.Patch | None) -> Response:
        if self._is_sent and self.rewind is not None:
            self.rewind()
        self._is_sent = True
        return self._adapter._send(self._request, patch, self._how)

    def answer(self, response: Response) -> Answer:
        return response.status_code, _pairs(response.headers)

    def peek(self, response: Response, limit: int) -> bytes:
        if not self._how["stream"]:
            return response.content[:limit]
        whole = _Whole(response.raw, response.iter_content(limit), limit)
        if whole.is_over:
            response._content = b"".join(whole.seen)
        else:
            response.raw = whole
        return b"".join(whole.seen)[:limit]

    def hold(self, response: Response) -> bool:
        if response._content is not False:
            return True
        length = response.headers.get("content-length", "")
        if length.isdigit() and int(length) > SMALL:
            return False
        parts, size = list[bytes](), 0
        try:
            with _Bounded(response.raw) as bounded:
                for part in response.iter_content(8192):
                    parts.append(part)
                    size += len(part)
                    if size > SMALL:
                        return False
        except (requests.RequestException, OSError, ValueError):
            return False
        if bounded.is_over:
            return False
        response._content = b"".join(parts)
        return True

    def drop(self, response: Response) -> None:
        self.hold(response)
        response.close()

    def close(self, response: Response) -> None:
        response.close()


class _Bounded:
    """While this is open, a body is read, and for no longer than it is worth: what is slower finds its connection
    at its end. A timeout would not do, since each byte that comes begins it anew."""

    def __init__(self, raw: Any) -> None:
        self.is_over = False
        held = getattr(getattr(raw, "_original_response", None), "fp", None)
        self._socket: socket.socket | None = getattr(getattr(held, "raw", None), "_sock", None)
        self._timer = threading.Timer(PATIENCE, self._end)

    def _end(self) -> None:
        self.is_over = True
        assert self._socket is not None
        try:
            # That of the system: TLS would first say goodbye.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError:
            pass

    def __enter__(self) -> _Bounded:
        if self._socket is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


class _Whole:
    """The raw response of a streamed one whose beginning was read, and decoded."""

    def __init__(self, raw: Any, parts: Iterator[bytes], limit: int) -> None:
        self._raw, self._parts = raw, parts
        self.seen: list[bytes] = []
        self.is_over, size = False, 0
        while size < limit and not self.is_over:
            part = next(parts, None)
            if part is None:
                self.is_over = True
            else:
                self.seen.append(part)
                size += len(part)

    def stream(self, amt: int | None = 2**16, decode_content: bool | None = None) -> Iterator[bytes]:
        if decode_content is False and "content-encoding" in self._raw.headers:
            raise ValueError("the beginning of this body was decoded for a classifier")
        seen, self.seen = b"".join(self.seen), []
        for start in range(0, len(seen), amt or len(seen)):
            yield seen[start : start + (amt or len(seen))]
        # One of chunks cannot begin anew with another size.
        again = not getattr(self._raw, "chunked", True)
        yield from self._raw.stream(amt, decode_content=True) if again else self._parts

    def read(self, amt: int | None = None, decode_content: bool | None = None) -> bytes:
        return b"".join(self.stream()) if amt is None else next(self.stream(amt, decode_content), b"")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


def _cleaned(url: str, response: Response, patch: _native.Patch) -> None:
    """Takes out of a redirect what a server copied into it."""
    location = response.headers.get("location")
    if location is not None:
        shown = patch.location(url, location)
        if shown is None:
            del response.headers["location"]
            response.raw.headers.pop("location", None)
        elif shown != location:
            response.headers["location"] = response.raw.headers["location"] = shown


def _failure(error: BaseException) -> Failure:
    reason = getattr(error.args[0], "reason", None) if error.args else None
    if isinstance(reason, (NewConnectionError, ConnectTimeoutError)):
        return "connect"
    return "timeout" if isinstance(error, requests.Timeout) else "other"


def _path(request: Request) -> str:
    parts = urlsplit(request.url or "")
    return f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"


def _patience(timeout: Patience) -> float | None:
    """How long requests waits for an answer."""
    longest: Any = timeout
    if isinstance(timeout, Timeout):
        longest = timeout.read_timeout if timeout.total is None else timeout.total
    elif isinstance(timeout, tuple):
        longest = timeout[-1]
    return float(longest) if isinstance(longest, (int, float)) else None


def _origin(url: str) -> str:
    """What requests connects to, however another reader would understand the URL."""
    parts = parse_url(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.host}{port}"


def _pairs(headers: Any) -> Pairs:
    text = [(name, value) for name, value in headers.items()]
    return [(name, v.decode("latin-1") if isinstance(v, bytes) else v) for name, v in text]
