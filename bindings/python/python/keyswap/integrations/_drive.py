"""Performs what a flow orders with one library's way to send: for threads, and for event loops.

The first rejection is the response that a caller sees when all is in vain, since it is about the key that was in
use. So it is read and kept while the request is sent again.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, TypeVar

from .. import _native
from .._bridge import run
from ._flow import Answer, Flow, Peek, Send

R = TypeVar("R")


class Hop(Protocol[R]):
    """How a library sends one request, and handles its response."""

    def send(self, patch: _native.Patch | None) -> R: ...

    def answer(self, response: R) -> Answer: ...

    def peek(self, response: R, limit: int) -> bytes:
        """The first bytes of the body, decoded as the library decodes it. The body stays whole."""
        ...

    def hold(self, response: R) -> bool:
        """Reads a response that may be returned later. False if it is too large for that, or too slow."""
        ...

    def drop(self, response: R) -> None:
        """Gives up a response, and if it is small keeps its connection."""
        ...

    def close(self, response: R) -> None: ...


class AsyncHop(Protocol[R]):
    """`Hop`, for event loops."""

    async def send(self, patch: _native.Patch | None) -> R: ...

    def answer(self, response: R) -> Answer: ...

    async def peek(self, response: R, limit: int) -> bytes: ...

    async def hold(self, response: R) -> bool: ...

    async def drop(self, response: R) -> None: ...

    async def close(self, response: R) -> None: ...

    def is_over(self) -> bool:
        """Whether it was the library's own timeout that cancelled this task, which then goes on."""
        ...


def drive(flow: Flow, hop: Hop[R]) -> R:
    """The response to return."""
    first: R | None = None
    last: R | None = None
    try:
        order = next(flow)
        while True:
            told: Answer | bytes | None = None
            if isinstance(order, Send):
                if last is not None:
                    if order.keeps and hop.hold(last):
                        first = last
                    else:
                        hop.drop(last)
                last = None
                last = hop.send(order.patch)
                told = hop.answer(last)
            elif isinstance(order, Peek):
                assert last is not None
                told = hop.peek(last, order.limit)
            else:
                order.wait()
            order = flow.send(told)
    except StopIteration as end:
        assert last is not None
        if not end.value or first is None:
            return last
        hop.drop(last)
        return first
    except BaseException as error:
        if last is not None:
            hop.close(last)
        _end(flow, error)
        raise


async def adrive(flow: Flow, hop: AsyncHop[R]) -> R:
    """The response to return."""
    first: R | None = None
    last: R | None = None
    try:
        order = next(flow)
        while True:
            told: Answer | bytes | None = None
            if isinstance(order, Send):
                if last is not None:
                    if order.keeps and await hop.hold(last):
                        first = last
                    else:
                        await hop.drop(last)
                last = None
                last = await hop.send(order.patch)
                told = hop.answer(last)
            elif isinstance(order, Peek):
                assert last is not None
                told = await hop.peek(last, order.limit)
            else:
                is_whole = last is not None and await hop.hold(last)
                try:
                    await run(order._wait)
                except asyncio.CancelledError:
                    # A response in hand is worth more than to be told of the timeout.
                    if last is not None and is_whole and hop.is_over():
                        flow.close()
                        return first or last
                    raise
            order = flow.send(told)
    except StopIteration as end:
        assert last is not None
        if not end.value or first is None:
            return last
        await hop.drop(last)
        return first
    except BaseException as error:
        _end(flow, error)
        if last is not None:
            await hop.close(last)
        raise


def _end(flow: Flow, error: BaseException) -> None:
    """Tells the flow how it ended, so that what it holds is free at once."""
    try:
        flow.throw(error)
    except BaseException:
        pass
