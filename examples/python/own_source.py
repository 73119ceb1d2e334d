"""Keys from a place of your own: a function that returns a mapping."""

import os

import keyswap

asked = 0


def read() -> dict[str, object]:
    """It may block, and it may fail: the credential that is held stays in use."""
    global asked
    asked += 1
    if asked == 2:
        raise ConnectionError("the vault is being moved")
    return {"current": {"id": f"v{asked}", "key": os.environ.get("MY_KEY", f"material-{asked}")}}


with keyswap.KeySwap(read, policy={"fetch_floor": 0.05, "fetch_floor_min": 0.05}) as keys:
    keys.ready(timeout=10)
    assert keys.current.id == "v1"
    try:
        keys.refresh(timeout=10)
    except keyswap.SourceFailedError as error:
        print(f"{error.code}: still serving {keys.current.id}")
    assert keys.current.id == "v1"
