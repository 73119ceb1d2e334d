"""For programs that send with requests.

    session.auth = Auth(keys, scheme=keyswap.Bearer(), allowed_origins=["https://api.example.com"])

requests copies a request's headers to wherever a redirect points, and asks its `auth` only for the first hop. So
a credential is on a request only while it is sent: it is taken off before a redirect is followed, and put
on again, fresh, where that stays on the same origin.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.auth import AuthBase
from requests.sessions import SessionRedirectMixin
from requests.utils import get_environ_proxies, requote_uri, select_proxy
from urllib3.util import parse_url

from .. import _native
from .._errors import InsecureUrlError, InvalidConfigError
from ._flow import Answer, Flow, Keys, Order, Peek, Send

if TYPE_CHECKING:
    from .._client import Classifier

__all__ = ["Auth"]

Request = requests.PreparedRequest


class Auth(AuthBase):
    """Puts a fresh credential on each request, and sends it again where a rotation asks for that.

    Credentials go to `allowed_origins` and nowhere else: requests to other origins pass through without.
    Without `scheme`, they go onto requests as the set says. `classifier` is that of `keyswap.Client`; one
    that asks for the body has it read whole. A body that is neither bytes nor text is sent once: if its
    credential is rejected, the API's response is returned.

    A key in a query would show in the errors of requests, so the scheme `Query` is refused: use
    `keyswap.Client`. Plain HTTP through a proxy of the environment is refused, too; `session.proxies`
    cannot be seen from here. It may be shared by threads and sessions. Raises InvalidConfigError and InsecureUrlError; sending raises
    KeyswapError where there is no credential to send with.
    """

    def __init__(
        self,
        keys: _native.KeySwap,
        *,
        scheme: _native.Scheme | None = None,
        allowed_origins: Sequence[str],
        classifier: Classifier | None = None,
        plain_http_allowed: bool = False,
    ) -> None:
        if isinstance(scheme, _native.Query):
            raise InvalidConfigError("a key in a query shows in errors of requests: use keyswap.Client")
        self._keys = Keys(keys, scheme, allowed_origins, classifier, plain_http_allowed)
        self._plain = plain_http_allowed

    def __call__(self, r: Request) -> Request:
        url = r.url or ""
        if not self._plain and urlsplit(url).scheme == "http" and self._keys.admits(_origin(url)):
            if select_proxy(url, get_environ_proxies(url)):
                raise InsecureUrlError("a proxy would read the credential: set NO_PROXY, or use HTTPS")
        course = _Course(self._keys)
        course.carry(r)
        hooks: Any = r
        hooks.register_hook("response", course.answered)
        return r


class _Course:
    """One request with its redirects."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        # The flow of the hop under way; None if that carries nothing.
        self._flow: Flow | None = None
        self._put: list[tuple[Request, dict[str, Any]]] = []

    def carry(self, request: Request) -> None:
        """Puts a credential on a request that is about to be sent."""
        self._flow = flow = self._begin(request)
        self._apply(request, _waited(flow, next(flow)))

    def answered(self, response: requests.Response, *_: Any, **how: Any) -> requests.Response:
        """The response hook, once for each hop. `how` is what the hop was sent with."""
        request, flow, self._flow = response.request, self._flow, None
        self._strip()
        try:
            if flow is None:
                # A redirect led here, without a credential. If it was wanted, it goes along now.
                if not self._keys.attends(_answer(response)):
                    return self._leave(response)
                flow = self._begin(request)
                order = _waited(flow, next(flow))
                if isinstance(order, Send) and order.patch is None:
                    return self._leave(response)
            else:
                order = _waited(flow, flow.send(_answer(response)))
            while True:
                told: Answer | bytes | None = None
                if isinstance(order, Send):
                    response = self._resend(response, request, order, how)
                    told = _answer(response)
                elif isinstance(order, Peek):
                    told = response.content[: order.limit]
                order = _waited(flow, flow.send(told))
        except StopIteration:
            return self._leave(response)
        finally:
            if flow is not None:
                flow.close()

    def _resend(
        self, response: requests.Response, request: Request, order: Send, how: dict[str, Any]
    ) -> requests.Response:
        # Read to its end, so that its connection can be used again.
        response.content
        response.close()
        again: Any = request.copy()
        library: Any = requests
        library.cookies.extract_cookies_to_jar(again._cookies, request, response.raw)
        again.headers.pop("Cookie", None)
        again.prepare_cookies(again._cookies)
        self._apply(again, order)
        connection: Any = response.connection
        try:
            answer: requests.Response = connection.send(again, **how)
        finally:
            self._strip()
        answer.request = request
        return answer

    def _leave(self, response: requests.Response) -> requests.Response:
        """The response of this hop; if it leads on within the origin, the next one carries a credential."""
        target = SessionRedirectMixin().get_redirect_target(response)
        if target is not None:
            there = urljoin(response.url, requote_uri(target))
            if _origin(there) == _origin(response.url):
                self._flow = flow = self._begin(response.request, there)
                self._apply(response.request, _waited(flow, next(flow)))
        return response

    def _begin(self, request: Request, url: str | None = None) -> Flow:
        url = url or request.url or ""
        parts = urlsplit(url)
        path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        body = request.body.encode() if isinstance(request.body, str) else request.body or b""
        whole = body if isinstance(body, bytes) else None
        return self._keys.flow(
            request.method or "GET",
            _origin(url),
            path,
            lambda: _pairs(request.headers),
            whole,
            replayable=whole is not None,
        )

    def _apply(self, request: Request, order: Order) -> None:
        assert isinstance(order, Send)
        if order.patch is None:
            self._flow = None
            return
        before: dict[str, Any] = {name: request.headers.get(name) for name in order.patch.names}
        order.patch.put(request.headers)
        self._put.append((request, before))

    def _strip(self) -> None:
        """No request keeps a credential, and so none can take it elsewhere."""
        for request, before in self._put:
            for name, value in before.items():
                request.headers.pop(name, None)
                if value is not None:
                    request.headers[name] = value
        self._put.clear()


def _waited(flow: Flow, order: Order) -> Order:
    while isinstance(order, _native.Attempt):
        order.wait()
        order = next(flow)
    return order


def _origin(url: str) -> str:
    """What requests connects to, however another reader would understand the URL."""
    parts = parse_url(url)
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{parts.host}{port}"


def _answer(response: requests.Response) -> Answer:
    return response.status_code, _pairs(response.headers)


def _pairs(headers: Any) -> list[tuple[str, str]]:
    text = [(name, value) for name, value in headers.items()]
    return [(name, v.decode("latin-1") if isinstance(v, bytes) else v) for name, v in text]
