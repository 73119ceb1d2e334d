"""From the native module's work to coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec

from . import _native

P = ParamSpec("P")


async def run(
    start: Callable[Concatenate[asyncio.Future[Any], P], _native.Job],
    *args: P.args,
    **kwargs: P.kwargs,
) -> Any:
    """Starts native work and waits for it. A caller that is cancelled takes the work along."""
    future = asyncio.get_running_loop().create_future()
    job = start(future, *args, **kwargs)
    try:
        return await future
    except BaseException:
        job.abort()
        raise
