"""What programs are shown: facts without material."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ._event_names import EventName


@dataclass(frozen=True, repr=False, slots=True, kw_only=True)
class Event:
    """Something that happened to the credentials: a name, and fields that are ids and numbers. A field that
    this kind of event does not have is None. Each kind has a class of its own in `keyswap.events`."""

    # generated: event (by keyswap-generate: do not edit)
    name: EventName
    """Its stable name, the same in every language."""
    text: str
    """The same in a sentence."""
    generation: int | None = None
    """The number of the generation. Of `fetched`, `not_modified`, `swapped`."""
    primary: str | None = None
    """The id of the newest credential. Of `fetched`."""
    error: str | None = None
    """What went wrong; as data, its code. Of `fetch_failed`."""
    retry_in_ms: int | None = None
    """When the next fetch is due, in milliseconds. Of `fetch_failed`."""
    from_: str | None = None
    """The id that was in use before. Of `swapped`, `promoted`, `fell_back`, `rolled_back`."""
    to: str | None = None
    """The id that is in use now. Of `swapped`, `promoted`, `fell_back`, `rolled_back`."""
    credential: str | None = None
    """The id of the credential that this is about. Of `candidate`, `rejected`, `expired`,
    `exhausted`, `recovered`, `lagging`.
    """
    in_use: str | None = None
    """The id that stays in use. Of `candidate`."""
    proven: bool | None = None
    """Whether the API was seen to accept it. Of `promoted`."""
    candidate: bool | None = None
    """Whether it is the candidate, which nobody depends on yet. Of `rejected`."""
    probe_in_ms: int | None = None
    """When the candidate is tried again, in milliseconds. Of `rejected`."""
    reason: str | None = None
    """Why the credential could not be put on a request; none if it was sent, and the API rejected
    it. Of `rejected`.
    """
    credentials: tuple[str, ...] | None = None
    """The ids of the credentials that this is about. Of `revoked`."""
    set: bool | None = None
    """Whether the whole set was revoked. Of `revoked`."""
    for_ms: int | None = None
    """How long requests fail fast, in milliseconds. Of `exhausted`."""
    never_accepted: bool | None = None
    """Whether the API never accepted anything of this handle. Then look at the key, at the set that
    the source was asked for, and at the scheme and the header that the API wants. Of `exhausted`.
    """
    from_generation: int | None = None
    """The generation that was held before an older answer was believed. Of `recovered`."""
    to_generation: int | None = None
    """The older generation that is held now. Of `recovered`."""
    seconds: int | None = None
    """For how long this is so, in seconds. Of `lagging`, `push_lost`."""
    by_ms: int | None = None
    """How far the wall clock moved against the boot clock, in milliseconds. Of `clock_jumped`."""
    missed: int | None = None
    """How many events were missed. Of `lagged`."""
    # end of event

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<keyswap.Event {self.name}: {self.text}>"


@dataclass(frozen=True, repr=False, slots=True, kw_only=True)
class Stats:
    """What was counted so far."""

    # generated: stats (by keyswap-generate: do not edit)
    generation: int | None
    """The generation that is held."""
    epoch: int
    """The local number of what requests see."""
    in_use: str | None
    """The id of the credential in use."""
    expires_at: datetime | None
    """When that ends."""
    last_success: datetime | None
    """When a fetch last worked."""
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
    # end of stats

    def __repr__(self) -> str:
        fetches = f"{self.fetches_changed}/{self.fetches_not_modified}/{self.fetches_failed}"
        return (
            f"<keyswap.Stats generation={self.generation or 0} in_use={self.in_use or 'none'} "
            f"fetches={fetches} rejections={self.rejections} sends={self.sends}>"
        )


def event(record: str, text: str) -> Event:
    """An event, from the JSON of its record and its sentence."""
    from .events import KINDS  # whose classes are made from that of this module

    fields: dict[str, Any] = json.loads(record)
    fields["name"] = fields.pop("event")
    if "from" in fields:
        fields["from_"] = fields.pop("from")
    if "credentials" in fields:
        fields["credentials"] = tuple(fields["credentials"])
    return KINDS[fields["name"]](text=text, **fields)


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
