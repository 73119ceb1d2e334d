"""A credential is on the wire and nowhere else, whatever a library copies, keeps, redirects, logs or raises."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

pytest.importorskip("httpx")
pytest.importorskip("httpx2")
pytest.importorskip("requests")
pytest.importorskip("aiohttp")

import httpx  # noqa: E402
import httpx2  # noqa: E402
import requests  # noqa: E402
from conftest import FAST, wait_for  # noqa: E402
from libraries import (  # noqa: E402
    ALL,
    NO_ROOTS,
    PROXIES,
    SECRET,
    Aiohttp,
    Answer,
    Asked,
    AsyncHttpx,
    Httpx,
    Library,
    Requests,
    Site,
    followed,
    told_by,
)

import keyswap  # noqa: E402
import keyswap.integrations.httpx as for_httpx  # noqa: E402
import keyswap.integrations.httpx2 as for_httpx2  # noqa: E402

each_library = pytest.mark.parametrize("library", ALL)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*PROXIES, "no_proxy", "NO_PROXY"]:
        monkeypatch.delenv(name, raising=False)


def moved(status: int, **to: str) -> Any:
    """A site whose paths lead on."""

    def answer(asked: Asked) -> Answer:
        there = to.get(asked.path.strip("/"))
        return Answer(status, {"location": there}) if there else Answer()

    return answer


@contextmanager
def closed_port() -> Iterator[str]:
    """An address where nothing listens, and nobody else comes to listen."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@each_library
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_chain_takes_no_key_elsewhere(library: type[Library], method: str, status: int) -> None:
    with Site() as elsewhere, followed(SECRET) as keys:
        second = Site(moved(status, a="/b", b=f"{elsewhere.url}/end"))
        with second, Site(moved(status, a="/b", b=f"{second.url}/a")) as first:
            with library(keys, first.url, second.url) as http:
                content = None if method == "GET" else b"buy"
                response = http.send(method, f"{first.url}/a", content=content)
                assert response.status_code == 200
                assert SECRET not in http.kept(response) and SECRET not in " ".join(http.seen)
    for site in (first, second):
        assert [asked.path for asked in site.asked] == ["/a", "/b"], "each hop was sent once"
        assert all(asked.is_keyed() for asked in site.asked)
    assert [asked.path for asked in elsewhere.asked] == ["/end"]
    assert not elsewhere.asked[0].is_keyed()
    assert keys.stats.rejections == 0


@each_library
def test_a_key_comes_back_only_where_it_may_go(library: type[Library]) -> None:
    with followed(SECRET) as keys, Site() as target:
        with Site(moved(307, a=f"{target.url}/end")) as elsewhere:
            with Site(moved(307, a=f"{elsewhere.url}/a")) as first:
                with library(keys, first.url, target.url) as http:
                    assert http.send("POST", f"{first.url}/a", content=b"buy").status_code == 200
    assert first.asked[0].is_keyed() and target.asked[0].is_keyed()
    assert not elsewhere.asked[0].is_keyed()


def test_what_requests_would_send_next_has_no_key() -> None:
    with followed(SECRET) as keys, Site() as elsewhere:
        with Site(moved(308, a="/b", b=f"{elsewhere.url}/end")) as first:
            with Requests(keys, first.url) as http:
                response = http.send("POST", f"{first.url}/a", content=b"buy", allow_redirects=False)
                for _ in range(2):
                    assert response.next is not None and SECRET not in http.kept(response)
                    response = http.http.send(response.next, allow_redirects=False)
                with requests.Session() as other:
                    other.trust_env = False
                    other.send(response.request)
    assert [asked.is_keyed() for asked in first.asked] == [True, True]
    assert [asked.is_keyed() for asked in elsewhere.asked] == [False, False]


@each_library
@pytest.mark.parametrize("behind", ["refused", "dropped", "rejected"])
@pytest.mark.parametrize("status", [303, 307, 308])
def test_what_was_answered_is_never_sent_again(
    library: type[Library], behind: str, status: int
) -> None:
    """An order that was taken is not placed twice for what a later hop says."""

    def rejects(asked: Asked) -> Answer:
        return Answer(401, drops=behind == "dropped")

    with followed(SECRET) as keys, Site(rejects) as site, closed_port() as nowhere:
        target = nowhere if behind == "refused" else site.url
        with Site(moved(status, orders=f"{target}/receipt")) as api:
            with library(keys, api.url, target) as http:
                try:
                    response = http.send("POST", f"{api.url}/orders", content=b"buy", timeout=1)
                    assert response.status_code == 401 and behind == "rejected"
                except Exception as error:
                    assert not isinstance(error, keyswap.KeyswapError) and behind != "rejected"
    assert api.sends() == ["POST /orders"]


@each_library
@pytest.mark.parametrize("how", ["refused", "dropped", "slow", "redirects"])
@pytest.mark.parametrize("scheme", [keyswap.Header("x-api-key"), keyswap.Bearer()])
def test_an_error_of_the_library_holds_no_key(
    library: type[Library], how: str, scheme: keyswap.Scheme
) -> None:
    def answer(asked: Asked) -> Answer:
        if how == "slow":
            time.sleep(0.3)
        return Answer(302, {"location": "/"}, drops=how == "dropped")

    with followed(SECRET) as keys, Site(answer) as site, closed_port() as nowhere:
        url = nowhere if how == "refused" else site.url
        with library(keys, url, scheme=scheme) as http:
            timeout = 0.1 if how == "slow" else 10
            with pytest.raises(Exception) as caught:
                http.get(f"{url}/", timeout=timeout)
            assert not isinstance(caught.value, keyswap.KeyswapError)
            assert SECRET not in told_by(caught.value)
            assert SECRET not in " ".join(http.seen)
    assert how == "refused" or site.asked[0].is_keyed()


UNUSABLE: list[dict[str, Any]] = [
    {"key": "s3cr3t-2\nx"},
    {"key": "s3cr3t-2\r\nx-injected: 1"},
    {"key": "s3cr3t-2\0"},
    {"key": " s3cr3t-2"},
    {"key": "s3cr3t-\u9375"},
    {"key": ""},
    {"material": {"api_key": "s3cr3t-2"}},
]


@each_library
@pytest.mark.parametrize("is_endpoint", [False, True], ids=["function", "endpoint"])
@pytest.mark.parametrize("new", UNUSABLE, ids=ascii)
def test_a_new_key_that_cannot_be_sent_is_told_and_not_used(
    library: type[Library], is_endpoint: bool, new: dict[str, Any]
) -> None:
    """The key before it still works, so no request may notice."""
    sets: list[dict[str, Any]] = [{"current": {"id": "k1", "key": SECRET}}]

    def document(asked: Asked) -> Answer:
        body = {"protocol": "keyswap/1", "set": "s", "generation": len(sets), **sets[-1]}
        for each in [body["current"], *body.get("previous", [])]:
            each.setdefault("material", {"key": each.get("key")})
        return Answer(body=json.dumps(body).encode())

    def api(asked: Asked) -> Answer:
        return Answer(200 if asked.headers.get("x-api-key") == SECRET else 401)

    with Site(document) as endpoint, Site(api) as site:
        url = keyswap.Endpoint(f"{endpoint.url}/sets/s", bootstrap=False)
        source: Any = url if is_endpoint else lambda: sets[-1]
        with keyswap.KeySwap(source, policy=FAST) as keys, library(keys, site.url) as http:
            keys.ready(10)
            assert http.get(f"{site.url}/").status_code == 200
            events = keys.events()
            # A function that names no previous key means the one that worked last.
            previous = {"previous": [{"id": "k1", "key": SECRET}]} if is_endpoint else {}
            sets.append({"current": {"id": "k2", **new}, **previous})
            keys.refresh(10)
            for nth in range(20):
                content = b"buy" if nth % 2 else None
                assert http.send("POST" if nth % 2 else "GET", f"{site.url}/", content=content).status_code == 200
            told = wait_for(events, "rejected")
            assert told.credential == "k2" and told.reason and "s3cr3t" not in told.reason
            assert keys.current.id == "k1"
        assert [asked.is_keyed() for asked in site.asked] == [True] * 21


@each_library
@pytest.mark.parametrize("key", ["s3cr3t-schl\u00fcssel", "s3cr3t-\u9375", "s3cr3t-\U0001f511"])
def test_a_key_beyond_ascii_is_an_error_that_does_not_tell_it(library: type[Library], key: str) -> None:
    with followed(key) as keys, Site() as site:
        for scheme in (keyswap.Header("x-api-key"), keyswap.Bearer()):
            with library(keys, site.url, scheme=scheme) as http:
                with pytest.raises(keyswap.SchemeFailedError) as caught:
                    http.get(f"{site.url}/", timeout=1)
                assert "s3cr3t" not in told_by(caught.value)
    assert site.asked == []


@each_library
def test_plain_http_on_this_machine_never_goes_through_a_proxy(
    library: type[Library], monkeypatch: pytest.MonkeyPatch
) -> None:
    with followed(SECRET) as keys, Site() as site, Site() as other, Site() as proxy:
        with library(keys, site.url, proxy=proxy.url) as http:
            assert http.get(f"{site.url}/").status_code == 200
            assert proxy.asked == [] and site.asked[0].is_keyed()
            # What carries no credential goes where it would without the adapter.
            assert http.get(f"{other.url}/").status_code == 200
            assert len(proxy.asked) == 1 and not proxy.asked[0].is_keyed() and other.asked == []
        monkeypatch.setenv("http_proxy", proxy.url)
        with library(keys, site.url, trust_env=True, plain_http_allowed=True) as http:
            assert http.get(f"{site.url}/").status_code == 200
            assert http.send("POST", f"{site.url}/", content=b"buy").status_code == 200
        assert len(proxy.asked) == 1 and [asked.is_keyed() for asked in site.asked] == [True] * 3


def test_a_proxy_is_found_behind_a_transport_of_the_programs() -> None:
    class Around(httpx.BaseTransport):
        def __init__(self, inner: httpx.BaseTransport) -> None:
            self.inner = inner

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            return self.inner.handle_request(request)

    with followed(SECRET) as keys, Site() as site, Site() as proxy:
        inner = Around(Around(httpx.HTTPTransport(proxy=proxy.url)))
        with Httpx(keys, site.url, inner=inner) as http:
            assert http.get(f"{site.url}/").status_code == 200
        assert proxy.asked == [] and site.asked[0].is_keyed()
        mock = httpx.MockTransport(lambda request: httpx.Response(200, headers=request.headers))
        with Httpx(keys, site.url, inner=mock) as http:
            assert SECRET in str(http.get(f"{site.url}/").headers), "others are left in place"


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
async def test_what_would_take_requests_past_the_keys_is_refused(library: Any) -> None:
    adapter = for_httpx if library is httpx else for_httpx2
    options: dict[str, Any] = {"allowed_origins": ["https://api.test"]}
    with followed(SECRET) as keys:
        plain = library.HTTPTransport(verify=NO_ROOTS)
        past: list[dict[str, Any]] = [{"proxy": "http://127.0.0.1:1"}, {"mounts": {"https://api.test": plain}}]
        for each in past:
            with pytest.raises(keyswap.InvalidConfigError, match="past keyswap.*HTTPTransport"):
                with library.Client(transport=adapter.Transport(keys, **options), **each):
                    pass
        with pytest.raises(keyswap.InvalidConfigError, match="past keyswap.*AsyncHTTPTransport"):
            async with library.AsyncClient(transport=adapter.AsyncTransport(keys, **options), **past[0]):
                pass
        keyed = adapter.Transport(keys, **options)
        mounts = {"https://other.test": plain, "https://api.test": keyed}
        with library.Client(transport=adapter.Transport(keys, **options), mounts=mounts):
            pass


def rejecting(asked: Asked) -> Answer:
    return Answer(401, body=b'{"why": "no"}')


@each_library
def test_the_timeout_of_the_library_bounds_the_wait_for_a_key(library: type[Library]) -> None:
    with followed(SECRET) as keys, Site(rejecting) as site, library(keys, site.url) as http:
        began = time.monotonic()
        response = http.get(f"{site.url}/", timeout=1)
        assert time.monotonic() - began < 2.5
    assert response.status_code == 401, "the API's answer is worth more than to be told of a timeout"
    content = response._body if hasattr(response, "_body") else response.content
    assert content == b'{"why": "no"}'


@each_library
def test_a_program_can_say_once(library: type[Library]) -> None:
    with followed(SECRET, "other") as keys, Site(rejecting) as site:
        with library(keys, site.url, resend=False) as http:
            assert http.send("POST", f"{site.url}/", content=b"buy").status_code == 401
    assert site.sends() == ["POST /"]


@each_library
def test_a_header_of_the_programs_own(library: type[Library]) -> None:
    own = {"X-Api-Key": "mine"}
    with followed(SECRET) as keys, Site(rejecting) as site:
        with library(keys, site.url) as http:
            with pytest.raises(keyswap.InvalidConfigError, match="own_header"):
                http.get(f"{site.url}/", headers=own)
        assert site.asked == []
        with library(keys, site.url, own_header_wins=True) as http:
            assert http.get(f"{site.url}/", headers=own).status_code == 401
        assert [asked.headers["x-api-key"] for asked in site.asked] == ["mine"]
        assert keys.stats.rejections == 0, "a rejection of another credential says nothing of ours"


def test_what_netrc_puts_on_a_request_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with followed(SECRET) as keys, Site(moved(302, a="/b")) as site:
        with Requests(keys, site.url, scheme=keyswap.Bearer(), trust_env=True) as http:
            with pytest.raises(keyswap.InvalidConfigError, match="authorization"):
                http.get(f"{site.url}/a")
        assert site.asked == [] and keys.stats.rejections == 0


@pytest.mark.parametrize("library", [Httpx, AsyncHttpx])
@pytest.mark.parametrize("name", ["api_key", "API_KEY", "next"])
def test_a_key_in_a_query_does_not_come_back(library: type[Library], name: str) -> None:
    def answer(asked: Asked) -> Answer:
        if not asked.path.startswith("/a"):
            return Answer()
        return Answer(302, {"location": f"{elsewhere.url}/login?{name}={SECRET}"})

    with followed(SECRET) as keys, Site() as elsewhere, Site(answer) as site:
        with library(keys, site.url, scheme=keyswap.Query("api_key")) as http:
            response = http.get(f"{site.url}/a")
            assert SECRET not in http.kept(response) + str(response.headers) + " ".join(http.seen)
    assert site.asked[0].is_keyed() and not any(asked.is_keyed() for asked in elsewhere.asked)


@pytest.mark.parametrize("library", [Requests, Aiohttp, Httpx, AsyncHttpx])
def test_a_key_in_a_header_does_not_come_back(library: type[Library]) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path != "/a":
            return Answer()
        return Answer(307, {"location": f"{elsewhere.url}/login?next=%2Fa%3Fk%3D{SECRET}"})

    with followed(SECRET) as keys, Site() as elsewhere, Site(answer) as site:
        with library(keys, site.url) as http:
            response = http.get(f"{site.url}/a")
            assert response.status_code == 307 and "location" not in response.headers
            assert SECRET not in http.kept(response) + str(response.headers) + " ".join(http.seen)
    assert elsewhere.asked == []


@each_library
def test_the_first_rejection_is_what_is_returned(library: type[Library]) -> None:
    """It is about the key that was in use, and the second about one that never worked."""

    def answer(asked: Asked) -> Answer:
        return Answer(401, body=f'"{len(site.asked)}"'.encode())

    with followed(SECRET, "other") as keys, Site(answer) as site, library(keys, site.url) as http:
        response = http.get(f"{site.url}/", timeout=2)
        content = response._body if hasattr(response, "_body") else response.content
        assert (response.status_code, content) == (401, b'"1"')
    assert len(site.asked) > 1


@each_library
def test_another_key_is_sent_when_the_first_is_rejected(library: type[Library]) -> None:
    def answer(asked: Asked) -> Answer:
        return Answer(200 if asked.headers["x-api-key"] == "other" else 401, body=asked.body)

    with followed(SECRET, "other") as keys, Site(answer) as site, library(keys, site.url) as http:
        response = http.send("POST", f"{site.url}/", content=b"buy")
        assert response.status_code == 200
    assert [asked.body for asked in site.asked] == [b"buy", b"buy"]
