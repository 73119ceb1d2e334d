"""From the native module's work to coroutines, of asyncio and of trio, and to greenlets."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, ParamSpec

from . import _native

P = ParamSpec("P")


async def run(
    work: Callable[P, _native.Work],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Any:
    """Starts native work and waits for it. A caller that is cancelled takes the work along."""
    future: Any = _TrioFuture() if in_trio() else asyncio.get_running_loop().create_future()
    job = work(*args, **kwargs).start(future)
    try:
        return await future
    except BaseException:
        job.abort()
        raise


def complete(completions: list[tuple[asyncio.Future[Any], bool, Any]]) -> None:
    """Runs on a loop: completes each future that was not cancelled meanwhile."""
    for future, is_error, value in completions:
        if not future.done():
            (future.set_exception if is_error else future.set_result)(value)


def in_trio() -> bool:
    """Whether a task of trio runs. trio is not imported for it: then none can run."""
    trio = sys.modules.get("trio")
    return trio is not None and trio.lowlevel.in_trio_task()


class _TrioFuture:
    """What native work needs of an `asyncio.Future`, in trio."""

    def __init__(self) -> None:
        trio: Any = sys.modules["trio"]
        self._token = trio.lowlevel.current_trio_token()
        self._is_done = trio.Event()
        self._value: Any = None
        self._error: BaseException | None = None

    def get_loop(self) -> _TrioFuture:
        return self

    def call_soon_threadsafe(self, call: Callable[..., Any], *args: Any) -> None:
        # A loop that has ended raises, and nobody is left who waits.
        self._token.run_sync_soon(call, *args)

    def done(self) -> bool:
        return bool(self._is_done.is_set())

    def set_result(self, value: Any) -> None:
        self._value = value
        self._is_done.set()

    def set_exception(self, error: BaseException) -> None:
        self._error = error
        self._is_done.set()

    def __await__(self) -> Any:
        yield from self._is_done.wait().__await__()
        if self._error is not None:
            raise self._error
        return self._value


def greenlet_future() -> _GreenletFuture | None:
    """What a greenlet waits with. None in a thread without gevent's hub, and in the hub itself, which cannot wait."""
    hub: Any = hub_of_this_thread()
    if hub is None:
        return None
    gevent: Any = sys.modules["gevent.hub"]
    return None if gevent.getcurrent() is hub else _GreenletFuture(gevent.Waiter(hub), hub)


def hub_of_this_thread() -> object:
    """gevent's hub, if it has made one here."""
    local: Any = sys.modules.get("gevent._hub_local")
    return None if local is None else local.get_hub_if_exists()


class _GreenletFuture:
    """What native work needs of an `asyncio.Future`, in gevent: other greenlets run meanwhile."""

    def __init__(self, waiter: Any, hub: Any) -> None:
        self._waiter = waiter
        self._complete: Callable[[], Any] | None = None
        self._value: Any = None
        self._error: BaseException | None = None
        # Started before the work is: what is sent to a watcher that has not started is lost.
        self._watcher = hub.loop.async_()
        self._watcher.start(waiter.switch, None)

    def get_loop(self) -> _GreenletFuture:
        return self

    def call_soon_threadsafe(self, call: Callable[..., Any], *args: Any) -> None:
        self._complete = lambda: call(*args)
        self._watcher.send()

    def done(self) -> bool:
        return False

    def set_result(self, value: Any) -> None:
        self._value = value

    def set_exception(self, error: BaseException) -> None:
        self._error = error

    def wait(self) -> Any:
        try:
            self._waiter.get()
        finally:
            self._watcher.stop()
            self._watcher.close()
        assert self._complete is not None
        self._complete()
        if self._error is not None:
            raise self._error
        return self._value
