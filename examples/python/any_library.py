"""Any HTTP library, here the standard one: put the credential on, and ask an attempt what a 401 means."""

import http.client
import json
import os
from urllib.parse import urlsplit

import keyswap

keys = keyswap.KeySwap(os.environ["KEYSWAP_SET_URL"])
keys.ready(timeout=10)
origin = os.environ["API_URL"]
scheme = keyswap.Header("x-api-key")
authorizer = keyswap.Authorizer(keys, scheme=scheme, allowed_origins=[origin])
# Which responses say something of a credential, or ask for fewer requests. All others end here.
telling = authorizer.response_filter


def send(path: str, headers: dict[str, str]) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection(urlsplit(origin).netloc, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def get(path: str) -> tuple[int, bytes]:
    url, headers = origin + path, dict[str, str]()
    patch = authorizer.put(origin, headers)
    if patch is None:
        # A new credential is being tried, or nothing is usable yet: ask before the first send.
        attempt = authorizer.begin(url, deadline=10)
    else:
        response, body = send(path, headers)
        names = {name.lower() for name, _ in response.getheaders()}
        if response.status not in telling.statuses and names.isdisjoint(telling.headers):
            return response.status, body
        attempt = authorizer.begin_after(patch, url, method="GET", deadline=10)
        attempt.response(response.status, response.getheaders())
    try:
        while attempt.step != attempt.RETURN:
            if attempt.step == attempt.SEND:
                headers = dict(attempt.apply("GET", url).reveal())
                response, body = send(path, headers)
                attempt.response(response.status, response.getheaders())
            elif attempt.step == attempt.NEED_BODY:
                attempt.response(response.status, response.getheaders(), body[: attempt.body_limit])
            elif attempt.step == attempt.WAIT:
                attempt.wait()
            elif attempt.error is not None:
                raise attempt.error
    finally:
        attempt.close()
    return response.status, body


status, body = get("/v1/price/BTC")
print(f"{json.loads(body)['credential']} was accepted")
assert status == 200
