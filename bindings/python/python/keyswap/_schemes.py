"""How credentials go onto requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Union, cast

from . import _native

Pairs = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A request that is about to be sent, as a signature sees it."""

    method: str
    """The method."""
    url: str = field(repr=False)
    """The whole URL."""
    headers: dict[str, str] = field(repr=False)
    """The headers, with names in lower case, without those that the signature adds."""
    body: bytes | None = field(repr=False)
    """The bytes of the body: empty if there is none, and None if it is a stream."""
    now: datetime = field(repr=False)
    """The time, with its zone, for signatures that carry one."""


Signature = Union[Mapping[str, str], "tuple[Mapping[str, str], Mapping[str, str]]"]


class Header(_native.Scheme):
    """The material named `key`, as the value of this header."""

    __slots__ = ()

    def __new__(cls, name: str) -> Header:
        return cast(Header, super().__new__(cls, _options("header", name)))


class Bearer(_native.Scheme):
    """`Authorization: Bearer`, with the material named `key`."""

    __slots__ = ()

    def __new__(cls) -> Bearer:
        return cast(Bearer, super().__new__(cls, _options("bearer", None)))


class Basic(_native.Scheme):
    """`Authorization: Basic`, with the material named `key` as user and `secret` as password."""

    __slots__ = ()

    def __new__(cls) -> Basic:
        return cast(Basic, super().__new__(cls, _options("basic", None)))


class Query(_native.Scheme):
    """The material named `key`, as this query parameter. It never shows in an error or a URL that this
    package returns; servers and proxies may log it all the same."""

    __slots__ = ()

    def __new__(cls, name: str) -> Query:
        return cast(Query, super().__new__(cls, _options("query", name)))


class Sign(_native.Scheme):
    """A signature of the program's own, for APIs that want each request signed: a function of the credential
    and the request (an `Unsigned`) that returns the headers to add, as a mapping, or a pair of mappings: the
    headers, and parameters of the query.

    It is called before each send, on any thread, and must not wait. What it raises counts as a rejection of
    the credential, and the request goes on with the next one; if there is none, it fails as SchemeFailedError,
    before anything is sent.
    """

    __slots__ = ()

    def __new__(cls, function: Callable[[_native.Credential, Unsigned], Signature]) -> Sign:
        if not callable(function):
            raise TypeError("a signature is a function of the credential and the request")
        return cast(Sign, super().__new__(cls, function))


def _options(kind: str, name: str | None) -> str:
    return json.dumps({"kind": kind, "name": name})


def signed(
    function: Callable[[_native.Credential, Unsigned], Any],
    credential: _native.Credential,
    request: tuple[str, str, dict[str, str], bytes | None, int],
) -> tuple[Pairs, Pairs] | None:
    """Asks a signature for the headers and the parameters of the query. None if it returned something else."""
    method, url, headers, body, now_ms = request
    now = datetime.fromtimestamp(now_ms / 1000, timezone.utc)
    answer = function(credential, Unsigned(method, url, headers, body, now))
    both: list[Any] = [*answer] if isinstance(answer, tuple) else [answer, {}]
    if len(both) != 2 or not all(isinstance(each, Mapping) for each in both):
        return None
    return list(both[0].items()), list(both[1].items())
