"""What sources and policies are told, as the native module reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Union

from . import _native
from ._error_types import InvalidConfigError

Bootstrap = Union[
    str, Callable[[], str], Callable[[], Awaitable[str]], _native.KeySwap, bool, None
]
Path = Union[str, "os.PathLike[str]"]


def to_json(options: Mapping[str, Any], what: str) -> str:
    """Options as the native module reads them.

    Raises InvalidConfigError, which does not repeat what an option is: it may be a secret.
    """
    try:
        return json.dumps(dict(options), default=_number, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidConfigError(f"invalid {what}: {error}") from None


def _number(value: object) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"a number of seconds is wanted, not {type(value).__name__}")


def to_inputs(**given: object) -> dict[str, Any]:
    """What JSON cannot hold: functions, handles, and other sources."""
    return {name: value for name, value in given.items() if _is_input(value)}


def _is_input(value: object) -> bool:
    return callable(value) or (bool(value) and not isinstance(value, (str, bool)))


def to_text(name: str, value: object) -> str | None:
    """The text, where something else may stand as well."""
    if isinstance(value, str):
        return value
    if value is None or value is False or callable(value) or isinstance(value, _native.KeySwap):
        return None
    raise InvalidConfigError(f"{name} must be a string, a function, a KeySwap, or False")


def to_texts(name: str, values: Sequence[str]) -> list[str]:
    if isinstance(values, str):
        raise InvalidConfigError(f"{name} must be a list of strings")
    return list(values)


def to_map(name: str, values: Mapping[str, str] | None) -> dict[str, str]:
    try:
        return dict(values or {})
    except (TypeError, ValueError):
        raise InvalidConfigError(f"{name} must be a mapping of names to strings") from None


def to_path(path: Path | None) -> str | None:
    return None if path is None else os.fsdecode(path)


def to_pem(pem: bytes | None) -> str | None:
    try:
        return None if pem is None else pem.decode()
    except UnicodeDecodeError:
        raise InvalidConfigError("certificates must be PEM") from None
