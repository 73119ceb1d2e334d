"""Where sets come from."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Union, cast

from . import _native
from ._error_types import InvalidConfigError

Bootstrap = Union[str, Callable[[], str], Callable[[], Awaitable[str]], bool, None]
Path = Union[str, "os.PathLike[str]"]


class Endpoint(_native.Source):
    """A rotation endpoint that speaks `keyswap/1`, at the URL of the set itself.

    Raises InvalidConfigError for a URL that is none, and for certificates that cannot be read. Those of a
    file are told at the first fetch.
    """

    __slots__ = ()

    # generated: endpoint (by keyswap-generate: do not edit)
    def __new__(
        cls,
        url: str,
        *,
        bootstrap: str | Callable[[], str] | Callable[[], Awaitable[str]] | bool | None = None,
        bootstrap_file: str | os.PathLike[str] | None = None,
        timeout: float | None = None,
        push: bool = True,
        heartbeat: float | None = None,
        signed_by: str | None = None,
        set_name: str | None = None,
        root_certificates: bytes | None = None,
        root_certificates_file: str | os.PathLike[str] | None = None,
        client_certificate: bytes | None = None,
        client_certificate_file: str | os.PathLike[str] | None = None,
        app: str | None = None,
        plain_http_allowed: bool = False,
        regions: Sequence[Endpoint] = (),
    ) -> Endpoint:
        """A rotation endpoint that speaks `keyswap/1`.

        - `url`: The URL of the set itself, such as
          `https://keys.example.com/keyswap/v1/sets/trading`.
        - `bootstrap`: The credential that the endpoint is asked with. Unless it, a file, a function
          or none is given, it is the environment variable `KEYSWAP_BOOTSTRAP`. A function is called
          at first use, and again once the endpoint rejects what it returned; False is none.
        - `bootstrap_file`: A file that holds the bootstrap credential. It is read at first use, and
          again once the endpoint rejects it.
        - `timeout`: How long one answer may take, in seconds. By default the policy's
          `fetch_timeout`, 10 s, which always holds as well.
        - `push`: Whether the push channel is followed where the set offers one. True by default;
          polling never stops.
        - `heartbeat`: How long the push channel may be silent until it counts as lost and is
          connected anew, in seconds. 45 s by default.
        - `signed_by`: The provider's public key, the base64 of its 32 bytes (Ed25519). With it,
          answers that are not signed by it are refused.
        - `set_name`: The name of the set, where the last part of the URL is not that. An answer for
          another set is refused.
        - `root_certificates`: Certificates (PEM) that are trusted instead of the machine's.
        - `root_certificates_file`: A file that holds the trusted certificates. It is read again
          when it changes.
        - `client_certificate`: A certificate chain and its private key (PEM), shown to the
          endpoint: mutual TLS.
        - `client_certificate_file`: A file that holds the client certificate and its key. It is
          read again when it changes, so certificates are renewed without a restart.
        - `app`: What the provider's operators see this program as, in reports of the keys in use.
        - `plain_http_allowed`: Allows plain HTTP to other machines. Everybody on the way can read
          the keys.
        - `regions`: Further endpoints that show the same set, asked in order when this one fails.
        """
    # end of endpoint
        called = bootstrap if callable(bootstrap) else None
        if not (called or bootstrap is None or bootstrap is False or isinstance(bootstrap, str)):
            raise InvalidConfigError("bootstrap must be a string, a function, or False")
        # generated: record (by keyswap-generate: do not edit)
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
        # end of record
        made = super().__new__(cls, "endpoint", to_json(options, "option"), called, list(regions))
        return cast(Endpoint, made)


class File(_native.Source):
    """A file or a folder that something else keeps fresh: a key, a folder of pieces, or a document."""

    __slots__ = ()

    # generated: file (by keyswap-generate: do not edit)
    def __new__(
        cls,
        path: str | os.PathLike[str],
    ) -> File:
        """A file or a folder that something else keeps fresh.

        - `path`: Where it is: a file that holds a key or a document, or a folder with a file for
          each piece, as Kubernetes mounts a secret.
        """
    # end of file
        return cast(File, super().__new__(cls, "file", to_json({"path": _path(path)}, "option")))


class Env(_native.Source):
    """A key in an environment variable, for development. It never rotates."""

    __slots__ = ()

    # generated: env (by keyswap-generate: do not edit)
    def __new__(
        cls,
        variable: str,
        *,
        id: str | None = None,
    ) -> Env:
        """A key in an environment variable, for development. It never rotates.

        - `variable`: The name of the variable.
        - `id`: What events and errors call the credential. By default the name of the variable.
        """
    # end of env
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
