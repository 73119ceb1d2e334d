"""What is said of a response, which may repeat the key that it was asked with."""

import random
import traceback
from datetime import timedelta
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import World

import keyswap


@pytest.mark.parametrize("body", [b'{"s3cr3t": }', b"s3cr3t \xff", b"\xff\xfes3cr3t", b'"s3cr3t'])
def test_a_body_that_is_no_json_is_not_quoted(body: bytes) -> None:
    native: Any = SimpleNamespace(status=200, headers=[], content=body)
    with pytest.raises(ValueError) as caught:
        keyswap.Response(native, 0).json()
    told = f"{caught.value!r} {vars(caught.value)} {caught.value.__cause__!r} {caught.value.__context__!r}"
    for frame, _ in traceback.walk_tb(caught.tb):
        if frame.f_code.co_filename != __file__:
            told += repr(frame.f_locals)
    assert "s3cr3t" not in told


class Parts(keyswap.Response):
    """One that comes in these parts."""

    def __init__(self, parts: list[bytes], kind: str = "text/plain") -> None:
        super().__init__(SimpleNamespace(status=200, headers=[("Content-Type", kind)], content=None), 0)  # type: ignore[arg-type]
        self.parts = parts

    def iter_bytes(self) -> Any:
        return iter(self.parts)

    async def aiter_bytes(self) -> Any:
        for part in self.parts:
            yield part


async def test_lines_are_those_of_the_whole_text() -> None:
    rng = random.Random(7)
    for _ in range(300):
        text = "".join(rng.choices(["a", "\u00e9", "\n", "\r", "\r\n", "\u2028", "bc"], k=rng.randrange(12)))
        body = text.encode()
        cuts = sorted(rng.choices(range(len(body) + 1), k=3))
        parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, len(body)])]
        assert list(Parts(parts).iter_lines()) == text.splitlines()
        assert [line async for line in Parts(parts).aiter_lines()] == text.splitlines()
        assert "".join(Parts(parts).iter_text()) == text


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        ("text/plain", "utf-8"), ("text/plain; charset=ISO-8859-1", "iso8859-1"),
        ('text/plain; charset="latin1"; x=1', "iso8859-1"), ("a/b; charset=base64", "utf-8"), ("a/b; charset=?", "utf-8"),
    ],
)
def test_the_charset_is_what_the_response_names(kind: str, encoding: str) -> None:
    response = Parts(["\u00e9".encode(encoding)], kind)
    assert response.encoding == encoding and list(response.iter_text()) == ["\u00e9", ""]
    assert (response.charset_encoding is None) == ("charset" not in kind)
    response.encoding = "cp1252"
    assert response.encoding == "cp1252"


@pytest.mark.parametrize(
    ("status", "said", "phrase"),
    [
        (102, {"is_informational"}, "Processing"), (200, {"is_success"}, "OK"),
        (302, {"is_redirect", "has_redirect_location"}, "Found"), (304, {"is_redirect"}, "Not Modified"),
        (404, {"is_error", "is_client_error"}, "Not Found"),
        (503, {"is_error", "is_server_error"}, "Service Unavailable"), (299, {"is_success"}, ""),
    ],
)
def test_what_a_status_says(status: int, said: set[str], phrase: str) -> None:
    native: Any = SimpleNamespace(status=status, headers=[("location", "/")], content=b"")
    response = keyswap.Response(native, 0)
    names = [name for name in dir(response) if name.startswith(("is_", "has_"))]
    assert {name for name in names if getattr(response, name)} == said
    assert response.reason_phrase == phrase


async def test_what_it_took_is_told(world: World) -> None:
    keys, began = world.ready(), perf_counter()
    with world.client(keys) as api, api.stream("GET", "/v1/price") as streamed:
        pass
    async with world.async_client(keys) as api:
        response = await api.get("/v1/price")
    for took in (streamed.elapsed, response.elapsed):
        assert timedelta(0) < took < timedelta(seconds=perf_counter() - began)


def test_a_header_that_stands_twice_is_both() -> None:
    headers = keyswap.Headers([("Via", "a"), ("X-Id", "1"), ("via", "b")])
    assert headers["VIA"] == "a, b" and headers.get_list("Via") == ["a", "b"]
    assert headers.multi_items() == [("via", "a"), ("x-id", "1"), ("via", "b")]


def test_the_star_leaves_the_builtin_alone() -> None:
    names: dict[str, Any] = {}
    exec("from keyswap import *", names)
    assert "TimeoutError" not in names and issubclass(keyswap.TimeoutError, TimeoutError)
    assert names["ExpiredError"] is keyswap.ExpiredError
