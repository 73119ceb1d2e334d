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
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Union
from urllib.parse import urlsplit

import requests
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import Timeout, parse_url

from .. import _native
from .._error_types import InvalidConfigError
from .._schemes import Query
from ._drive import drive
from ._flow import SMALL, Answer, Failure, Flow, Keys, Pairs
from ._leftovers import scrub, strip

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._client import Classifier

__all__ = ["Adapter"]

Request = requests.PreparedRequest
Response = requests.Response
Patience = Union[float, "tuple[float | None, float | None]", Timeout, None]


class Adapter(BaseAdapter):
    """A transport adapter whose requests live through rotations, around `inner` (a `HTTPAdapter()`).

    Credentials go to `allowed_origins` and nowhere else: requests to other origins pass through without, so
    it may be mounted for all URLs. Without `scheme`, they go onto requests as the set says. `classifier` is
    that of `keyswap.Client`; one that asks for the body has it read whole. A body that is neither bytes nor
    text is sent once: if its credential is rejected, the API's response is returned, and so it is for every
    request with `resend=False`. The read timeout of a request is also the longest time that it waits for a
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
        return drive(self._flow(request, timeout), _Hop(self, request, how))

    def close(self) -> None:
        self._inner.close()

    def _flow(self, request: Request, timeout: Patience) -> Flow:
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        return self._keys.flow(
            request.method or "GET",
            _origin(request.url or ""),
            _path(request),
            request.headers,
            lambda: _pairs(request.headers),
            body if isinstance(body, bytes) else None,
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

    def send(self, patch: _native.Patch | None) -> Response:
        return self._adapter._send(self._request, patch, self._how)

    def answer(self, response: Response) -> Answer:
        return response.status_code, _pairs(response.headers)

    def peek(self, response: Response, limit: int) -> bytes:
        return response.content[:limit]

    def hold(self, response: Response) -> bool:
        length = response.headers.get("content-length", "")
        if not length.isdigit() or int(length) > SMALL:
            return False
        try:
            response.content
        except requests.RequestException:
            return False
        return True

    def drop(self, response: Response) -> None:
        self.hold(response)
        response.close()

    def close(self, response: Response) -> None:
        response.close()


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
