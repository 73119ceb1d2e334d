"""Sources for keys that stand elsewhere: any JSON endpoint, and a command."""

import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import FAST, World, wait_until

import keyswap

FETCH = """
import json, os, sys, urllib.request
asked = urllib.request.Request(sys.argv[1], headers={"authorization": "Bearer " + os.environ["TOKEN"]})
current = json.load(urllib.request.urlopen(asked))["current"]
print(json.dumps({"current": {"id": current["id"], "key": current["material"]["key"]}}))
"""


def of_json(world: World) -> keyswap.Source:
    """The endpoint's documents are JSON as any other."""
    return keyswap.Json(
        world.set_url,
        within="/current",
        key="/material/key",
        id="/id",
        expires_at="/expires_at",
        previous="/previous",
        headers={"x-team": "trading"},
        bootstrap=lambda: world.bootstrap,
    )


def of_command(world: World) -> keyswap.Source:
    argv = [sys.executable, "-c", FETCH, world.set_url]
    return keyswap.Command(argv, env={"TOKEN": world.bootstrap}, timeout=8)


def test_a_file_stands_in_for_a_store_until_that_works(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("of the file")
    is_down = True

    def store() -> dict[str, Any]:
        if is_down:
            raise OSError("the store is down")
        return {"current": {"id": "k2", "key": "of the store"}}

    with keyswap.KeySwap(keyswap.FirstOf(store, keyswap.File(file)), policy=FAST) as keys:
        keys.ready(10)
        assert keys.key() == "of the file"
        is_down = False
        keys.refresh()
        assert keys.key() == "of the store"
        is_down = True
        with pytest.raises(keyswap.SourceFailedError):
            keys.refresh()
        assert keys.key() == "of the store", "it is good, and the file is not asked"
    with pytest.raises(keyswap.InvalidConfigError, match="one source at least"):
        keyswap.FirstOf()
    with pytest.raises(keyswap.InvalidConfigError):
        keyswap.FirstOf("no URL", keyswap.File(file))


@pytest.mark.parametrize("source", [of_json, of_command])
def test_no_request_fails_when_the_key_rotates(world: World, source: Any) -> None:
    keys = keyswap.KeySwap(source(world), policy=FAST)
    keys.ready(10)
    with world.client(keys) as api:
        for rotation in range(3):
            wait_until(lambda rotation=rotation: keys.current.id == f"k{rotation + 1}")
            for _ in range(3):
                assert api.get("/v1/price").status_code == 200
            world.do("cut")
            assert api.get("/v1/price").status_code == 200
    assert keys.stats.rejections > 0
    keys.close()


def test_what_is_wrong_is_told_at_once_and_shows_nothing(tmp_path: Path) -> None:
    url = "https://keys.example.com/trading"
    for made in (
        lambda: keyswap.Json("keys.example.com"),
        lambda: keyswap.Json(url, key="api_key"),
        lambda: keyswap.Json(url, headers={"a b": "s3cr3t"}),
        lambda: keyswap.Json(url, bootstrap="s3cr3t", bootstrap_file=tmp_path),
        lambda: keyswap.Json(url, bootstrap="s3cr3t", bootstrap_header="x", bootstrap_basic=True),
        lambda: keyswap.Json(url, regions=[keyswap.Endpoint(url)]),  # type: ignore[list-item]
        lambda: keyswap.Command([]),
        lambda: keyswap.Command("op read s3cr3t"),
        lambda: keyswap.Command(["op"], env={"A=B": "s3cr3t"}),
    ):
        with pytest.raises(keyswap.InvalidConfigError) as caught:
            made()
        assert "s3cr3t" not in f"{caught.value!r}"
    shown = repr(keyswap.Command(["op", "s3cr3t"], env={"TOKEN": "s3cr3t"}))
    shown += repr(keyswap.Json(url, regions=[keyswap.Json(url, bootstrap="s3cr3t", body="s3cr3t")]))
    assert "s3cr3t" not in shown and "op" in shown


def test_a_command_that_is_not_there_says_so() -> None:
    with keyswap.KeySwap(keyswap.Command(["keyswap-no-such-program"])) as keys:
        with pytest.raises(keyswap.InvalidConfigError, match="was not found: install it"):
            keys.ready(10)
