"""Calls the functions that programs pass as sources, and for bootstrap credentials.

A function that blocks runs in a daemon thread of its own, never on the program's event loop. An
asynchronous one runs on the event loop that was running when the handle was made; when there was none,
when it has ended, or when a call that waits for it holds it up, on a private one that lives in a daemon thread.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timezone
from typing import Any, cast

from . import _native
from ._bridge import hub_of_this_thread
from ._error_types import MalformedError

# No document of the protocol is deeper; one that holds itself would not end.
_MAX_DEPTH = 8
# The fields that an error may name. Where names and values are mixed up, any other name is a secret.
_FIELDS = frozenset(
    """protocol set generation lineage current previous next revoked server_time refresh_after stale_ok_until
    splay_seconds audience levels scopes id material key secret passphrase version scheme params header
    created_at not_before activate_at expires_at grace_expires_at""".split()
)

_private: asyncio.AbstractEventLoop | None = None


def begin(
    function: Callable[[], Any],
    answer: _native.Answer,
    home: asyncio.AbstractEventLoop | None,
    is_source: bool,
) -> Any:
    """Starts a call. Returns what cancels it, or None if nothing can."""
    returned = _settles(answer) if is_source else answer.returned
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)
    ):
        return _on_loop(function, answer, returned, home)
    _start_thread("keyswap-source", _in_thread, function, answer, returned, home)
    return None


def _start_thread(name: str, work: Callable[..., Any], *args: Any) -> None:
    start = _unpatched("start_new_thread")
    if start is None:
        threading.Thread(target=work, args=args, name=name, daemon=True).start()
        return

    def run() -> None:
        try:
            work(*args)
        finally:
            # What the function did with sockets and sleeps made gevent's loop of this thread.
            hub: Any = hub_of_this_thread()
            if hub is not None:
                hub.destroy(destroy_loop=True)

    start(run, ())


def _unpatched(name: str) -> Any:
    """What gevent has put another in place of: its threads are greenlets of the thread that starts them, and these
    here are started by one that is not gevent's. None where it has not."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None or not monkey.is_module_patched("threading"):
        return None
    return monkey.get_original("_thread", name)


def _lock() -> Any:
    return (_unpatched("allocate_lock") or threading.Lock)()


def _settles(answer: _native.Answer) -> Callable[[Any], None]:
    def returned(value: Any) -> None:
        try:
            text = document(value)
        except MalformedError as error:
            answer.malformed(str(error))
        else:
            answer.returned(text)

    return returned


def _in_thread(
    function: Callable[[], Any],
    answer: _native.Answer,
    returned: Callable[[Any], None],
    home: asyncio.AbstractEventLoop | None,
) -> None:
    try:
        value = function()
    except BaseException as error:  # whatever a thread may end with is an answer here
        answer.raised(error)
    else:
        if inspect.isawaitable(value):
            # A function that is not declared as asynchronous, and is: a lambda around one, say.
            _on_loop(lambda: value, answer, returned, home, is_once=True)
        else:
            returned(value)


class _Call:
    """An asynchronous function on the event loop of its handle."""

    def __init__(
        self,
        function: Callable[[], Awaitable[Any]],
        answer: _native.Answer,
        returned: Callable[[Any], None],
        home: asyncio.AbstractEventLoop,
        is_once: bool,
    ) -> None:
        self.what = function, answer, returned
        self.home, self.is_once = home, is_once
        self.has_begun = self.is_moved = False


_at_home: set[_Call] = set()
"""Those that have not ended."""


def run_elsewhere(home: asyncio.AbstractEventLoop) -> None:
    """Calls that were to run on a loop which waits for them run on the private one. What has begun begins again
    there, and what ends first counts."""
    for call in [each for each in _at_home.copy() if each.home is home]:
        if call.has_begun and call.is_once:
            continue
        _at_home.discard(call)
        call.is_moved = True
        _on_loop(*call.what, None)


def _on_loop(
    function: Callable[[], Awaitable[Any]],
    answer: _native.Answer,
    returned: Callable[[Any], None],
    home: asyncio.AbstractEventLoop | None,
    is_once: bool = False,
) -> Any:
    at_home = None if home is None else _Call(function, answer, returned, home, is_once)

    async def call() -> None:
        if at_home is not None:
            if at_home.is_moved:
                return
            at_home.has_begun = True
        try:
            value = await function()
        except BaseException as error:
            answer.raised(error)
            if not isinstance(error, Exception):
                raise
        else:
            returned(value)

    if at_home is not None and at_home.home.is_running():
        running = call()
        _at_home.add(at_home)
        try:
            future = asyncio.run_coroutine_threadsafe(running, at_home.home)
        except RuntimeError:  # it was closed just now
            _at_home.discard(at_home)
            running.close()
        else:
            future.add_done_callback(lambda _: _at_home.discard(at_home))
            return future
    return asyncio.run_coroutine_threadsafe(call(), _private_loop())


def document(value: object) -> str:
    """The set that a source returned, as JSON. The core reads and judges it, shorter forms included.

    Raises MalformedError, which quotes nothing of the mapping.
    """
    if not isinstance(value, Mapping):
        raise MalformedError(
            'a source must return a mapping such as {"current": {"id": ..., "key": ...}}, '
            f"not {type(value).__name__}"
        )
    try:
        plain = _plain(cast("Mapping[object, object]", value), "the document", 0)
        text = json.dumps(plain, ensure_ascii=False)
        text.encode()
    except MalformedError:
        raise
    except UnicodeEncodeError:
        raise _odd("the document") from None
    except Exception:
        raise MalformedError("the mapping that the source returned cannot be read") from None
    return text


def _plain(value: object, field: str, depth: int) -> object:
    if depth > _MAX_DEPTH or (isinstance(value, float) and not math.isfinite(value)):
        raise _odd(field)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, datetime):
        return _time(value, field)
    if isinstance(value, Mapping):
        plain: dict[str, object] = {}
        for name, item in cast("Mapping[object, object]", value).items():
            if not isinstance(name, str):
                raise MalformedError("the names of fields must be strings")
            is_known = name in _FIELDS and field != "material"
            plain[name] = _plain(item, name if is_known else field, depth + 1)
        return plain
    try:
        items = list(cast("Any", value))
    except Exception:
        raise _odd(field) from None
    return [_plain(item, field, depth + 1) for item in items]


def _time(value: datetime, field: str) -> str:
    # `datetime.max` and `datetime.min` have no zone: the core knows what both ends of the calendar mean.
    if value.year in (1, 9999):
        return value.isoformat()
    if value.tzinfo is None:
        raise MalformedError(f"{field} must be a datetime with a time zone")
    return value.astimezone(timezone.utc).isoformat()


def _odd(field: str) -> MalformedError:
    return MalformedError(f"{field} must be what JSON can hold")


def _private_loop() -> asyncio.AbstractEventLoop:
    global _private
    with _making:
        if _private is None:
            made, is_made = list[asyncio.AbstractEventLoop](), _lock()
            is_made.acquire()

            def run() -> None:
                # Here, because gevent's selector belongs to the thread that makes it.
                loop = asyncio.new_event_loop()
                made.append(loop)
                is_made.release()
                loop.run_forever()

            _start_thread("keyswap-loop", run)
            is_made.acquire()
            _private = made[0]
        return _private


def _forget() -> None:
    """In a forked child neither the loop's thread nor the owner of the lock is there."""
    global _private, _making
    _at_home.clear()
    _private = None
    _making = _lock()


_making = _lock()
if hasattr(os, "register_at_fork"):
    cast(Any, os).register_at_fork(after_in_child=_forget)
