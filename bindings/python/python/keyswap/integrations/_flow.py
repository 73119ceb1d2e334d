"""What happens to one request that another library sends.

A flow is a generator: it yields what the library is to do, and is told what came of it. The same flow
serves threads and event loops, and no rule of rotation is in it: the core's attempt says what is next.
On the happy path it patches from the snapshot, and begins no attempt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Union

from .. import _native
from . import PLACEHOLDER

if TYPE_CHECKING:
    from .._options import Classifier

Pairs = list[tuple[str, str]]
Answer = tuple[int, Pairs]
"""The status and the headers of a response."""
Failure = Literal["connect", "timeout", "other"]
"""Why no response came: because there was no connection, so that nothing was sent; or the time was over."""
SMALL: Final = _native.SMALL
"""Bytes of a rejection that are read to keep its connection: less costly than to open another."""
PATIENCE: Final = _native.BRIEF
"""Seconds that this may take. A server that sends less than it said, or for ever, holds up nobody."""


class Send:
    """Send the request with this on it (None: with nothing), and answer with an `Answer`. The response in hand
    is to be kept, if `keeps`."""

    __slots__ = ("keeps", "patch")

    def __init__(self, patch: _native.Patch | None, keeps: bool = False) -> None:
        self.patch, self.keeps = patch, keeps


class Peek:
    """Answer with the first bytes of the body, at most `limit`, and keep the body whole."""

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        self.limit = limit


Order = Union[Send, Peek, _native.Attempt]
"""An attempt is to be waited for."""
Flow = Generator[Order, Union[Answer, bytes, None], bool]
"""It ends when there is a response to return: that which was to be kept if it says so, else the last one. It
raises if there is none to return."""


class Keys:
    """Keys, where they may go, and what says that one was rejected."""

    __slots__ = ("_authorizer", "_failure", "_headers", "_resend", "_statuses", "goes_direct", "prepared")

    def __init__(
        self,
        keys: _native.KeySwap,
        scheme: _native.Scheme | None,
        allowed_origins: Sequence[str],
        classifier: Classifier | None,
        plain_http_allowed: bool,
        resend: bool,
        own_header_wins: bool,
        failure: Callable[[BaseException], Failure],
    ) -> None:
        if isinstance(allowed_origins, str):
            raise TypeError("allowed_origins is a list of URLs, not one string")
        self._authorizer = _native.Authorizer(
            keys,
            scheme=scheme,
            allowed_origins=list(allowed_origins),
            plain_http_allowed=plain_http_allowed,
            classifier=classifier,
            own_header_wins=own_header_wins,
        )
        self._resend, self._failure = resend, failure
        self.prepared, self.goes_direct = self._authorizer.prepared, self._authorizer.goes_direct
        response_filter = self._authorizer.response_filter
        self._statuses = frozenset(response_filter.statuses)
        self._headers = frozenset(response_filter.headers)

    def flow(
        self,
        method: str,
        origin: str,
        path: str,
        own: Mapping[str, Union[str, bytes]],
        headers: Callable[[], Pairs],
        body: bytes | None = None,
        *,
        is_once: bool = False,
        deadline: float | None = None,
        scopes: Sequence[str] = (),
    ) -> Flow:
        """The flow of one hop. `origin` is what the library connects to, by its own reading of the URL.

        `own` tells which headers the request has, `headers` is asked only where a scheme may sign them, and
        `body` is None where it is not held as bytes; `is_once` says that it can be read only once. `deadline`
        is how many seconds the library has from now on. Without all of the `scopes` nothing is sent.
        """
        host = self._authorizer
        answer: Answer | bytes | None
        until = None if deadline is None else time.monotonic() + deadline
        replayable = self._resend and not is_once
        patch = self.prepared(origin)
        if patch is None and not host.admits(f"{origin}/"):
            yield Send(None)
            return False
        url = f"{origin}{path}"
        if patch is None or scopes:
            attempt = host.begin(
                url, replayable=replayable, deadline=deadline, scopes=list(scopes)
            )
            step, answer, has_first = attempt.step, None, False
        else:
            if self._yields(patch, own, headers):
                yield Send(None)
                return False
            answer = yield Send(patch)
            assert isinstance(answer, tuple)
            if not self.attends(answer):
                return False
            # What a rejected send took is no longer there to wait.
            left = None if until is None else max(0.0, until - time.monotonic())
            attempt = host.begin_after(
                patch, url, method=method, replayable=replayable, deadline=left
            )
            step, has_first = attempt.response(*answer), True
        try:
            is_first_rejected = has_first and attempt.is_rejected
            while True:
                if step == attempt.SEND:
                    patch = attempt.apply(method, url, headers(), body)
                    if self._yields(patch, own, headers):
                        yield Send(None)
                        return False
                    try:
                        answer = yield Send(patch, keeps=is_first_rejected and attempt.sends == 2)
                    except Exception as error:
                        # The library's own error passes through: it says nothing of the credential.
                        attempt.failed(self._failure(error))
                        raise
                    assert isinstance(answer, tuple)
                    step = attempt.response(*answer)
                    is_first_rejected |= attempt.sends == 1 and attempt.is_rejected
                elif step == attempt.NEED_BODY:
                    seen = yield Peek(attempt.body_limit)
                    assert isinstance(seen, bytes) and isinstance(answer, tuple)
                    step = attempt.response(*answer, seen)
                    is_first_rejected |= attempt.sends == 1 and attempt.is_rejected
                elif step == attempt.WAIT:
                    yield attempt
                    step = attempt.step
                elif step == attempt.FAIL:
                    reason = attempt.error
                    assert reason is not None
                    raise reason
                else:
                    return is_first_rejected and attempt.is_rejected
        finally:
            attempt.close()

    def _yields(
        self,
        patch: _native.Patch,
        own: Mapping[str, Union[str, bytes]],
        headers: Callable[[], Pairs],
    ) -> bool:
        """Whether the request goes as it is. What comes back then says nothing of a credential."""
        taken = [name for name in patch.names if name in own and PLACEHOLDER not in str(own[name])]
        return bool(taken) and self._authorizer.yields(patch, headers())

    def attends(self, answer: Answer) -> bool:
        """Whether an attempt has to be shown this response."""
        status, headers = answer
        return status in self._statuses or any(name.lower() in self._headers for name, _ in headers)


def rewinding(body: Any) -> Callable[[], object] | None:
    """What takes a file back to where it stands now. None for a body that can be read only once."""
    try:
        place = body.tell()
        body.seek(place)
    except Exception:  # whatever a thing that is no file, or a pipe, says to that
        return None
    return lambda: body.seek(place)
