"""The base of all errors. The class of the code `set_revoked` is `SetRevokedError`, and so on: they stand in
`_error_types`.
"""

from __future__ import annotations

from typing import ClassVar


class KeyswapError(Exception):
    """Anything that went wrong. Its text says what to do, and never holds key material."""

    code: str = "unknown"
    """The stable name of the kind of error, the same in every language."""
    status: int | None
    """The HTTP status that caused it, where there was one."""
    retry_after: float | None
    """How many seconds the source asked to be left alone, where it said so."""
    is_lasting: bool
    """Whether trying again soon is unlikely to help: somebody has to change something."""

    _by_code: ClassVar[dict[str, type[KeyswapError]]] = {}
    """The class of each code."""

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        retry_after: float | None = None,
        is_lasting: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.is_lasting = is_lasting

    def __init_subclass__(cls, code: str = "", **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if code:
            cls.code = code
            KeyswapError._by_code[code] = cls

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), self.args, self.__dict__)


def from_core(
    code: str, message: str, status: int | None, retry_after: float | None, is_lasting: bool
) -> KeyswapError:
    """The exception for an error of the core."""
    kind = KeyswapError._by_code.get(code, KeyswapError)
    error = kind(message, status=status, retry_after=retry_after, is_lasting=is_lasting)
    if kind is KeyswapError:
        error.code = code
    return error


def _restore(
    kind: type[KeyswapError], args: tuple[object, ...], fields: dict[str, object]
) -> KeyswapError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error
