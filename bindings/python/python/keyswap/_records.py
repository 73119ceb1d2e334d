"""What programs are shown: facts without material."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any


@dataclass(frozen=True, repr=False, slots=True, kw_only=True)
class Event:
    """Something that happened to the credentials: a name, and fields that are ids and numbers. A field that
    this kind of event does not have is None."""

    name: str
    """Its stable name, the same in every language."""
    text: str
    """The same in a sentence."""
    generation: int | None = None
    """The number of the generation."""
    primary: str | None = None
    """The id of the newest credential."""
    error: str | None = None
    """The code of what went wrong."""
    retry_in_ms: int | None = None
    """When the next fetch is due, in milliseconds."""
    from_: str | None = None
    """The id that was in use before."""
    to: str | None = None
    """The id that is in use now."""
    credential: str | None = None
    """The id of the credential that this is about."""
    credentials: tuple[str, ...] | None = None
    """The ids of the credentials that this is about."""
    in_use: str | None = None
    """The id that stays in use."""
    proven: bool | None = None
    """Whether the API was seen to accept it."""
    candidate: bool | None = None
    """Whether it is the candidate, which nobody depends on yet."""
    probe_in_ms: int | None = None
    """When the candidate is tried again, in milliseconds."""
    reason: str | None = None
    """Why the credential could not be put on a request; None if it was sent, and the API rejected it."""
    set: bool | None = None
    """Whether the whole set was revoked."""
    for_ms: int | None = None
    """How long requests fail fast, in milliseconds."""
    never_accepted: bool | None = None
    """Whether the API never accepted anything of this handle. Then look at the key, at the set that the
    source was asked for, and at the scheme and the header that the API wants."""
    from_generation: int | None = None
    """The generation that was held, where an older answer was believed since the API rejected all that was
    held."""
    to_generation: int | None = None
    """The older generation that is held now."""
    seconds: int | None = None
    """For how long this is so, in seconds."""
    by_ms: int | None = None
    """How far the wall clock moved, in milliseconds."""
    missed: int | None = None
    """How many events this observer missed."""

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<keyswap.Event {self.name}: {self.text}>"


@dataclass(frozen=True, repr=False, slots=True, kw_only=True)
class Stats:
    """What was counted so far."""

    generation: int | None
    """The generation that is held."""
    epoch: int
    """The local number of what requests see."""
    in_use: str | None
    """The id of the credential in use."""
    expires_at: datetime | None
    """When that ends, in UTC."""
    last_success: datetime | None
    """When a fetch last worked, in UTC."""
    age: float | None
    """How long ago that was, in seconds."""
    fetches_changed: int
    """Fetches that brought a new generation."""
    fetches_not_modified: int
    """Fetches that learnt that nothing changed."""
    fetches_failed: int
    """Fetches that failed."""
    fetches_forced: int
    """Fetches that a rejection forced."""
    rejections: int
    """Rejections that counted as evidence."""
    fallbacks: int
    """Times an older credential was taken into use because the newer one was rejected."""
    rollbacks: int
    """Times the provider went back to an older credential."""
    sends: int
    """Sends of all requests."""
    extra_sends: int
    """Sends beyond the first of a request."""
    waiting: int
    """Callers that wait for a fetch."""

    def __repr__(self) -> str:
        fetches = f"{self.fetches_changed}/{self.fetches_not_modified}/{self.fetches_failed}"
        return (
            f"<keyswap.Stats generation={self.generation or 0} in_use={self.in_use or 'none'} "
            f"fetches={fetches} rejections={self.rejections} sends={self.sends}>"
        )


def event(record: str, text: str) -> Event:
    """An event, from the JSON of its record and its sentence."""
    fields: dict[str, Any] = json.loads(record)
    fields["name"] = fields.pop("event")
    if "from" in fields:
        fields["from_"] = fields.pop("from")
    if "credentials" in fields:
        fields["credentials"] = tuple(fields["credentials"])
    return Event(text=text, **fields)


def stats(record: str) -> Stats:
    """What was counted, from the JSON of its record."""
    fields: dict[str, Any] = json.loads(record)
    age = fields.pop("age_ms")
    return Stats(
        age=None if age is None else age / 1000,
        expires_at=_time(fields.pop("expires_at_ms")),
        last_success=_time(fields.pop("last_success_ms")),
        **fields,
    )


def _time(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, timezone.utc)
