"""One source in the place of another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from . import _native
from ._sources import Endpoint


class FirstOf(_native.Source):
    """The first of several sources that works: a store, with a file as the last resort, say.

    A source is asked only where those before it fail, and nothing that they brought is of use any more: at the start, when all
    that is held has ended, or when the API rejects it. A store that is down for a minute never makes a program go back
    to an older key in a file. While a later one stands in, those before it are asked every 30 s.

        KeySwap(FirstOf("https://keys.example.com/keyswap/v1/sets/trading", File("/var/lib/bot/trading.json")))

    Raises InvalidConfigError without a source.
    """

    __slots__ = ()

    def __new__(
        cls,
        *sources: str
        | _native.Source
        | Callable[[], Mapping[str, Any]]
        | Callable[[], Awaitable[Mapping[str, Any]]],
    ) -> FirstOf:
        """The sources in the order in which they are asked, each as `KeySwap` takes it."""
        made: list[_native.Source] = []
        for source in sources:
            if isinstance(source, str):
                source = Endpoint(source)
            elif callable(source):
                source = _native.Source("function", "{}", {"function": source})
            made.append(source)
        return cast(FirstOf, super().__new__(cls, "first_of", "{}", {"sources": made}))
