"""The SDK of OpenAI, in two ways.

A function for the key gives each request a fresh one; what the API rejects is not sent again. With the
transport beneath, it is.
"""

import os

import httpx
from openai import OpenAI

import keyswap
from keyswap.integrations import PLACEHOLDER
from keyswap.integrations.httpx import Transport

keys = keyswap.KeySwap(os.environ["KEYSWAP_SET_URL"])
api_url = os.environ["API_URL"]


def who(sdk: OpenAI) -> str:
    """The id of the credential that the API saw. A program would ask for a completion here."""
    return str(sdk.models.with_raw_response.retrieve("any").http_response.json()["credential"])


with OpenAI(api_key=keys.key, base_url=api_url) as sdk:
    print(f"a function for the key: {who(sdk)}")

transport = Transport(keys, scheme=keyswap.Bearer(), allowed_origins=[api_url])
with OpenAI(
    api_key=PLACEHOLDER,
    base_url=api_url,
    http_client=httpx.Client(transport=transport),
) as sdk:
    print(f"the transport: {who(sdk)}")
