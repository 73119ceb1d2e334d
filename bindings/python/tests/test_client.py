"""The clients, blocking and asynchronous."""

import ast
import asyncio
import http.server
import inspect
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, World, in_threads, until, wait_until

import keyswap
from keyswap import _client


class Echo(http.server.BaseHTTPRequestHandler):
    """Says what it was sent."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        length = self.headers.get("content-length")
        body = b""
        if length is not None:
            body = self.rfile.read(int(length))
        elif self.headers.get("transfer-encoding") == "chunked":
            while size := int(self.rfile.readline() or b"0", 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        told = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": body.decode(),
        }
        data = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json; charset=utf-8")
        self.send_header("x-twice", "a")
        self.send_header("X-Twice", "b")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = answer

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    serving.join()


@pytest.fixture
def key() -> Iterator[keyswap.KeySwap]:
    with keyswap.KeySwap(
        lambda: {"scopes": ["a"], "current": {"id": "k1", "key": "one", "secret": "two"}}
    ) as keys:
        keys.ready(10)
        yield keys


def test_requests_carry_what_they_are_given(key: keyswap.KeySwap, echo: str) -> None:
    with keyswap.Client(
        key, base_url=f"{echo}/v1", scheme=keyswap.Bearer(), headers={"x-app": "a", "x-b": "b"}
    ) as api:
        params = {"a": 1, "b": [True, None, "x y"]}
        told = api.get("/price", params=params, headers={"X-B": "mine"}).json()
        assert told["path"] == "/v1/price?a=1&b=true&b=&b=x+y"
        assert told["headers"]["authorization"] == "Bearer one"
        assert (told["headers"]["x-app"], told["headers"]["x-b"]) == ("a", "mine")
        told = api.post("/x", json={"é": [1]}).json()
        assert json.loads(told["body"]) == {"é": [1]}
        assert told["headers"]["content-type"] == "application/json"
        for content in ("text", b"text", bytearray(b"text"), memoryview(b"text")):
            assert api.put("/x", content=content).json()["body"] == "text"
        assert api.patch("/x", content=iter([b"te", b"xt"])).json()["body"] == "text"
        assert api.delete("/x", params=[("c", "d")]).json()["path"] == "/v1/x?c=d"
        head = api.head("/x")
        assert (head.status_code, head.content) == (200, b"")
        assert api.request("GET", "/x").json()["method"] == "GET"


def test_a_response_has_what_people_look_for(key: keyswap.KeySwap, echo: str) -> None:
    with keyswap.Client(key, base_url=echo, scheme=keyswap.Query("api_key")) as api:
        response = api.get("/x", params={"q": 1})
        assert "api_key=one" in response.json()["path"]
        assert response.url == f"{echo}/x?q=1", "without what the scheme added"
        assert response.is_success and response.raise_for_status() is response
        headers = response.headers
        assert headers["Content-Type"] == headers["content-type"]
        assert "X-TWICE" in headers and headers["x-twice"] == "a, b"
        assert headers.get_list("X-Twice") == ["a", "b"] and headers.get("nothing") is None
        assert len(dict(headers)) == len(headers)
        assert json.loads(response.text) == response.json() == json.loads(response.content)
        assert repr(response) == "<keyswap.Response [200]>"
        assert list(response.iter_bytes()) == [response.content]


def test_schemes(key: keyswap.KeySwap, echo: str) -> None:
    schemes = {
        keyswap.Header("x-api-key"): ("x-api-key", "one"),
        keyswap.Bearer(): ("authorization", "Bearer one"),
        keyswap.Basic(): ("authorization", "Basic b25lOnR3bw=="),
    }
    for scheme, (header, value) in schemes.items():
        assert isinstance(scheme, keyswap.Scheme)
        with keyswap.Client(key, base_url=echo, scheme=scheme) as api:
            assert api.get("/").json()["headers"][header] == value
    assert repr(keyswap.Header("x-api-key")) == 'keyswap.Header("x-api-key")'
    for name in ("cookie", "a b", ""):
        with pytest.raises(keyswap.InvalidConfigError):
            keyswap.Client(key, base_url=echo, scheme=keyswap.Header(name))
    with keyswap.Client(key, base_url=echo) as api:
        with pytest.raises(keyswap.SchemeFailedError, match="names a scheme"):
            api.get("/")


def test_a_scheme_may_come_from_the_set(world: World) -> None:
    world.story(scheme={"scheme": "api_key", "params": {"header": "x-api-key"}})
    keys = world.ready()
    with world.client(keys, scheme=None) as api:
        assert api.get("/v1/price").json()["credential"] == "k1"


def test_named_keys_and_scopes(key: keyswap.KeySwap, echo: str) -> None:
    other = keyswap.KeySwap(lambda: {"current": {"id": "o1", "key": "other"}})
    other.ready(10)
    with keyswap.Client(
        key, base_url=echo, scheme=keyswap.Bearer(), named={"other": other}
    ) as api:
        told = api.get("/", keys="other").json()
        assert told["headers"]["authorization"] == "Bearer other"
        with pytest.raises(keyswap.InvalidConfigError, match="no keys named"):
            api.get("/", keys="nobody")
        api.get("/", scopes=["a"])
        with pytest.raises(keyswap.MissingScopeError, match='scope "b"'):
            api.get("/", scopes="b")
    other.close()


def test_a_client_is_told_what_is_wrong(key: keyswap.KeySwap, world: World) -> None:
    with pytest.raises(keyswap.InvalidConfigError, match="no allowed origin"):
        keyswap.Client(key)
    with pytest.raises(keyswap.InsecureUrlError):
        keyswap.Client(key, base_url="http://api.example.com")
    keyswap.Client(key, base_url="http://api.example.com", plain_http_allowed=True).close()
    with pytest.raises(keyswap.InvalidConfigError, match="not a header name"):
        keyswap.Client(key, base_url=world.api_url, headers={"a b": "c"})
    with pytest.raises(TypeError, match="not one string"):
        keyswap.Client(key, allowed_origins=world.api_url)
    with pytest.raises(TypeError):
        keyswap.Client("keys", base_url=world.api_url)  # type: ignore[arg-type]
    with keyswap.Client(key, base_url=world.api_url, scheme=keyswap.Bearer()) as api:
        with pytest.raises(keyswap.OriginNotAllowedError):
            api.get(f"{world.other_url}/x")
        with pytest.raises(keyswap.InvalidConfigError, match="HTTP method"):
            api.request("NO GOOD", "/")
        with pytest.raises(keyswap.InvalidConfigError, match="not a header value"):
            api.get("/", headers={"x": "a\nb"})
        with pytest.raises(TypeError, match="not both"):
            api.post("/", json={}, content=b"")
        with pytest.raises(ValueError):
            api.post("/", json=float("nan"))
        with pytest.raises(TypeError):
            api.post("/", content=7)  # type: ignore[arg-type]
    for closed in (api.get, api.post):
        with pytest.raises(keyswap.ClosedError, match="the client was closed"):
            closed("/")


def test_an_error_status_is_one_only_if_asked(world: World) -> None:
    with world.client(world.ready()) as api:
        response = api.get("/always-403", params={"token": "s3cr3t"})
        assert not response.is_success
        with pytest.raises(keyswap.StatusError, match="answered 403") as caught:
            response.raise_for_status()
        assert caught.value.status == 403 and "s3cr3t" not in str(caught.value)


def test_timeouts(world: World) -> None:
    with world.client(world.ready(), timeout=0.1, retries=0) as api:
        world.do("api", fault="hang")
        with pytest.raises(keyswap.TimeoutError, match="got no response within 0.1 s"):
            api.get("/v1/price")
        with pytest.raises(keyswap.TimeoutError, match=r"within 0\.2 s"):
            api.get("/v1/price", timeout=0.2)
        world.do("api", fault="slow", ms=200)
        assert api.get("/v1/price", timeout=None).is_success
        world.do("api", fault="outage")
        with pytest.raises(keyswap.TransportError):
            api.get("/v1/price", timeout=5)


def test_a_redirect_to_another_origin_carries_nothing(world: World) -> None:
    for scheme in (keyswap.Header("x-api-key"), keyswap.Bearer(), keyswap.Query("api_key")):
        with world.client(world.ready(), scheme=scheme) as api:
            assert api.get("/redirect").url.startswith(world.other_url)
            assert api.get("/redirect-here").json()["credential"] == "k1"
        with world.client(world.ready(), scheme=scheme, max_redirects=0) as api:
            assert api.get("/redirect").status_code in (301, 302, 307, 308)
    assert world.counters()["leaks"] == 0


def test_a_body_that_comes_once_is_sent_once(world: World) -> None:
    keys = world.ready()
    with world.client(keys) as api:
        assert api.post("/v1/x", content=iter([b"a", b"b"])).is_success
        world.do("forget", credential="k1")
        assert api.post("/v1/x", content=iter([b"a"])).status_code == 401
        world.do("cut")

        def breaks() -> Iterator[bytes]:
            yield b"half"
            raise LookupError("the source of the body")

        with pytest.raises(LookupError, match="the source of the body"):
            api.post("/v1/x", content=breaks())
        with pytest.raises(TypeError):
            api.post("/v1/x", content=iter([7]))  # type: ignore[list-item]


def test_half_a_body_is_not_taken_for_a_whole_one(key: keyswap.KeySwap, echo: str) -> None:
    seen: list[str] = []
    whole = Echo.answer

    def watch(self: Echo) -> None:
        try:
            whole(self)
        except (ValueError, OSError):
            self.close_connection = True
        else:
            seen.append(self.path)

    Echo.do_POST = watch  # type: ignore[method-assign,assignment]
    try:
        with keyswap.Client(key, base_url=echo, scheme=keyswap.Bearer(), retries=0) as api:

            def breaks() -> Iterator[bytes]:
                yield b"half"
                raise LookupError

            with pytest.raises(LookupError):
                api.post("/half", content=breaks())
            api.post("/whole", content=iter([b"a"]))
    finally:
        Echo.do_POST = whole  # type: ignore[method-assign]
    wait_until(lambda: seen)
    assert seen == ["/whole"]


async def test_an_asynchronous_body(world: World) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        await asyncio.sleep(0)
        yield b"b"

    async def breaks() -> AsyncIterator[bytes]:
        yield b"half"
        raise LookupError("the source of the body")

    async with world.async_client(world.ready()) as api:
        assert (await api.post("/v1/x", content=parts())).is_success
        assert (await api.post("/v1/x", content=iter([b"a"]))).is_success
        with pytest.raises(LookupError, match="the source of the body"):
            await api.post("/v1/x", content=breaks())


async def test_streams(world: World) -> None:
    keys = world.ready()
    whole = b'{"credential":"k1","replica":0}'
    with world.client(keys) as api:
        with api.stream("GET", "/v1/price") as response:
            with pytest.raises(RuntimeError, match="call read"):
                response.content
            assert b"".join(response.iter_bytes()) == whole
            assert list(response.iter_bytes()) == []
        with api.stream("GET", "/v1/price") as response:
            assert response.read() == response.content == whole
            assert response.json()["credential"] == "k1"
        with api.stream("GET", "/v1/price") as response:
            response.close()
            assert list(response.iter_bytes()) == []
    async with world.async_client(keys) as aapi:
        async with aapi.stream("GET", "/v1/price") as response:
            assert b"".join([part async for part in response.aiter_bytes()]) == whole
        async with aapi.stream("GET", "/v1/price") as response:
            assert await response.aread() == whole
            assert [part async for part in response.aiter_bytes()] == [whole]
            await response.aclose()


def code_in_body(status: int, headers: dict[str, str], body: "bytes | None") -> Any:
    if body is None:
        assert "content-type" in headers
        return "need_body"
    return "rejected" if b'"bad_key"' in body else "accepted"


code_in_body.statuses = [200]  # type: ignore[attr-defined]
code_in_body.body_limit = 1024  # type: ignore[attr-defined]


async def test_a_classifier_may_be_a_function(world: World) -> None:
    keys = world.ready()
    world.do("api", fault="bad_key_in_body")
    with world.client(keys, classifier=code_in_body) as api:
        assert api.get("/v1/price").json()["credential"] == "k1"
        world.do("cut")
        response = api.get("/v1/price")
        assert response.json()["credential"] == "k2", "what was looked at is given to the caller"
    async with world.async_client(keys, classifier=code_in_body) as aapi:
        world.do("cut")
        assert (await aapi.get("/v1/price")).json()["credential"] == "k3"


@pytest.mark.parametrize("answer", [None, "nonsense", ZeroDivisionError("s3cr3t")])
def test_a_classifier_that_fails_is_told_and_harmless(
    world: World, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def odd(status: int, headers: dict[str, str], body: "bytes | None") -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    caplog.set_level("DEBUG", logger="keyswap")
    with world.client(world.ready(), classifier=odd) as api:
        assert api.get("/always-401").status_code == 401
    wait_until(lambda: any("the classifier" in record.message for record in caplog.records))
    assert "s3cr3t" not in caplog.text


def test_a_classifier_with_bad_attributes_is_refused(world: World) -> None:
    def odd(*_: Any) -> Any: ...

    odd.statuses = ["x"]  # type: ignore[attr-defined]
    with pytest.raises(TypeError):
        world.client(world.ready(), classifier=odd)


async def test_a_caller_that_is_cancelled_takes_its_request_along(world: World) -> None:
    keys = world.ready()
    world.do("api", fault="hang")
    async with world.async_client(keys) as api:
        waiting = [asyncio.create_task(api.get("/v1/price")) for _ in range(8)]
        await until(lambda: world.counters()["api.sends"] == 8)
        for task in waiting:
            task.cancel()
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        world.do("api", fault="none")
        assert (await api.get("/v1/price")).is_success


def test_one_client_serves_several_loops(world: World) -> None:
    api = world.async_client(world.ready())

    async def use() -> int:
        answers = await asyncio.gather(*[api.get("/v1/price") for _ in range(10)])
        return sum(answer.is_success for answer in answers)

    assert in_threads(4, lambda: asyncio.run(use())) == [10] * 4


def test_a_storm_of_threads_at_a_cut(world: World) -> None:
    keys = world.ready()
    before = world.counters()["fetch.changed"]
    with world.client(keys) as api:
        cut = threading.Event()

        def call() -> int:
            failed = 0
            for number in range(8):
                if number == 3 and not cut.is_set():
                    cut.set()
                    world.do("cut")
                failed += not api.get("/v1/price").is_success
            return failed

        assert in_threads(64, call) == [0] * 64
    assert world.counters()["fetch.changed"] - before == 1
    assert keys.current.id == "k2"


async def test_a_storm_of_coroutines_at_a_cut(world: World) -> None:
    keys = world.ready()
    before = world.counters()["fetch.changed"]
    async with world.async_client(keys) as api:

        async def call(number: int) -> int:
            if number == 100:
                await asyncio.to_thread(world.do, "cut")
            answers = [await api.get("/v1/price") for _ in range(3)]
            return sum(not answer.is_success for answer in answers)

        assert sum(await asyncio.gather(*[call(number) for number in range(256)])) == 0
    assert world.counters()["fetch.changed"] - before == 1


def test_both_clients_have_the_same_methods() -> None:
    tree = ast.parse(Path(inspect.getfile(_client)).read_text())
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}

    def methods(name: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for node in classes[name].body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                plain = node.name.replace("__a", "__", 1) if node.name[:3] == "__a" else node.name
                plain = "close" if plain == "aclose" else plain
                arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                defaults = [ast.unparse(each) for each in node.args.kw_defaults if each]
                found[plain] = [argument.arg for argument in arguments] + defaults
        return found

    assert methods("Client") == methods("AsyncClient")
    assert len(methods("Client")) == 11

    keys = ast.parse(Path(inspect.getfile(keyswap.Events)).read_text())
    for node in ast.walk(keys):
        if isinstance(node, ast.ClassDef) and node.name in ("KeySwap", "Events"):
            kind = getattr(keyswap, node.name)
            for name in ("ready", "refresh", "key", "close", "shutdown", "next"):
                if hasattr(kind, name):
                    assert inspect.iscoroutinefunction(getattr(kind, f"a{name}")), name


def test_a_request_can_be_sent_once(world: World) -> None:
    with world.client(world.ready()) as api:
        world.do("cut")
        before = world.counters()["api.sends"]
        assert api.post("/v1/orders", content=b"buy", resend=False).status_code == 401
        assert world.counters()["api.sends"] - before == 1
        assert api.post("/v1/orders", content=b"buy").is_success


def test_a_header_of_the_callers_own_is_an_error_or_wins(world: World) -> None:
    keys = world.ready()
    with world.client(keys) as api, pytest.raises(keyswap.InvalidConfigError, match="x-api-key"):
        api.get("/v1/price", headers={"X-Api-Key": "mine"})
    assert world.counters()["api.sends"] == 0
    with world.client(keys, own_header_wins=True) as api:
        assert api.get("/v1/price", headers={"X-Api-Key": "mine"}).status_code == 401
        assert api.get("/v1/price").is_success
    assert keys.stats.rejections == 0
