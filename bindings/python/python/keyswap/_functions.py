"""Calls the functions that programs pass as sources.

A function that blocks runs in a daemon thread of its own, never on the program's event loop. An
asynchronous one runs on the event loop that was running when the handle was made; when there was none,
or it has ended, on a private one that lives in a daemon thread.
"""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any, cast

from . import _native

_private: asyncio.AbstractEventLoop | None = None
_making = threading.Lock()


def begin(
    function: Callable[[], Any],
    answer: _native.Answer,
    home: asyncio.AbstractEventLoop | None,
) -> Any:
    """Starts a call. Returns what cancels it, or None if nothing can."""
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)
    ):
        return _on_loop(function, answer, home)
    call = threading.Thread(
        target=_in_thread, args=(function, answer, home), name="keyswap-source", daemon=True
    )
    call.start()
    return None


def _in_thread(
    function: Callable[[], Any],
    answer: _native.Answer,
    home: asyncio.AbstractEventLoop | None,
) -> None:
    try:
        value = function()
    except BaseException as error:  # whatever a thread may end with is an answer here
        answer.raised(error)
    else:
        if inspect.isawaitable(value):
            # A function that is not declared as asynchronous, and is: a lambda around one, say.
            _on_loop(lambda: value, answer, home)
        else:
            answer.returned(value)


def _on_loop(
    function: Callable[[], Awaitable[Any]],
    answer: _native.Answer,
    home: asyncio.AbstractEventLoop | None,
) -> Any:
    async def call() -> None:
        try:
            value = await function()
        except BaseException as error:
            answer.raised(error)
            if not isinstance(error, Exception):
                raise
        else:
            answer.returned(value)

    if home is not None and home.is_running():
        running = call()
        try:
            return asyncio.run_coroutine_threadsafe(running, home)
        except RuntimeError:  # it was closed just now
            running.close()
    return asyncio.run_coroutine_threadsafe(call(), _private_loop())


def _private_loop() -> asyncio.AbstractEventLoop:
    global _private
    with _making:
        if _private is None:
            _private = asyncio.new_event_loop()
            runs = threading.Thread(
                target=_private.run_forever, name="keyswap-loop", daemon=True
            )
            runs.start()
        return _private


def _forget() -> None:
    """In a forked child neither the loop's thread nor the owner of the lock is there."""
    global _private, _making
    _private = None
    _making = threading.Lock()


if hasattr(os, "register_at_fork"):
    cast(Any, os).register_at_fork(after_in_child=_forget)
