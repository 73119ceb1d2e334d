"""What requests of the clients take."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal, TypedDict, Union

Verdict = Literal["accepted", "rejected", "throttled", "other", "need_body"]
Classifier = Callable[[int, "dict[str, str]", "bytes | None"], Verdict]
Params = Union[Mapping[str, Any], Iterable["tuple[str, Any]"]]
HeaderInput = Union[Mapping[str, str], Iterable["tuple[str, str]"]]
Content = Union[bytes, bytearray, memoryview, str, Iterable[bytes]]
AsyncContent = Union[Content, AsyncIterable[bytes]]


class Unset:
    """The type of what was not passed, where None means something."""

    def __repr__(self) -> str:
        return "..."


UNSET: Final = Unset()


class _Options(TypedDict, total=False):
    params: Params | None
    """Parameters that are added to the query."""
    headers: HeaderInput | None
    """Headers of this request."""
    json: Any
    """A body, as JSON."""
    timeout: float | None | Unset
    """In seconds, in place of the client's."""
    keys: str | None
    """The name of the keys that this request is sent with."""
    scopes: Sequence[str]
    """What the credential must be allowed to do."""
    resend: bool
    """Whether it may be sent again."""


class RequestOptions(_Options, total=False):
    """The options of a request, as `Client.request` describes them."""

    content: Content | None
    """A body."""


class AsyncRequestOptions(_Options, total=False):
    """`RequestOptions`, of `AsyncClient`."""

    content: AsyncContent | None
    """A body."""
