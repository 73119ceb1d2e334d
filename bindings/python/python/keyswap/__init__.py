"""API keys rotate, and programs must not notice.

    keys = keyswap.KeySwap("https://keys.example.com/keyswap/v1/sets/trading")
    with keyswap.Client(keys, base_url="https://api.example.com", scheme=keyswap.Bearer()) as api:
        api.get("/v1/price/BTC").raise_for_status().json()

A `KeySwap` follows a source and always holds a fresh credential. A `Client` or an `AsyncClient` gets every
request through a rotation; `keyswap.integrations` does the same for other HTTP libraries. Nothing starts
at import. Nothing here prints key material.
"""

import atexit as _atexit
import logging as _logging

from . import _native
from ._client import AsyncClient, Client
from ._errors import (
    BodyError,
    BootstrapRejectedError,
    ClosedError,
    ExpiredError,
    ForbiddenError,
    InsecureUrlError,
    InvalidConfigError,
    KeyswapError,
    MalformedError,
    MissingScopeError,
    NotReadyError,
    OlderGenerationError,
    OriginNotAllowedError,
    SchemeFailedError,
    SetRevokedError,
    SignatureInvalidError,
    SourceFailedError,
    StatusError,
    ThrottledError,
    TimeoutError,
    TransportError,
    UnavailableError,
    UnknownSetError,
)
from ._keys import Events, KeySwap, Policy, Source
from ._native import (
    Attempt,
    Authorizer,
    Credential,
    CredentialSet,
    Patch,
    Scheme,
    Snapshot,
    __version__,
)
from ._records import Event, Stats
from ._response import Headers, Response
from ._schemes import Basic, Bearer, Header, Query, Sign, Unsigned
from ._sources import Endpoint, Env, File

__all__ = [
    "AsyncClient",
    "Attempt",
    "Authorizer",
    "Basic",
    "Bearer",
    "BodyError",
    "BootstrapRejectedError",
    "Client",
    "ClosedError",
    "Credential",
    "CredentialSet",
    "Endpoint",
    "Env",
    "Event",
    "Events",
    "ExpiredError",
    "File",
    "ForbiddenError",
    "Header",
    "Headers",
    "InsecureUrlError",
    "InvalidConfigError",
    "KeySwap",
    "KeyswapError",
    "MalformedError",
    "MissingScopeError",
    "NotReadyError",
    "OlderGenerationError",
    "OriginNotAllowedError",
    "Patch",
    "Policy",
    "Query",
    "Response",
    "Scheme",
    "SchemeFailedError",
    "SetRevokedError",
    "Sign",
    "SignatureInvalidError",
    "Snapshot",
    "Source",
    "SourceFailedError",
    "Stats",
    "StatusError",
    "ThrottledError",
    "TimeoutError",
    "TransportError",
    "UnavailableError",
    "UnknownSetError",
    "Unsigned",
    "__version__",
]

# A library does not print. Programs that configure logging see the logger "keyswap".
_logging.getLogger("keyswap").addHandler(_logging.NullHandler())
_atexit.register(_native._exit)
