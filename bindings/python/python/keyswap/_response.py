"""What an API answered."""

from __future__ import annotations

import codecs
import json as _json
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from datetime import timedelta
from http import HTTPStatus
from time import perf_counter
from traceback import clear_frames
from typing import Any

from . import _native
from ._bridge import run


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

    def multi_items(self) -> list[tuple[str, str]]:
        """Each name with each of its values, as they came."""
        return list(self._pairs)

    def __repr__(self) -> str:
        return f"<keyswap.Headers {', '.join(self._known)}>"


class Response:
    """What the API answered: whole, or on its way if it comes from `stream`."""

    __slots__ = ("_native", "_headers", "_content", "_encoding", "_took")

    def __init__(self, native: _native.Reply, began: float) -> None:
        self._native = native
        self._headers: Headers | None = None
        self._content: bytes | None = native.content
        self._encoding: str | None = None
        self._took = perf_counter() - began

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
    def elapsed(self) -> timedelta:
        """How long it took from the call until all of it was there, or its head, if it comes from `stream`: with each resend
        and each wait for a fresh credential."""
        return timedelta(seconds=self._took)

    @property
    def is_informational(self) -> bool:
        """Whether the status is from 100 to 199."""
        return 100 <= self._native.status < 200

    @property
    def is_success(self) -> bool:
        """Whether the status is from 200 to 299."""
        return 200 <= self._native.status < 300

    @property
    def is_redirect(self) -> bool:
        """Whether the status is from 300 to 399."""
        return 300 <= self._native.status < 400

    @property
    def has_redirect_location(self) -> bool:
        """Whether it leads elsewhere: the client follows only so many redirects, and none that shows a key."""
        return self._native.status in (301, 302, 303, 307, 308) and "location" in self.headers

    @property
    def is_client_error(self) -> bool:
        """Whether the status is from 400 to 499."""
        return 400 <= self._native.status < 500

    @property
    def is_server_error(self) -> bool:
        """Whether the status is from 500 to 599."""
        return 500 <= self._native.status < 600

    @property
    def is_error(self) -> bool:
        """Whether the status is from 400 to 599."""
        return 400 <= self._native.status < 600

    @property
    def reason_phrase(self) -> str:
        """What the status is called; the empty string for one that is not known."""
        try:
            return HTTPStatus(self._native.status).phrase
        except ValueError:
            return ""

    @property
    def charset_encoding(self) -> str | None:
        """The charset that the response names; None if it names none."""
        kind = self.headers.get("content-type", "")
        return kind.partition("charset=")[2].partition(";")[0].strip(" \"'") or None

    @property
    def encoding(self) -> str:
        """The charset that the response names, else UTF-8. One that is set is used instead."""
        charset = self._encoding or self.charset_encoding or "utf-8"
        try:
            "".encode(charset)  # some codecs are not of text
        except LookupError:
            return "utf-8"
        return codecs.lookup(charset).name

    @encoding.setter
    def encoding(self, charset: str) -> None:
        self._encoding = charset

    @property
    def content(self) -> bytes:
        """The body. Of a streamed response, once it was read with `read` or `aread`."""
        if self._content is None:
            raise RuntimeError("the body is on its way: call read() or aread() first")
        return self._content

    @property
    def text(self) -> str:
        """The body as text, in the charset of `encoding`."""
        return self.content.decode(self.encoding, "replace")

    def json(self, **kwargs: Any) -> Any:
        """The body, from JSON. Raises ValueError if it is none, which quotes nothing of it: an API may have
        repeated the key in it."""
        try:
            return _json.loads(self.content, **kwargs)
        except _json.JSONDecodeError as error:
            error.doc = ""
            clear_frames(error.__traceback__)
            raise
        except UnicodeDecodeError:
            pass
        raise ValueError("the body is not JSON: it is not even text")

    @property
    def cause(self) -> BaseException | None:
        """Why no fresh credential was to be had, where the API rejected the one that there was and the request
        waited for another: the failure of the fetch."""
        return self._native.cause

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
        while (part := self._native._next().wait()) is not None:
            yield part

    async def aiter_bytes(self) -> AsyncIterator[bytes]:
        """`iter_bytes`, for an event loop."""
        if self._content is not None:
            yield self._content
            return
        while (part := await run(self._native._next)) is not None:
            yield part

    def iter_text(self) -> Iterator[str]:
        """`iter_bytes`, as text."""
        decoder = codecs.getincrementaldecoder(self.encoding)("replace")
        for part in self.iter_bytes():
            yield decoder.decode(part)
        yield decoder.decode(b"", True)

    async def aiter_text(self) -> AsyncIterator[str]:
        """`iter_text`, for an event loop."""
        decoder = codecs.getincrementaldecoder(self.encoding)("replace")
        async for part in self.aiter_bytes():
            yield decoder.decode(part)
        yield decoder.decode(b"", True)

    def iter_lines(self) -> Iterator[str]:
        """The lines of the body as they arrive, without their ends."""
        lines = _Lines()
        for part in self.iter_text():
            yield from lines.ended_by(part)
        yield from lines.left()

    async def aiter_lines(self) -> AsyncIterator[str]:
        """`iter_lines`, for an event loop."""
        lines = _Lines()
        async for part in self.aiter_text():
            for line in lines.ended_by(part):
                yield line
        for line in lines.left():
            yield line

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


class _Lines:
    """Lines, of a text that comes in parts."""

    def __init__(self) -> None:
        self._begun: list[str] = []

    def ended_by(self, part: str) -> list[str]:
        """The lines that end in this part. A return at its end may be the first half of an end."""
        if not part.endswith("\r") and part.splitlines() == [part]:
            self._begun.append(part)
            return []
        lines = ("".join(self._begun) + part).splitlines(keepends=True)
        is_whole = bool(lines) and not lines[-1].endswith("\r") and lines[-1].splitlines() != [lines[-1]]
        self._begun = [] if is_whole else lines[-1:]
        return [line.splitlines()[0] for line in (lines if is_whole else lines[:-1])]

    def left(self) -> list[str]:
        return "".join(self._begun).splitlines()
