"""A crypto exchange that wants each request signed: HMAC-SHA256 over the query, by the credential's secret.

The signature is made anew for each send, by the credential of that send: a key and a secret of two
versions are never mixed.
"""

import hashlib
import hmac
import os
from urllib.parse import urlsplit

import keyswap


def sign(
    credential: keyswap.Credential, request: keyswap.Unsigned
) -> tuple[dict[str, str], dict[str, str]]:
    query = urlsplit(request.url).query
    stamp = f"timestamp={int(request.now.timestamp() * 1000)}"
    payload = f"{query}&{stamp}" if query else stamp
    secret = credential.reveal("secret").encode()
    signature = hmac.new(secret, payload.encode(), hashlib.sha256).hexdigest()
    name, value = stamp.split("=")
    return {"x-api-key": credential.reveal()}, {name: value, "signature": signature}


def read() -> dict[str, object]:
    """Stands for a vault: the endpoint of this example has keys without secrets."""
    return {"current": {"id": "k1", "key": key, "secret": "only the exchange and you know it"}}


source = keyswap.KeySwap(os.environ["KEYSWAP_SET_URL"])
key = source.key()
with (
    keyswap.KeySwap(read) as keys,
    keyswap.Client(keys, base_url=os.environ["API_URL"], scheme=keyswap.Sign(sign)) as api,
):
    response = api.get("/v1/orders", params={"symbol": "BTCEUR"}).raise_for_status()

print(f"{response.json()['credential']} was accepted; the URL shows no signature: {response.url}")
assert "signature" not in response.url
