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


class Json(_native.Source):
    """Any endpoint that answers with JSON, such as `{"api_key": "...", "expires_in": 3600}`.

    Raises InvalidConfigError for a URL, a pointer or a header that is none.
    """

    __slots__ = ()

    # generated: json (by keyswap-generate: do not edit)
    def __new__(
        cls,
        url: str,
        *,
        key: str | None = None,
        secret: str | None = None,
        passphrase: str | None = None,
        id: str | None = None,
        version: str | None = None,
        expires_at: str | None = None,
        expires_in: str | None = None,
        within: str | None = None,
        previous: str | None = None,
        generation: str | None = None,
        mints: bool = False,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
        bootstrap: str | Callable[[], str] | Callable[[], Awaitable[str]] | bool | None = None,
        bootstrap_file: str | os.PathLike[str] | None = None,
        bootstrap_header: str | None = None,
        bootstrap_basic: bool = False,
        timeout: float | None = None,
        root_certificates: bytes | None = None,
        root_certificates_file: str | os.PathLike[str] | None = None,
        client_certificate: bytes | None = None,
        client_certificate_file: str | os.PathLike[str] | None = None,
        plain_http_allowed: bool = False,
        regions: Sequence[Json] = (),
    ) -> Json:
        """Any endpoint that answers with JSON, such as `{"api_key": "...", "expires_in": 3600}`.

        - `url`: The URL that is asked.
        - `key`: A JSON pointer (RFC 6901) to the key in the answer, such as `/data/api_key`. By
          default `/key`.
        - `secret`: A JSON pointer to the second piece of material, named `secret`.
        - `passphrase`: A JSON pointer to the third piece of material, named `passphrase`.
        - `id`: A JSON pointer to the credential's name: a text or a number that changes whenever
          the key does. By default it is named by a digest that says only whether it changed.
        - `version`: A JSON pointer to the provider's version of the credential.
        - `expires_at`: A JSON pointer to the time at which the credential ends: RFC 3339 text, or
          seconds since 1970.
        - `expires_in`: A JSON pointer to the seconds that the credential lives from the answer on.
          By default `/expires_in`, if that is there.
        - `within`: A JSON pointer to the object that all others begin at, but for `previous` and
          `generation`. By default the whole answer.
        - `previous`: A JSON pointer to the credential before, as long as it works: an object that
          looks like the current one, a list of at most two of them, or the key itself. It may be
          absent; then the last key that the API accepted stays as the fallback.
        - `generation`: A JSON pointer to a number that rises with each change. Without it, changes
          are numbered here.
        - `mints`: That each answer is a new key, made for this question: it is then asked by the
          life of what it made, and not polled.
        - `method`: The method of the question. By default GET, or POST if there is a body.
        - `headers`: Headers of the question, which are never printed.
        - `body`: What is sent with the question: JSON if it begins with a brace or a bracket, and a
          form if not, unless a header says otherwise.
        - `bootstrap`: The credential that the endpoint is asked with, as a bearer token unless
          `bootstrap_header` or `bootstrap_basic` says otherwise. By default there is none. A function
          is called at first use, and again once the endpoint rejects what it returned; False is none.
        - `bootstrap_file`: A file that holds the bootstrap credential. It is read at first use, and
          again once the endpoint rejects it.
        - `bootstrap_header`: The header whose value the bootstrap credential is.
        - `bootstrap_basic`: That the bootstrap credential is a user and a password, with a colon
          between them: `Authorization: Basic`.
        - `timeout`: How long an answer may take, in seconds. By default the policy's
          `fetch_timeout`, 10 s, which always holds as well.
        - `root_certificates`: PEM certificates that are trusted instead of the machine's.
        - `root_certificates_file`: A file that holds the trusted certificates. It is read again
          when it changes.
        - `client_certificate`: A certificate chain and its private key (PEM), shown to the
          endpoint: mutual TLS.
        - `client_certificate_file`: A file that holds the client certificate and its key. It is
          read again when it changes, so certificates are renewed without a restart.
        - `plain_http_allowed`: Allows plain HTTP to other machines. Everybody on the way can read
          the keys.
        - `regions`: Further endpoints that show the same set, asked in order when this one fails.
        """
    # end of json
        called = bootstrap if callable(bootstrap) else None
        if not (called or bootstrap is None or bootstrap is False or isinstance(bootstrap, str)):
            raise InvalidConfigError("bootstrap must be a string, a function, or False")
        # generated: json_record (by keyswap-generate: do not edit)
        options = {
            "url": url,
            "key": key,
            "secret": secret,
            "passphrase": passphrase,
            "id": id,
            "version": version,
            "expires_at": expires_at,
            "expires_in": expires_in,
            "within": within,
            "previous": previous,
            "generation": generation,
            "mints": mints,
            "method": method,
            "headers": dict(headers or {}),
            "body": body,
            "bootstrap": bootstrap if isinstance(bootstrap, str) else None,
            "bootstrap_file": _path(bootstrap_file),
            "bootstrap_header": bootstrap_header,
            "bootstrap_basic": bootstrap_basic,
            "timeout": timeout,
            "root_certificates": _pem(root_certificates),
            "root_certificates_file": _path(root_certificates_file),
            "client_certificate": _pem(client_certificate),
            "client_certificate_file": _path(client_certificate_file),
            "plain_http_allowed": plain_http_allowed,
        }
        # end of json_record
        made = super().__new__(cls, "json", to_json(options, "option"), called, list(regions))
        return cast(Json, made)


class Command(_native.Source):
    """A command that prints a key: `op read`, `bao kv get`, `gcloud auth print-access-token`.

    Raises InvalidConfigError for a list that is empty. That there is no such program is told at the first fetch.
    """

    __slots__ = ()

    # generated: command (by keyswap-generate: do not edit)
    def __new__(
        cls,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        inherit_env: Sequence[str] = (),
        mints: bool = False,
        timeout: float | None = None,
    ) -> Command:
        """A command that prints a key, or a set. What AWS and Kubernetes have such commands print is read, too.

        - `argv`: The program and its arguments, as they are: no shell looks at them.
        - `env`: Variables that are set for it.
        - `inherit_env`: Names of variables of the program's own environment that it sees too,
          beside `PATH`, `HOME` and the few others that programs need to find their files.
        - `mints`: That each run makes a new credential, such as a token: it is then run by the life
          of what it made, and not polled.
        - `timeout`: How long a run may take, in seconds. By default the policy's `fetch_timeout`,
          10 s, which always holds as well. Then it is killed, with all that it started.
        """
    # end of command
        if isinstance(argv, str):
            raise InvalidConfigError("argv must be a list of the program and its arguments")
        # generated: command_record (by keyswap-generate: do not edit)
        options = {
            "argv": list(argv),
            "env": dict(env or {}),
            "inherit_env": list(inherit_env),
            "mints": mints,
            "timeout": timeout,
        }
        # end of command_record
        return cast(Command, super().__new__(cls, "command", to_json(options, "option")))


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


class FirstOf(_native.Source):
    """The first of several sources that works: a store, with a file as the last resort, say.

    A source is asked only where those before it fail, and nothing that they brought is of use any more: at the start, when all
    that is held has ended, or when the API rejects it. A store that is down for a minute never makes a program go back
    to an older key in a file. While a later one stands in, those before it are asked every 30 s.

        KeySwap(FirstOf("https://keys.example.com/keyswap/v1/sets/trading", File("/var/lib/bot/trading.json")))

    Raises InvalidConfigError without a source.
    """

    __slots__ = ()

    def __new__(
        cls,
        *sources: str
        | _native.Source
        | Callable[[], Mapping[str, Any]]
        | Callable[[], Awaitable[Mapping[str, Any]]],
    ) -> FirstOf:
        """The sources in the order in which they are asked, each as `KeySwap` takes it."""
        made: list[_native.Source] = []
        for source in sources:
            if isinstance(source, str):
                source = Endpoint(source)
            elif callable(source):
                source = _native.Source("function", "{}", source)
            made.append(source)
        return cast(FirstOf, super().__new__(cls, "first_of", "{}", None, made))


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
