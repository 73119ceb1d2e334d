"""httpx code that you already have: only its transport is new."""

import os

import httpx

import keyswap
from keyswap.integrations.httpx import Transport

keys = keyswap.KeySwap(os.environ["KEYSWAP_SET_URL"])
api_url = os.environ["API_URL"]

transport = Transport(keys, scheme=keyswap.Header("x-api-key"), allowed_origins=[api_url])
with httpx.Client(base_url=api_url, transport=transport, follow_redirects=True) as api:
    price = api.get("/v1/price/BTC").raise_for_status().json()
    # The redirect leads to another origin, and the key stays here.
    elsewhere = api.get("/redirect")

print(f"{price['credential']} was accepted; {elsewhere.url} was reached without a key")
assert elsewhere.status_code == 200
