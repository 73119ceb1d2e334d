"""The same rotation in the HTTP library that a program already has.

- `keyswap.integrations.httpx`: `Transport` and `AsyncTransport`.
- `keyswap.integrations.requests`: `Adapter`.
- `keyswap.integrations.aiohttp`: `middleware`.

Each drives the core's attempt and decides nothing itself. A credential is on what goes on the wire and nowhere
else: no request, response, exception or trace of the library holds one. Each hop is an attempt of its own, so a
redirect to another origin carries none, what a later hop answers never sends an earlier one again, and a
request to an origin that is not allowed passes through without any.
None repeats a request for a reason other than its credential. An SDK that takes a function for its key
gets `keys.key` or `keys.akey`: it always has a fresh key, but what the API rejects is not sent again.
"""

from typing import Final

__all__ = ["PLACEHOLDER"]

PLACEHOLDER: Final = "put-there-by-keyswap"
"""For an SDK that insists on a key, above an adapter that puts the right one in its place."""
