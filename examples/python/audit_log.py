"""Each event as a line of JSON, for an audit log. No event can hold a key."""

import json
import os
import threading

import keyswap

keys = keyswap.KeySwap(os.environ["KEYSWAP_SET_URL"])
lines: list[str] = []


def follow(events: keyswap.Events) -> None:
    # It ends when the handle is closed.
    for event in events:
        known = {
            "event": event.name,
            "generation": event.generation,
            "from": event.from_,
            "to": event.to,
            "credential": event.credential,
            "error": event.error,
        }
        lines.append(json.dumps({name: value for name, value in known.items() if value is not None}))


log = threading.Thread(target=follow, args=[keys.events()])
log.start()
keys.ready(timeout=10)
key = keys.key()
keys.refresh(timeout=10)
keys.close()
log.join()
print("\n".join(lines))
assert lines and not any(key in line for line in lines)
