import os
from asyncio import Future
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NoReturn, SupportsIndex, final

from typing_extensions import disjoint_base

from ._event_names import EventName

__all__ = [
    "Answer",
    "Attempt",
    "Authorizer",
    "Basic",
    "Bearer",
    "Body",
    "Client",
    "Credential",
    "CredentialSet",
    "Endpoint",
    "Env",
    "Event",
    "Events",
    "File",
    "Header",
    "Job",
    "KeySwap",
    "Patch",
    "Query",
    "Reply",
    "Scheme",
    "Sign",
    "Snapshot",
    "Stats",
    "Unsigned",
    "__version__",
    "_exit",
    "error_codes",
    "event_names",
]

__version__: str

def _exit() -> None: ...
def error_codes() -> list[str]: ...
def event_names() -> list[str]: ...

@final
class Job:
    def abort(self) -> None: ...

@final
class Answer:
    def returned(self, value: object) -> None: ...
    def raised(self, error: BaseException) -> None: ...

@disjoint_base
class Scheme: ...

@final
class Header(Scheme):
    def __new__(cls, name: str) -> Header: ...

@final
class Bearer(Scheme):
    def __new__(cls) -> Bearer: ...

@final
class Basic(Scheme):
    def __new__(cls) -> Basic: ...

@final
class Query(Scheme):
    def __new__(cls, name: str) -> Query: ...

@final
class Unsigned:
    @property
    def method(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def body(self) -> bytes | None: ...
    @property
    def now(self) -> datetime: ...

@final
class Sign(Scheme):
    def __new__(
        cls,
        function: Callable[
            [Credential, Unsigned],
            Mapping[str, str] | tuple[Mapping[str, str], Mapping[str, str]],
        ],
    ) -> Sign: ...

@final
class Endpoint:
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
        regions: Sequence[Endpoint] = ...,
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
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class File:
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

@final
class Env:
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

@final
class Credential:
    @property
    def id(self) -> str: ...
    @property
    def version(self) -> str | None: ...
    @property
    def created_at(self) -> datetime | None: ...
    @property
    def expires_at(self) -> datetime | None: ...
    @property
    def scopes(self) -> list[str]: ...
    def reveal(self, name: str = "key") -> str: ...
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class CredentialSet:
    @property
    def generation(self) -> int: ...
    @property
    def primary(self) -> Credential | None: ...
    @property
    def previous(self) -> list[Credential]: ...
    @property
    def next(self) -> Credential | None: ...
    @property
    def revoked(self) -> list[str]: ...
    @property
    def ids(self) -> list[str]: ...
    @property
    def scopes(self) -> list[str]: ...
    @property
    def audience(self) -> list[str]: ...
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class Event:
    # generated: event (by keyswap-generate: do not edit)
    @property
    def name(self) -> EventName:
        """Its stable name, the same in every language."""
    @property
    def generation(self) -> int | None:
        """The number of the generation. Of `fetched`, `not_modified`, `swapped`."""
    @property
    def primary(self) -> str | None:
        """The id of the newest credential. Of `fetched`."""
    @property
    def error(self) -> str | None:
        """The code of what went wrong. Of `fetch_failed`."""
    @property
    def retry_in_ms(self) -> int | None:
        """When the next fetch is due, in milliseconds. Of `fetch_failed`."""
    @property
    def from_(self) -> str | None:
        """The id that was in use before. Of `swapped`, `promoted`, `fell_back`, `rolled_back`."""
    @property
    def to(self) -> str | None:
        """The id that is in use now. Of `swapped`, `promoted`, `fell_back`, `rolled_back`."""
    @property
    def credential(self) -> str | None:
        """The id of the credential that this is about. Of `candidate`, `rejected`, `expired`,
        `exhausted`, `recovered`, `lagging`.
        """
    @property
    def credentials(self) -> tuple[str, ...] | None:
        """The ids of the credentials that this is about. Of `revoked`."""
    @property
    def in_use(self) -> str | None:
        """The id that stays in use. Of `candidate`."""
    @property
    def proven(self) -> bool | None:
        """Whether the API was seen to accept it. Of `promoted`."""
    @property
    def candidate(self) -> bool | None:
        """Whether it is the candidate, which nobody depends on yet. Of `rejected`."""
    @property
    def probe_in_ms(self) -> int | None:
        """When the candidate is tried again, in milliseconds. Of `rejected`."""
    @property
    def reason(self) -> str | None:
        """Why the credential could not be put on a request; none if it was sent, and the API
        rejected it. Of `rejected`.
        """
    @property
    def set(self) -> bool | None:
        """Whether the whole set was revoked. Of `revoked`."""
    @property
    def for_ms(self) -> int | None:
        """How long requests fail fast, in milliseconds. Of `exhausted`."""
    @property
    def never_accepted(self) -> bool | None:
        """Whether the API never accepted anything of this handle. Then look at the key, at the set
        that the source was asked for, and at the scheme and the header that the API wants. Of
        `exhausted`.
        """
    @property
    def from_generation(self) -> int | None:
        """The generation that was held, where an older answer was believed since the API rejected
        all that was held. Of `recovered`.
        """
    @property
    def to_generation(self) -> int | None:
        """The older generation that is held now. Of `recovered`."""
    @property
    def seconds(self) -> int | None:
        """For how long this is so, in seconds. Of `lagging`, `push_lost`."""
    @property
    def by_ms(self) -> int | None:
        """How far the wall clock moved, in milliseconds. Of `clock_jumped`."""
    @property
    def missed(self) -> int | None:
        """How many events this observer missed. Of `lagged`."""
    # end of event

@disjoint_base
class Events:
    def next(self, timeout: float | None = None) -> Event | None: ...
    def _next(self, future: Future[Any], timeout: float | None = None) -> Job: ...
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class Stats:
    # generated: stats (by keyswap-generate: do not edit)
    @property
    def generation(self) -> int | None:
        """The generation that is held."""
    @property
    def epoch(self) -> int:
        """The local number of what requests see."""
    @property
    def in_use(self) -> str | None:
        """The id of the credential in use."""
    @property
    def expires_at(self) -> datetime | None:
        """When that ends."""
    @property
    def last_success(self) -> datetime | None:
        """When a fetch last worked."""
    @property
    def age(self) -> float | None:
        """How long ago that was, in seconds."""
    @property
    def fetches_changed(self) -> int:
        """Fetches that brought a new generation."""
    @property
    def fetches_not_modified(self) -> int:
        """Fetches that learnt that nothing changed."""
    @property
    def fetches_failed(self) -> int:
        """Fetches that failed."""
    @property
    def fetches_forced(self) -> int:
        """Fetches that a rejection forced."""
    @property
    def rejections(self) -> int:
        """Rejections that counted as evidence."""
    @property
    def fallbacks(self) -> int:
        """Times an older credential was taken into use because the newer one was rejected."""
    @property
    def rollbacks(self) -> int:
        """Times the provider went back to an older credential."""
    @property
    def sends(self) -> int:
        """Sends of all requests."""
    @property
    def extra_sends(self) -> int:
        """Sends beyond the first of a request."""
    @property
    def waiting(self) -> int:
        """Callers that wait for a fetch."""
    # end of stats

@disjoint_base
class KeySwap:
    def __new__(
        cls,
        source: object,
        policy: str | None = None,
        name: str | None = None,
        mints: bool = False,
    ) -> KeySwap: ...
    @property
    def name(self) -> str | None: ...
    @property
    def current(self) -> Credential: ...
    @property
    def credentials(self) -> CredentialSet | None: ...
    @property
    def epoch(self) -> int: ...
    @property
    def stats(self) -> Stats: ...
    def key(self) -> str: ...
    def ready(self, timeout: float | None = None) -> None: ...
    def _ready(self, future: Future[Any], timeout: float | None = None) -> Job: ...
    def refresh(self, timeout: float | None = None) -> None: ...
    def _refresh(self, future: Future[Any], timeout: float | None = None) -> Job: ...
    def hint(self, generation: int | None = None, *, immediate: bool = True) -> None: ...
    def wake(self) -> None: ...
    def _events(self) -> Events: ...
    def shutdown(self) -> None: ...
    def _shutdown(self, future: Future[Any]) -> Job: ...
    def close(self) -> None: ...
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class Patch:
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def is_empty(self) -> bool: ...
    def reveal(self) -> list[tuple[str, str]]: ...
    def put(self, headers: Any) -> None: ...
    def url(self, url: str) -> str: ...
    def location(self, url: str, location: str) -> str | None: ...
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class Snapshot:
    @property
    def epoch(self) -> int: ...
    @property
    def probing(self) -> bool: ...
    @property
    def credential_id(self) -> str | None: ...
    @property
    def patch(self) -> Patch | None: ...

@final
class Authorizer:
    def __new__(
        cls,
        keys: KeySwap,
        *,
        scheme: Scheme | None = None,
        allowed_origins: Sequence[str],
        plain_http_allowed: bool = False,
        classifier: Callable[..., str] | None = None,
        own_header_wins: bool = False,
    ) -> Authorizer: ...
    @property
    def snapshot(self) -> Snapshot: ...
    def prepared(self, origin: str) -> Patch | None: ...
    def put(self, origin: str, headers: MutableMapping[str, str]) -> Patch | None: ...
    @property
    def attention(self) -> list[int]: ...
    @property
    def attention_headers(self) -> list[str]: ...
    @property
    def body_limit(self) -> int: ...
    def admits(self, url: str) -> bool: ...
    def yields(self, patch: Patch, headers: list[tuple[str, str]]) -> bool: ...
    def goes_direct(self, url: str) -> bool: ...
    def begin(
        self, url: str, *, replayable: bool = True, deadline: float | None = None
    ) -> Attempt: ...
    def begin_after(
        self,
        patch: Patch,
        url: str,
        *,
        replayable: bool = True,
        deadline: float | None = None,
    ) -> Attempt: ...
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class Attempt:
    SEND: Final = 0
    WAIT: Final = 1
    NEED_BODY: Final = 2
    RETURN: Final = 3
    FAIL: Final = 4
    @property
    def step(self) -> int: ...
    @property
    def error(self) -> BaseException | None: ...
    @property
    def body_limit(self) -> int: ...
    @property
    def credential_id(self) -> str | None: ...
    @property
    def sends(self) -> int: ...
    @property
    def is_rejected(self) -> bool: ...
    @property
    def cause(self) -> BaseException | None: ...
    def apply(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]] = ...,
        body: bytes | None = None,
    ) -> Patch: ...
    def response(
        self, status: int, headers: Sequence[tuple[str, str]] = ..., body: bytes | None = None
    ) -> int: ...
    def failed(self, failure: Literal["connect", "timeout", "other"] = "other") -> int: ...
    def wait(self) -> int: ...
    def _wait(self, future: Future[Any]) -> Job: ...
    def repeat(self) -> bool: ...
    def close(self) -> None: ...
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class Body:
    def __new__(cls) -> Body: ...
    def send(self, part: bytes) -> bool: ...
    def _send(self, future: Future[Any], part: bytes) -> Job: ...
    def close(self, is_whole: bool) -> None: ...

@final
class Reply:
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> list[tuple[str, str]]: ...
    @property
    def url(self) -> str: ...
    @property
    def content(self) -> bytes | None: ...
    @property
    def error(self) -> BaseException | None: ...
    @property
    def cause(self) -> BaseException | None: ...
    def next(self) -> bytes | None: ...
    def _next(self, future: Future[Any]) -> Job: ...
    def close(self) -> None: ...
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class Client:
    def __new__(
        cls,
        keys: KeySwap,
        base_url: str | None,
        scheme: Scheme | None,
        allowed_origins: list[str],
        plain_http_allowed: bool,
        classifier: Callable[..., str] | None,
        named: list[tuple[str, KeySwap]],
        headers: list[tuple[str, str]],
        retries: int,
        redirects: int,
        own_header_wins: bool,
    ) -> Client: ...
    def send(self, order: tuple[Any, ...], body: bytes | Body | None = None) -> Reply: ...
    def _send(
        self, future: Future[Any], order: tuple[Any, ...], body: bytes | Body | None = None
    ) -> Job: ...
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...
