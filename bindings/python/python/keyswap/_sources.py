"""Where sets come from."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Union, cast

from . import _native
from ._errors import InvalidConfigError

Bootstrap = Union[str, Callable[[], str], Callable[[], Awaitable[str]], bool, None]
Path = Union[str, "os.PathLike[str]"]


class Endpoint(_native.Source):
    """A rotation endpoint that speaks `keyswap/1`, at the URL of the set itself.

    The bootstrap credential comes from the environment variable KEYSWAP_BOOTSTRAP, unless `bootstrap` is
    a string, a function that returns one (also an asynchronous one), or False for none at all, or
    `bootstrap_file` names a file. `timeout` is in seconds, 10 by default. Push is followed where the set
    offers it, unless `push` is False; after `heartbeat` seconds of silence, 45 by default, it counts as
    lost. With `signed_by`, the provider's public key, answers that it did not sign are refused. `set_name`
    says which set this is, where the last part of the URL is not its name: an answer for another one is
    refused. `root_certificates` (PEM) are trusted instead of the machine's; `client_certificate` (PEM: a
    chain and its key) is shown to the endpoint. `root_certificates_file` and `client_certificate_file` name
    files with the same, which are read again when they change: certificates are renewed without a restart.
    `app` is what the provider's operators see this program as.
    `regions` are further endpoints that show the same set, asked in order when this one fails.
    `plain_http_allowed` allows plain HTTP to other machines.

    Raises InvalidConfigError for a URL that is none, and for certificates that cannot be read. Those of a
    file are told at the first fetch.
    """

    __slots__ = ()

    def __new__(
        cls,
        url: str,
        *,
        bootstrap: Bootstrap = None,
        bootstrap_file: Path | None = None,
        timeout: float | None = None,
        push: bool = True,
        heartbeat: float | None = None,
        signed_by: str | None = None,
        set_name: str | None = None,
        root_certificates: bytes | None = None,
        root_certificates_file: Path | None = None,
        client_certificate: bytes | None = None,
        client_certificate_file: Path | None = None,
        app: str | None = None,
        regions: Sequence[Endpoint] = (),
        plain_http_allowed: bool = False,
    ) -> Endpoint:
        called = bootstrap if callable(bootstrap) else None
        if not (called or bootstrap is None or bootstrap is False or isinstance(bootstrap, str)):
            raise InvalidConfigError("bootstrap must be a string, a function, or False")
        options = {
            "url": url,
            "bootstrap": bootstrap if isinstance(bootstrap, str) else None,
            "bootstrap_file": _path(bootstrap_file),
            "no_bootstrap": bootstrap is False,
            "timeout": timeout,
            "push": push,
            "heartbeat": heartbeat,
            "signed_by": signed_by,
            "set_name": set_name,
            "root_certificates": _pem(root_certificates),
            "root_certificates_file": _path(root_certificates_file),
            "client_certificate": _pem(client_certificate),
            "client_certificate_file": _path(client_certificate_file),
            "app": app,
            "plain_http_allowed": plain_http_allowed,
        }
        made = super().__new__(cls, "endpoint", to_json(options, "option"), called, list(regions))
        return cast(Endpoint, made)


class File(_native.Source):
    """A file or a folder that something else keeps fresh: a key, a folder of pieces, or a document."""

    __slots__ = ()

    def __new__(cls, path: Path) -> File:
        return cast(File, super().__new__(cls, "file", to_json({"path": _path(path)}, "option")))


class Env(_native.Source):
    """A key in an environment variable, for development. It never rotates."""

    __slots__ = ()

    def __new__(cls, variable: str, *, id: str | None = None) -> Env:
        options = to_json({"variable": variable, "id": id}, "option")
        return cast(Env, super().__new__(cls, "env", options))


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


def _path(path: Path | None) -> str | None:
    return None if path is None else os.fsdecode(path)


def _pem(pem: bytes | None) -> str | None:
    try:
        return None if pem is None else pem.decode()
    except UnicodeDecodeError:
        raise InvalidConfigError("certificates must be PEM") from None
