"""One class for each code of the core, all under `KeyswapError`.

The class of the code `set_revoked` is `SetRevokedError`, and so on. A test holds this page against the
core's list.
"""

from __future__ import annotations

import builtins
from typing import ClassVar


class KeyswapError(Exception):
    """Anything that went wrong. Its text says what to do, and never holds key material."""

    code: str = "unknown"
    """The stable name of the kind of error, the same in every language."""
    status: int | None
    """The HTTP status that caused it, where there was one."""
    retry_after: float | None
    """How many seconds the source asked to be left alone, where it said so."""

    by_code: ClassVar[dict[str, type[KeyswapError]]] = {}
    """The class of each code."""

    def __init__(
        self, message: str = "", *, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    def __init_subclass__(cls, code: str = "", **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if code:
            cls.code = code
            KeyswapError.by_code[code] = cls

    def __reduce__(self) -> tuple[object, ...]:
        return _restore, (type(self), self.args, self.__dict__)


class BootstrapRejectedError(KeyswapError, code="bootstrap_rejected"):
    """The endpoint rejected the bootstrap credential (401): set KEYSWAP_BOOTSTRAP, or pass another one."""


class ForbiddenError(KeyswapError, code="forbidden"):
    """The endpoint refused this identity (403): check what the bootstrap credential may read."""


class UnknownSetError(KeyswapError, code="unknown_set"):
    """The endpoint does not know the set (404): check the last part of the URL."""


class SetRevokedError(KeyswapError, code="set_revoked"):
    """The provider revoked the whole set: nothing may be used until it publishes a new generation."""


class UnavailableError(KeyswapError, code="unavailable"):
    """The source could not be reached, or cannot answer now. It is tried again by itself."""


class ThrottledError(KeyswapError, code="throttled"):
    """The source asked for fewer requests (429). It is tried again when it said."""


class TimeoutError(KeyswapError, builtins.TimeoutError, code="timeout"):
    """The source took longer than the fetch timeout, or a call longer than its own."""


class MalformedError(KeyswapError, code="malformed"):
    """The source answered with no well-formed set. The set that is held stays in use."""


class OlderGenerationError(KeyswapError, code="older_generation"):
    """The answer has a lower generation than the set that is held: a rollback is a new generation."""


class SignatureInvalidError(KeyswapError, code="signature_invalid"):
    """The answer is not signed by the pinned key. The set that is held stays in use."""


class SourceFailedError(KeyswapError, code="source_failed"):
    """The program's own source raised, or returned nothing of use. What is held stays in use."""


class ExpiredError(KeyswapError, code="expired"):
    """Every credential that is held has ended, and no newer one could be fetched."""


class NotReadyError(KeyswapError, code="not_ready"):
    """No set has been fetched yet: wait with `ready()` or `aready()`."""


class ClosedError(KeyswapError, RuntimeError, code="closed"):
    """The handle, the client or the attempt was closed, or the interpreter is ending."""


class OriginNotAllowedError(KeyswapError, code="origin_not_allowed"):
    """The request goes to an origin that is not allowed: add it to `allowed_origins` if keys may go there."""


class InsecureUrlError(KeyswapError, code="insecure_url"):
    """The URL is plain http to another machine: use https."""


class InvalidConfigError(KeyswapError, ValueError, code="invalid_config"):
    """Something that the program passed is not valid: a URL, a header name, a policy."""


class MissingScopeError(KeyswapError, code="missing_scope"):
    """The request needs scopes that the set does not have."""


class SchemeFailedError(KeyswapError, code="scheme_failed"):
    """The credential cannot be put on the request: it lacks material, or names an unknown scheme."""


class TransportError(KeyswapError, code="transport"):
    """The API could not be reached, or the connection broke."""


class StatusError(KeyswapError, code="status"):
    """The API answered with an error status, and the program asked for that to be an error."""


class BodyError(KeyswapError, code="body"):
    """The body of the response could not be read."""


def from_core(
    code: str, message: str, status: int | None, retry_after: float | None
) -> KeyswapError:
    """The exception for an error of the core."""
    kind = KeyswapError.by_code.get(code, KeyswapError)
    error = kind(message, status=status, retry_after=retry_after)
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
