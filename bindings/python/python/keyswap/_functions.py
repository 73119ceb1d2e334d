"""Calls the functions that programs pass as sources, and for bootstrap credentials.

A function that blocks runs in a daemon thread of its own, never on the program's event loop. An
asynchronous one runs on the event loop that was running when the handle was made; when there was none,
or it has ended, on a private one that lives in a daemon thread.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import math
import os
import threading
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timezone
from typing import Any, cast

from . import _native
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
_making = threading.Lock()


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
    call = threading.Thread(
        target=_in_thread, args=(function, answer, returned, home), name="keyswap-source", daemon=True
    )
    call.start()
    return None


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
            _on_loop(lambda: value, answer, returned, home)
        else:
            returned(value)


def _on_loop(
    function: Callable[[], Awaitable[Any]],
    answer: _native.Answer,
    returned: Callable[[Any], None],
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
            returned(value)

    if home is not None and home.is_running():
        running = call()
        try:
            return asyncio.run_coroutine_threadsafe(running, home)
        except RuntimeError:  # it was closed just now
            running.close()
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
