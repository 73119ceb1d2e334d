"""The examples, run as programs against a real endpoint and API."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, World

EXAMPLES = sorted((ROOT / "examples" / "python").glob("*.py"))
# The README's first one names its URLs: test_readme.py runs it.
EXAMPLES = [path for path in EXAMPLES if path.stem != "prices"]


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 8


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, world: World) -> None:
    for library in re.findall(r"^(?:import|from) (\w+)", path.read_text(), re.M):
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    env |= {
        "KEYSWAP_SET_URL": world.set_url,
        "KEYSWAP_BOOTSTRAP": world.bootstrap,
        "API_URL": world.api_url,
    }
    command = [sys.executable, "-W", "error", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert done.stdout and "ks_" not in done.stdout
    assert world.counters()["leaks"] == 0
