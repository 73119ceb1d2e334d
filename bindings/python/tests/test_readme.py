"""The package's README: its first example is a program that lives through a rotation, and the others run, too."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from conftest import ROOT, World

README = Path(__file__).resolve().parents[1] / "README.md"
PRICES = ROOT / "examples" / "python" / "prices.py"


def examples() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def here(example: str, world: World) -> str:
    """The same, with nothing else than its two URLs replaced."""
    for url, instead in [
        ("https://keys.example.com/keyswap/v1/sets/trading", world.set_url),
        ("https://api.example.com", world.api_url),
    ]:
        example = example.replace(url, instead)
    return example


def test_the_first_example_lives_through_a_rotation(world: World, tmp_path: Path) -> None:
    example = examples()[0]
    assert example == PRICES.read_text()
    program = tmp_path / PRICES.name
    program.write_text(here(example, world))
    assert "example.com" not in program.read_text()
    env = os.environ | {"KEYSWAP_BOOTSTRAP": world.bootstrap, "PYTHONUNBUFFERED": "1"}
    running = subprocess.Popen(
        [sys.executable, str(program)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    assert running.stdout is not None
    late = threading.Timer(60, running.kill)
    late.start()
    said = ""
    try:
        for key in ["k1", "k2"]:
            while f"'credential': '{key}'" not in said:
                line = running.stdout.readline()
                assert line, f"it ended: {said}"
                said += line
            world.do("cut")
    finally:
        late.cancel()
        running.kill()
        complaints = running.communicate()[1]
    assert not complaints and "ks_" not in said
    assert world.counters()["leaks"] == 0


def test_the_other_examples_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYSWAP_BOOTSTRAP", world.bootstrap)
    others = examples()[1:]
    assert len(others) == 3
    # They stand in one program, as a reader would put them there.
    program = f"import asyncio, keyswap\nkeys = keyswap.KeySwap({world.set_url!r})\ntold = keys.events()\n"
    for example in others:
        # What follows events does so until there are no more.
        example = example.replace("keys.events()", "told").replace("keyswap.Bearer()", 'keyswap.Header("x-api-key")')
        if "async " in example:
            body = textwrap.indent(example, "    ")
            program += f"async def main():\n{body}    return price\n"
            program += "price = asyncio.run(main())\nkeys.close()\n"
        else:
            program += example
    names: dict[str, object] = {"vault_read": lambda name: f"material-of-{name}"}
    exec(compile(here(program, world), str(README), "exec"), names)
    assert names["price"] == {"credential": "k1", "replica": 0} and names["fresh"] == "k1"
    names["keys"].ready(10)  # type: ignore[attr-defined]
    assert names["keys"].key() == "material-of-trading"  # type: ignore[attr-defined]
    names["keys"].close()  # type: ignore[attr-defined]
