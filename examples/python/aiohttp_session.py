"""A session of aiohttp: only its middleware is new."""

import asyncio
import os

import aiohttp

import keyswap
from keyswap.integrations.aiohttp import middleware


async def main() -> None:
    api_url = os.environ["API_URL"]
    async with keyswap.KeySwap(os.environ["KEYSWAP_SET_URL"]) as keys:
        keyed = middleware(keys, scheme=keyswap.Bearer(), allowed_origins=[api_url])
        async with (
            aiohttp.ClientSession(middlewares=[keyed], raise_for_status=True) as session,
            session.post(f"{api_url}/v1/orders", json={"side": "buy"}) as response,
        ):
            print(f"{(await response.json())['credential']} was accepted")


asyncio.run(main())
