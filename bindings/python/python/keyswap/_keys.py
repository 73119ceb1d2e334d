"""The running handle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, Union, cast

from . import _native
from ._bridge import run
from ._error_types import InvalidConfigError, NotReadyError
from ._inputs import Bootstrap, Path, to_json
from ._policy import Policy
from ._records import Event
from ._sources import Endpoint

Document = Mapping[str, Any]
Source = Union[str, _native.Source, Callable[[], Document], Callable[[], Awaitable[Document]]]
"""Where sets come from: the URL of a rotation endpoint, a source, or a function that returns a mapping."""


class KeySwap(_native.KeySwap):
    """Follows one source and always holds a fresh credential.

        keys = keyswap.KeySwap("https://keys.example.com/keyswap/v1/sets/trading")
        keys.ready(timeout=10)
        keys.current.reveal()

    Making one never waits: it starts in the background. It may be shared by threads and event loops, and
    a forked child may use it: it begins with the credential that its parent held, and fetches by itself.

    `source` is the URL of a rotation endpoint, an `Endpoint`, a `File`, an `Env`, or a function that
    returns a mapping such as `{"current": {"id": "k2", "key": "..."}}`. A function that blocks runs in a
    thread of its own; an asynchronous one on the event loop that runs when the handle is made, else on a
    private one. One that raises, hangs, or returns nothing of use is a failed fetch, which is told and
    tried again; the credential that is held stays in use.

    `bootstrap` (a string, a function that returns one, or False for none) and `bootstrap_file` are what a
    URL is fetched with; by default it is the environment variable KEYSWAP_BOOTSTRAP. The other options:

    - `policy`: The numbers that the engine works with; those that are not named keep their
      defaults.
    - `name`: What logs and metrics call the set, in a program that follows several.
    - `mints`: That each call of a function makes a new credential, such as a token: it is then
      called by the life of what it made, and not polled. Only for a source that is a function.

    Raises InvalidConfigError for what is not valid, and TypeError for what is no source.
    """

    __slots__ = ()

    def __new__(
        cls,
        source: Source,
        *,
        bootstrap: Bootstrap = None,
        bootstrap_file: Path | None = None,
        policy: Policy | Mapping[str, Any] | None = None,
        name: str | None = None,
        mints: bool = False,
    ) -> KeySwap:
        if isinstance(source, str):
            source = Endpoint(source, bootstrap=bootstrap, bootstrap_file=bootstrap_file)
        elif bootstrap is not None or bootstrap_file is not None:
            raise InvalidConfigError("bootstrap is for a URL: pass it to the source itself")
        if not isinstance(policy, (Mapping, type(None))):
            raise InvalidConfigError("policy must be a mapping of names to numbers")
        numbers = None if policy is None else to_json(policy, "policy")
        return cast(KeySwap, super().__new__(cls, source, numbers, name, mints))

    def ready(self, timeout: float | None = None) -> None:
        """Waits until a credential is usable, or the fetch that runs has failed.

        Raises the error of that fetch, or TimeoutError after `timeout` seconds.
        """
        self._ready(timeout).wait()

    def refresh(self, timeout: float | None = None) -> None:
        """Fetches now, or as soon as the floor between two fetches allows, and waits for the outcome.

        Raises the error of that fetch, or TimeoutError after `timeout` seconds. What was held is still held.
        """
        self._refresh(timeout).wait()

    def shutdown(self) -> None:
        """`close`, and waits until the provider was told that this program uses none of its credentials any
        more, if it asks for that: for a second at most."""
        self._shutdown().wait()

    async def aready(self, timeout: float | None = None) -> None:
        """`ready`, for an event loop."""
        await run(self._ready, timeout)

    async def arefresh(self, timeout: float | None = None) -> None:
        """`refresh`, for an event loop."""
        await run(self._refresh, timeout)

    async def akey(self) -> str:
        """The material named `key` of the credential in use, for libraries that take such a function.

        Before the first set it waits, for at most 10 s; afterwards it never does. Raises as `current` does.
        """
        try:
            return self.current.reveal()
        except NotReadyError:
            await self.aready(10.0)
            return self.current.reveal()

    def events(self) -> Events:
        """What happens from now on, to be iterated over with `for` or `async for`."""
        return Events(self._events())

    async def aclose(self) -> None:
        """`close`, for an event loop. It does not wait."""
        self.close()

    async def ashutdown(self) -> None:
        """`shutdown`, for an event loop."""
        await run(self._shutdown)

    def __enter__(self) -> KeySwap:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> KeySwap:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Events:
    """The events of one handle. Bounded: an observer that is too slow gets an event named `lagged`.

    Iterating ends when the handle is closed or gone; this does not keep it alive.
    """

    __slots__ = ("_native",)

    def __init__(self, native: _native.Events) -> None:
        self._native = native

    def next(self, timeout: float | None = None) -> Event | None:
        """Waits for the next event. None once the handle is closed or gone.

        Raises TimeoutError after `timeout` seconds.
        """
        return cast("Event | None", self._native._next(timeout).wait())

    async def anext(self, timeout: float | None = None) -> Event | None:
        """`next`, for an event loop."""
        return cast("Event | None", await run(self._native._next, timeout))

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        event = await self.anext()
        if event is None:
            raise StopAsyncIteration
        return event

    def __repr__(self) -> str:
        return "<keyswap.Events>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a stream of events cannot be pickled or copied")
