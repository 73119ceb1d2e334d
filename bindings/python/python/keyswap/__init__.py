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

from . import _error_types, _native
from . import events as events
from ._client import AsyncClient, Client
from ._error_types import *
from ._errors import KeyswapError
from ._event_names import EventName
from ._first_of import FirstOf
from ._keys import Events, KeySwap, Source
from ._native import (
    Attempt,
    Authorizer,
    Credential,
    CredentialSet,
    Patch,
    ResponseFilter,
    Scheme,
    Snapshot,
    __version__,
)
from ._policy import Policy
from ._records import Event, Stats
from ._response import Headers, Response
from ._schemes import Basic, Bearer, Header, Query, Sign, Unsigned

# generated: sources (by keyswap-generate: do not edit)
from ._sources import (
    AwsParameterStore,
    AwsSecretsAgent,
    AwsSecretsManager,
    AzureKeyVault,
    Command,
    Endpoint,
    Env,
    Etcd,
    File,
    GcpSecretManager,
    Json,
    OAuth2ClientCredentials,
    OAuth2RefreshToken,
    Vault,
)
# end of sources

__all__ = [
    "AsyncClient",
    "Attempt",
    "Authorizer",
    "Basic",
    "Bearer",
    "Client",
    "Credential",
    "CredentialSet",
    "Event",
    "EventName",
    "Events",
    "FirstOf",
    "Header",
    "Headers",
    "KeySwap",
    "KeyswapError",
    "Patch",
    "Policy",
    "Query",
    "Response",
    "ResponseFilter",
    "Scheme",
    "Sign",
    "Snapshot",
    "Source",
    "Stats",
    "Unsigned",
    "__version__",
    # generated: names (by keyswap-generate: do not edit)
    "AwsParameterStore",
    "AwsSecretsAgent",
    "AwsSecretsManager",
    "AzureKeyVault",
    "Command",
    "Endpoint",
    "Env",
    "Etcd",
    "File",
    "GcpSecretManager",
    "Json",
    "OAuth2ClientCredentials",
    "OAuth2RefreshToken",
    "Vault",
    # end of names
]
__all__ += _error_types.__all__
# `import *` must not put another one in place of the builtin: this is `keyswap.TimeoutError` and nothing else.
__all__.remove("TimeoutError")

# A library does not print. Programs that configure logging see the logger "keyswap".
_logging.getLogger("keyswap").addHandler(_logging.NullHandler())
_atexit.register(_native._exit)
