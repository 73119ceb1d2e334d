"""A session of requests that other code uses: only its adapter is new."""

import os

import requests

import keyswap
from keyswap.integrations.requests import Adapter

keys = keyswap.KeySwap(os.environ["KEYSWAP_SET_URL"])
api_url = os.environ["API_URL"]

with requests.Session() as session:
    adapter = Adapter(keys, scheme=keyswap.Header("x-api-key"), allowed_origins=[api_url])
    session.mount(api_url, adapter)
    response = session.get(f"{api_url}/v1/price/BTC", timeout=10)
    response.raise_for_status()

print(f"{response.json()['credential']} was accepted, and is not kept: {response.request.headers}")
assert "x-api-key" not in response.request.headers
