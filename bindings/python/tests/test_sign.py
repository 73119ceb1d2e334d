"""A program's own signature."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, Union

import pytest

import keyswap

SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
Signed = Union[Mapping[str, str], "tuple[Mapping[str, str], Mapping[str, str]]"]


class Exchange(ThreadingHTTPServer):
    """Keeps what it is sent; refuses the first request if it is told to."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.refused = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server: Any = self.server
        self.rfile.read(int(self.headers.get("content-length", 0)))
        server.seen.append((self.path, {n.lower(): v for n, v in self.headers.items()}))
        status = 401 if len(server.seen) <= server.refused else 200
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    with Exchange() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def keys() -> Iterator[keyswap.KeySwap]:
    document = {
        "current": {"id": "k2", "key": "public-2", "secret": SECRET},
        "previous": [{"id": "k1", "key": "public-1", "secret": "older"}],
    }
    with keyswap.KeySwap(lambda: document) as keys:
        keys.ready(10)
        yield keys


def binance(credential: keyswap.Credential, request: keyswap.Unsigned) -> Signed:
    query = request.url.partition("?")[2]
    payload = query.encode() + (request.body or b"")
    made = hmac.new(credential.reveal("secret").encode(), payload, hashlib.sha256).hexdigest()
    return {"x-mbx-apikey": credential.reveal()}, {"signature": made}


def test_a_published_vector_of_binance(exchange: Exchange, keys: keyswap.KeySwap) -> None:
    order = (
        "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1"
        "&recvWindow=5000&timestamp=1499827319559"
    )
    with keyswap.Client(keys, base_url=exchange.url, scheme=keyswap.Sign(binance)) as api:
        assert api.post(f"/api/v3/order?{order}").status_code == 200
    path, headers = exchange.seen[0]
    expected = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    assert path == f"/api/v3/order?{order}&signature={expected}"
    assert headers["x-mbx-apikey"] == "public-2"


def test_a_published_vector_of_kraken(exchange: Exchange) -> None:
    secret = (
        "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
    )

    def kraken(credential: keyswap.Credential, request: keyswap.Unsigned) -> Signed:
        path = "/" + request.url.split("/", 3)[3]
        body = request.body or b""
        nonce = re.search(rb"nonce=(\d+)", body)
        assert nonce
        inner = path.encode() + hashlib.sha256(nonce[1] + body).digest()
        key = base64.b64decode(credential.reveal("secret"))
        made = base64.b64encode(hmac.new(key, inner, hashlib.sha512).digest()).decode()
        return {"api-key": credential.reveal(), "api-sign": made}

    order = "nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
    document = {"current": {"id": "k", "key": "public", "secret": secret}}
    with keyswap.KeySwap(lambda: document) as keys:
        with keyswap.Client(keys, base_url=exchange.url, scheme=keyswap.Sign(kraken)) as api:
            api.post("/0/private/AddOrder", content=order)
    assert exchange.seen[0][1]["api-sign"] == (
        "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    )


def test_a_resend_is_signed_by_its_own_credential(
    exchange: Exchange, keys: keyswap.KeySwap
) -> None:
    exchange.refused = 1
    with keyswap.Client(keys, base_url=exchange.url, scheme=keyswap.Sign(binance)) as api:
        assert api.get("/x?a=1").status_code == 200
    (first, by_first), (second, by_second) = exchange.seen
    assert (by_first["x-mbx-apikey"], by_second["x-mbx-apikey"]) == ("public-2", "public-1")
    older = hmac.new(b"older", b"a=1", hashlib.sha256).hexdigest()
    assert second == f"/x?a=1&signature={older}" and first != second


async def test_what_it_sees_on_a_loop(exchange: Exchange, keys: keyswap.KeySwap) -> None:
    seen: list[keyswap.Unsigned] = []

    def sign(credential: keyswap.Credential, request: keyswap.Unsigned) -> Signed:
        seen.append(request)
        return {"x-signature": f"by {credential.id}"}

    async with keyswap.AsyncClient(keys, base_url=exchange.url, scheme=keyswap.Sign(sign)) as api:
        sent = await api.put("/v1?q=s3cr3t", content=b"body", headers={"X-Own": "1"})
        assert sent.status_code == 501
    request, = seen
    assert (request.method, request.body, request.headers["x-own"]) == ("PUT", b"body", "1")
    assert request.url == f"{exchange.url}/v1?q=s3cr3t"
    assert abs(datetime.now(timezone.utc) - request.now).total_seconds() < 60
    assert "s3cr3t" not in repr(request)


def test_through_httpx(exchange: Exchange, keys: keyswap.KeySwap) -> None:
    httpx = pytest.importorskip("httpx")
    from keyswap.integrations.httpx import Transport

    exchange.refused = 1

    def sign(credential: keyswap.Credential, request: keyswap.Unsigned) -> Signed:
        return {"x-signature": f"{request.method} by {credential.id}"}

    keyed = Transport(keys, scheme=keyswap.Sign(sign), allowed_origins=[exchange.url])
    with httpx.Client(transport=keyed, trust_env=False) as api:
        assert api.get(f"{exchange.url}/x").status_code == 200
    signed = [headers["x-signature"] for _, headers in exchange.seen]
    assert signed == ["GET by k2", "GET by k1"]


@pytest.mark.parametrize("answer", [None, 7, {"x": 1}, {"a b": "c"}, ({}, 7), {"x": "a\nb"}])
def test_a_junk_signature_sends_nothing(
    exchange: Exchange, keys: keyswap.KeySwap, answer: Any
) -> None:
    with keyswap.Client(keys, base_url=exchange.url, scheme=keyswap.Sign(lambda *_: answer)) as api:
        with pytest.raises(keyswap.SchemeFailedError):
            api.get("/x")
    assert not exchange.seen


def test_one_that_raises_tells_the_class_and_no_words(
    exchange: Exchange, keys: keyswap.KeySwap
) -> None:
    def sign(credential: keyswap.Credential, request: keyswap.Unsigned) -> Signed:
        raise ValueError(credential.reveal("secret"))

    with keyswap.Client(keys, base_url=exchange.url, scheme=keyswap.Sign(sign)) as api:
        with pytest.raises(keyswap.SchemeFailedError, match="ValueError") as raised:
            api.get("/x")
    assert SECRET not in str(raised.value) and not exchange.seen
