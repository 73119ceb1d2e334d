"""The same rotation in the HTTP library that a program already has.

- `keyswap.integrations.httpx`: `Transport` and `AsyncTransport`; `Auth` for bearer tokens.
- `keyswap.integrations.requests`: `Auth`.
- `keyswap.integrations.aiohttp`: `middleware`.

Each drives the core's attempt and decides nothing itself. Credentials are put on each hop anew, so a redirect
to another origin carries none, and a request to an origin that is not allowed passes through without any.
None repeats a request for a reason other than its credential. An SDK that takes a function for its key
gets `keys.key` or `keys.akey`: it always has a fresh key, but what the API rejects is not sent again.
"""
