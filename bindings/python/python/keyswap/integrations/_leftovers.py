"""What a send leaves behind: nothing that holds its credential.

A library that is handed a request with a credential keeps pieces of it: its exceptions name the request, and
their tracebacks hold every local variable on the way down to the socket, which error reporters print.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, Protocol


class Headers(Protocol):
    """A library's mapping of headers."""

    def pop(self, name: str, default: Any, /) -> Any: ...


def strip(headers: Headers, names: tuple[str, ...]) -> None:
    """Takes the credential off what the library may have kept."""
    for name in names:
        headers.pop(name, None)


def scrub(error: BaseException, sent: object, request: object) -> None:
    """Before an error of the library goes on to the program: it names the request that the program knows,
    and the frames below remember no local variable. Where it was raised stays readable."""
    for each in _chain(error):
        traceback.clear_frames(each.__traceback__)
        # httpx's errors raise where they name no request.
        with suppress(Exception):
            named: Any = each
            if named.request is sent:
                named.request = request


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it came from."""
    seen: set[int] = set()
    ahead: list[Any] = [error]
    while ahead:
        each = ahead.pop()
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            # Some libraries carry what happened as an argument, or as the `reason`.
            ahead += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
            ahead += getattr(each, "exceptions", ())
