from asyncio import Future
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NoReturn, SupportsIndex, final

from typing_extensions import disjoint_base

from ._records import Stats

__all__ = [
    "Answer",
    "Attempt",
    "Authorizer",
    "BRIEF",
    "Body",
    "Client",
    "Credential",
    "CredentialSet",
    "Events",
    "Job",
    "KeySwap",
    "Patch",
    "Reply",
    "ResponseFilter",
    "SMALL",
    "Scheme",
    "Snapshot",
    "Source",
    "Work",
    "__version__",
    "_exit",
    "error_codes",
    "event_names",
]

__version__: str
SMALL: Final[int]
BRIEF: Final[float]

def _exit() -> None: ...
def error_codes() -> list[str]: ...
def event_names() -> list[str]: ...

@final
class Work:
    def wait(self) -> Any: ...
    def start(self, future: Future[Any]) -> Job: ...

@final
class Job:
    def abort(self) -> None: ...

@final
class Answer:
    def returned(self, text: object) -> None: ...
    def malformed(self, what: str) -> None: ...
    def raised(self, error: BaseException) -> None: ...

@disjoint_base
class Scheme:
    """How a credential goes onto a request: a Header, Bearer, Basic, Query, or Sign."""
    def __new__(cls, how: Any) -> Scheme: ...

@disjoint_base
class Source:
    """Where sets come from: an Endpoint, a File, an Env, a store, or what else is derived from
    it.
    """
    def __new__(
        cls,
        kind: str,
        options: str,
        inputs: Mapping[str, Any] = ...,
    ) -> Source: ...
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class Credential:
    """One usable credential. Printing it never shows its material."""
    @property
    def id(self) -> str:
        """Its name. Not a secret."""
    @property
    def version(self) -> str | None:
        """The provider's version of it, where it has one."""
    @property
    def created_at(self) -> datetime | None:
        """When it was made, in UTC."""
    @property
    def not_before(self) -> datetime | None:
        """When it begins to be valid, in UTC."""
    @property
    def activate_at(self) -> datetime | None:
        """When a staged one is to be used, in UTC."""
    @property
    def expires_at(self) -> datetime | None:
        """When it ends, in UTC."""
    @property
    def grace_expires_at(self) -> datetime | None:
        """When its use as a fallback ends, in UTC."""
    @property
    def scopes(self) -> list[str]:
        """What it may be used for."""
    def reveal(self, name: str = "key") -> str:
        """The piece of material of this name, in the clear.

        Raises KeyError if there is none.
        """
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class CredentialSet:
    """What a source delivered: the credentials that are valid together."""
    @property
    def generation(self) -> int:
        """The provider's number of this state; it only rises."""
    @property
    def primary(self) -> Credential | None:
        """The newest credential; None in a revoked set."""
    @property
    def previous(self) -> list[Credential]:
        """The older ones that are still valid, newest first."""
    @property
    def next(self) -> Credential | None:
        """The staged one."""
    @property
    def revoked(self) -> list[str]:
        """Ids that must never be used again."""
    @property
    def ids(self) -> list[str]:
        """The ids of all of them: newest, previous, staged."""
    @property
    def scopes(self) -> list[str]:
        """What the whole set may be used for."""
    @property
    def audience(self) -> list[str]:
        """The origins that the provider narrows its use to; empty means no narrowing."""
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@disjoint_base
class Events:
    """The events of one handle, from the time it was made; in a forked child, from its first use
    there. It does not keep the handle alive.
    """
    def _next(self, timeout: float | None = None) -> Work: ...

@disjoint_base
class KeySwap:
    """Follows one source and always holds a fresh credential."""
    def __new__(
        cls,
        source: object,
        policy: str | None = None,
        name: str | None = None,
        mints: bool = False,
    ) -> KeySwap: ...
    @property
    def name(self) -> str | None:
        """The name that the program gave it."""
    @property
    def current(self) -> Credential:
        """The credential in use. Reading it never waits.

        Raises why nothing is usable: NotReadyError, ExpiredError, SetRevokedError,
        ClosedError, or the error of the first fetch.
        """
    @property
    def credentials(self) -> CredentialSet | None:
        """The set that is held: None before the first fetch, and after the provider revoked it."""
    @property
    def epoch(self) -> int:
        """The local number of what requests see: it rises whenever that changes. Cache by it."""
    @property
    def stats(self) -> Stats:
        """What was counted so far."""
    def key(self) -> str:
        """The material named `key` of the credential in use, for libraries that take a function.
        Before the first set it waits, for at most 10 s; afterwards it never does.

        Raises as `current` does.
        """
    def _ready(self, timeout: float | None = None) -> Work: ...
    def _refresh(self, timeout: float | None = None) -> Work: ...
    def hint(self, generation: int | None = None, *, immediate: bool = True) -> None:
        """Says that something newer may be there, for programs with a push channel of their own.
        With `immediate` it is fetched at once, without spreading the fleet.
        """
    def wake(self) -> None:
        """Looks at the clocks at once: for programs that come back from a pause of their own."""
    def _events(self) -> Events: ...
    def _shutdown(self) -> Work: ...
    def close(self) -> None:
        """Ends it, for all that use it. Afterwards nothing is usable."""
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class Patch:
    """What a scheme adds to a request. It prints the names of what it adds, never the values."""
    @property
    def names(self) -> tuple[str, ...]:
        """The names of the headers that it sets, in lower case."""
    @property
    def is_empty(self) -> bool:
        """Whether it adds nothing, as for an origin that is not allowed."""
    def reveal(self) -> list[tuple[str, str]]:
        """The headers that it sets, in the clear: for the request, and nothing else. Their names
        are spelled as the program or the set spells them.
        """
    def put(self, headers: Any) -> None:
        """Sets the headers on a mapping of headers."""
    def url(self, url: str) -> str:
        """The URL with the query parameters that it sets."""
    def location(self, url: str, location: str) -> str | None:
        """The `Location` that came back from this URL as it may be followed and shown: without
        the parameters that this sets. None if it holds the credential in another way, so that
        it must not be followed.
        """
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class ResponseFilter:
    """The responses that an attempt has to be shown: with one of the statuses, or with one of
    the headers.
    """
    @property
    def statuses(self) -> list[int]: ...
    @property
    def headers(self) -> list[str]:
        """Their names, in lower case."""
    @property
    def body_limit(self) -> int:
        """How many bytes of a body a classifier may ask for."""

@final
class Snapshot:
    """What requests see in one epoch."""
    @property
    def epoch(self) -> int:
        """The local number of this state."""
    @property
    def needs_attempt(self) -> bool:
        """Whether each request has to begin an attempt."""
    @property
    def credential_id(self) -> str | None:
        """The id of the credential in use."""
    @property
    def patch(self) -> Patch | None:
        """What the credential in use adds to any request. None if nothing is usable or the
        scheme signs: a request then begins an attempt.
        """

@final
class Authorizer:
    """Puts credentials on requests that another library sends, and learns from the responses."""
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
    def snapshot(self) -> Snapshot:
        """What requests see now: the same object until that changes."""
    def prepared(self, origin: str) -> Patch | None:
        """What a request to this origin, such as "https://api.example.com", is sent with,
        without an attempt. None where it takes an attempt: the snapshot says so, or the API
        asked for fewer requests; and for an origin that credentials may not go to.
        """
    def put(self, origin: str, headers: MutableMapping[str, str]) -> Patch | None:
        """Puts what a request to this origin is sent with on its headers, and returns it. None
        where `prepared` has nothing: nothing is put then.
        """
    @property
    def response_filter(self) -> ResponseFilter:
        """The responses that an attempt has to be shown."""
    def admits(self, url: str) -> bool:
        """Whether credentials may go to this URL now."""
    def yields(self, patch: Patch, headers: list[tuple[str, str]]) -> bool:
        """Whether a request goes out as it is, because it has a header that the patch sets and
        that wins. What comes back is then no evidence.

        Raises InvalidConfigError if it has such a header and nobody said which one counts.
        """
    def goes_direct(self, url: str) -> bool:
        """Whether a credential for this URL must not go through a proxy."""
    def begin(
        self,
        url: str,
        *,
        replayable: bool = True,
        deadline: float | None = None,
        scopes: Sequence[str] = ...,
    ) -> Attempt:
        """A request is about to be sent. `replayable` says whether its body can be sent again;
        `deadline` is how many seconds the caller waits at most. Without all of the `scopes`
        it fails with MissingScopeError, and nothing is sent.

        Raises OriginNotAllowedError.
        """
    def begin_after(
        self,
        patch: Patch,
        url: str,
        *,
        method: str = "POST",
        replayable: bool = True,
        deadline: float | None = None,
    ) -> Attempt:
        """A request was sent with this patch of a snapshot, and the response matches the filter.
        Unless its method is given, it is one that is not repeated.

        Raises OriginNotAllowedError.
        """
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class Attempt:
    """One request on its way through a rotation. In a forked child it begins anew."""
    SEND: Final = 0
    """Send the request with what `apply` adds, and report with `response` or `failed`."""
    WAIT: Final = 1
    """Call `wait`; keep the last response meanwhile."""
    NEED_BODY: Final = 2
    """Call `response` again, with the first bytes of the body, at most `body_limit`."""
    RETURN: Final = 3
    """The last response, or the library's own exception, is the answer."""
    FAIL: Final = 4
    """There is no response to return: raise `error`."""
    @property
    def step(self) -> int:
        """What to do next."""
    @property
    def error(self) -> BaseException | None:
        """The exception of FAIL."""
    @property
    def body_limit(self) -> int:
        """How many bytes NEED_BODY asks for."""
    @property
    def credential_id(self) -> str | None:
        """The id of the credential of the send under way."""
    @property
    def sends(self) -> int:
        """How often the request was sent so far, with the send under way."""
    @property
    def is_rejected(self) -> bool:
        """Whether the last response was a rejection. If the first one was, too, it is the one to
        return when all is in vain.
        """
    @property
    def cause(self) -> BaseException | None:
        """Why a wait for a fresh credential brought nothing."""
    def apply(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[str, str]] = ...,
        body: bytes | None = None,
    ) -> Patch:
        """What to add to the request for this hop. For an origin that is not allowed, nothing.
        `body` is None for a stream.

        Raises SchemeFailedError.
        """
    def response(
        self, status: int, headers: Sequence[tuple[str, str]] = ..., body: bytes | None = None
    ) -> int:
        """The response of this hop has come. `body` is what NEED_BODY asked for. Returns the
        next step.
        """
    def failed(self, failure: Literal["connect", "timeout", "other"] = "other") -> int:
        """No response came: "connect", "timeout", or "other". Returns the next step."""
    def wait(self) -> int:
        """Waits as WAIT says; at once, if the step is another. Returns the next step."""
    def _wait(self) -> Work: ...
    def repeat(self) -> bool:
        """Begins again for a reason that is not the credential: after a 503, say. False if the
        request was sent as often as it may be.
        """
    def close(self) -> None:
        """Gives back what it holds. It may be called at any time, and again."""
    def __reduce_ex__(self, _protocol: SupportsIndex, /) -> NoReturn: ...

@final
class Body:
    def __new__(cls) -> Body: ...
    def send(self, part: bytes) -> bool: ...
    def _send(self, part: bytes) -> Work: ...
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
    def _next(self) -> Work: ...
    def close(self) -> None: ...

@final
class Client:
    """Sends requests with credentials. A child makes it anew, with connections of its own."""
    def __new__(
        cls,
        keys: KeySwap,
        scheme: Scheme | None,
        classifier: Callable[..., str] | None,
        named: list[tuple[str, KeySwap]],
        authorizer: str,
        options: str,
    ) -> Client: ...
    def _send(self, order: tuple[Any, ...], body: bytes | Body | None = None) -> Work: ...
