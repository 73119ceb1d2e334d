"""The examples of the package's README, run against a real endpoint and API."""

import asyncio
import re
import textwrap
from pathlib import Path

from conftest import World

README = Path(__file__).resolve().parents[1] / "README.md"


def test_each_example_runs(world: World, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("KEYSWAP_BOOTSTRAP", world.bootstrap)
    examples = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(examples) == 3
    # They stand in one program, as a reader would put them there.
    names: dict[str, object] = {"vault_read": lambda name: f"material-of-{name}"}
    for example in examples:
        example = example.replace(
            "https://keys.example.com/keyswap/v1/sets/trading", world.set_url
        ).replace("https://api.example.com", world.api_url)
        example = example.replace("keyswap.Bearer()", 'keyswap.Header("x-api-key")')
        if "async " in example:
            body = textwrap.indent(example, "    ")
            example = f"async def main():\n{body}    return price\nprice = asyncio.run(main())\n"
            names["asyncio"] = asyncio
        exec(compile(example, str(README), "exec"), names)
        if "price" in example:
            assert names.pop("price") == {"credential": "k1", "replica": 0}
    names["keys"].ready(10)  # type: ignore[attr-defined]
    assert names["keys"].key() == "material-of-trading"  # type: ignore[attr-defined]
    names["keys"].close()  # type: ignore[attr-defined]
