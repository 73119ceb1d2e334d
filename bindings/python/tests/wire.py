"""A server that is told each byte to say, and what the libraries are driven with beside it."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from libraries import ALL, Aiohttp, AsyncHttpx, AsyncHttpx2, AsyncLibrary, Httpx, Library, Requests

import keyswap


@dataclass
class Heard:
    """One request, as it stood on the wire."""

    line: str
    names: list[str]
    """Of its headers, in their spelling."""
    headers: Mapping[str, str]
    body: bytes


Say = Callable[[Heard, socket.socket], None]
"""Answers. The connection is then kept if all was said by `answer`."""


@dataclass
class Wire:
    """Listens while it is open."""

    say: Say
    heard: list[Heard] = field(default_factory=list[Heard])

    def __enter__(self) -> Wire:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        self.is_over = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over.set()
        for each in [self._listener, *self._open]:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()

    @property
    def bodies(self) -> list[bytes]:
        return [heard.body for heard in self.heard]

    def _accept(self) -> None:
        while not self.is_over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as reader:
                while (heard := _read(reader)) is not None:
                    self.heard.append(heard)
                    self.say(heard, connection)
        except OSError:
            pass


def _read(reader: Any) -> Heard | None:
    line = reader.readline().decode().strip()
    pairs: list[tuple[str, str]] = []
    while (each := reader.readline().decode("latin-1").rstrip("\r\n")) != "":
        name, _, value = each.partition(":")
        pairs.append((name, value.strip()))
    if not line:
        return None
    headers = {name.lower(): value for name, value in pairs}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(reader.readline(), 16):
            body += reader.read(size)
            reader.readline()
        reader.readline()
    else:
        body = reader.read(int(headers.get("content-length", 0)))
    return Heard(line, [name for name, _ in pairs], headers, body)


def answer(
    connection: socket.socket, status: int = 200, body: bytes = b"{}", length: int | None = None, **headers: str
) -> None:
    """Says this. `length` is what it claims to be, where that is another one."""
    head = [f"HTTP/1.1 {status} Said", f"content-length: {len(body) if length is None else length}"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    connection.sendall("\r\n".join([*head, "", ""]).encode() + body)


class Own(Library):
    """The package's own client."""

    adapter_name = "python"

    def open(self, keys: keyswap.KeySwap, origins: list[str], options: dict[str, Any]) -> None:
        self.http = keyswap.Client(keys, allowed_origins=origins, retries=0, **options)

    def send(self, method: str, url: str, **options: Any) -> Any:
        return self.http.request(method, url, **options)

    def kept(self, response: Any) -> str:
        return repr(response)


class AsyncOwn(AsyncLibrary):
    adapter_name = "python-async"

    def open(self, keys: keyswap.KeySwap, origins: list[str], options: dict[str, Any]) -> None:
        self.http = keyswap.AsyncClient(keys, allowed_origins=origins, retries=0, **options)

    async def asend(self, method: str, url: str, **options: Any) -> Any:
        return await self.http.request(method, url, **options)

    def kept(self, response: Any) -> str:
        return repr(response)

    async def aclose(self) -> None:
        await self.http.aclose()


EVERY: list[type[Library]] = [*ALL, AsyncHttpx2, Own, AsyncOwn]


def content(response: Any) -> bytes:
    """The body of any library's response."""
    return bytes(response._body if hasattr(response, "_body") else response.content)


def once() -> Iterator[bytes]:
    yield b"one "
    yield b"part after another"


async def once_async() -> AsyncIterator[bytes]:
    for part in once():
        yield part


def bodies(
    library: type[Library], folder: Path, stack: ExitStack
) -> dict[str, Callable[[], dict[str, Any]]]:
    """What this library takes for a body that can be had again."""

    def file() -> Any:
        return stack.enter_context(path.open("rb"))

    path = folder / "file"
    path.write_bytes(b"of a file")
    plain: dict[str, Callable[[], dict[str, Any]]] = {
        "bytes": lambda: {"content": b"bytes"},
        "text": lambda: {"content": "text"},
        "bytearray": lambda: {"content": bytearray(b"bytearray")},
        "BytesIO": lambda: {"content": half_read()},
    }
    if issubclass(library, (Own, AsyncOwn)):
        return plain | {"parts": lambda: {"content": [b"a", b"b"]}, "json": lambda: {"json": {"a": 1}}}
    if issubclass(library, Aiohttp):
        return plain | {
            "file": lambda: {"content": file()},
            "fields": lambda: {"content": {"a": "1"}},
            "form": lambda: {"content": form(file())},
        }
    del plain["bytearray"]
    files = {"fields": lambda: {"data": {"a": "1"}}}
    files["form"] = lambda: {"files": {"f": ("name", io.BytesIO(b"in a form"))}, "data": {"a": "1"}}
    files["form of a file"] = lambda: {"files": {"f": file()}}
    if issubclass(library, AsyncHttpx):
        del plain["BytesIO"]  # httpx itself takes none in an event loop
        return plain | files
    if library is Httpx:
        plain["BytesIO"] = lambda: {"content": io.BytesIO(b"BytesIO")}  # it miscounts what is left of one
    if issubclass(library, Requests):
        plain["bytearray"] = lambda: {"content": bytearray(b"bytearray")}
    return plain | files | {"file": lambda: {"content": file()}}


def half_read() -> io.BytesIO:
    file = io.BytesIO(b"read: BytesIO")
    file.seek(6)
    return file


def form(file: Any) -> Any:
    import aiohttp

    form = aiohttp.FormData({"a": "1"})
    form.add_field("f", io.BytesIO(b"in a form"), filename="name")
    form.add_field("g", file, filename="other")
    return form


def streamed(http: Any, url: str, heard: Callable[[bytes], None]) -> None:
    """Reads a response part by part, as it arrives."""
    if isinstance(http, Requests):
        with http.http.get(url, stream=True, timeout=10) as response:
            for part in response.iter_content(None):
                heard(part)
    elif isinstance(http, Httpx):
        with http.http.stream("GET", url) as response:
            for part in response.iter_bytes():
                heard(part)
    elif isinstance(http, Own):
        with http.http.stream("GET", url) as response:
            for part in response.iter_bytes():
                heard(part)
    else:
        http.loop.run_until_complete(_astreamed(http, url, heard))


async def _astreamed(http: Any, url: str, heard: Callable[[bytes], None]) -> None:
    if isinstance(http, Aiohttp):
        async with http.http.get(url) as response:
            async for part in response.content.iter_any():
                heard(part)
        return
    async with http.http.stream("GET", url) as response:
        async for part in response.aiter_bytes():
            heard(part)
