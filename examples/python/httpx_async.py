"""httpx on an event loop, while a hundred requests are under way at once."""

import asyncio
import os

import httpx

import keyswap
from keyswap.integrations.httpx import AsyncTransport


async def main() -> None:
    api_url = os.environ["API_URL"]
    async with keyswap.KeySwap(os.environ["KEYSWAP_SET_URL"]) as keys:
        transport = AsyncTransport(
            keys, scheme=keyswap.Header("x-api-key"), allowed_origins=[api_url]
        )
        async with httpx.AsyncClient(base_url=api_url, transport=transport) as api:
            answers = await asyncio.gather(*(api.get(f"/v1/price/{n}") for n in range(100)))
        fetches = keys.stats.fetches_changed
    print(f"{len(answers)} requests, {fetches} changed fetch")
    assert all(answer.is_success for answer in answers) and fetches == 1


asyncio.run(main())
