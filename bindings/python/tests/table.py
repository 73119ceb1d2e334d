"""The table of behaviours and adapters, in Markdown, from what the tests noted.

    KEYSWAP_BEHAVIOURS=FILE pytest tests/test_behaviours.py && python tests/table.py FILE
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable


def table(lines: Iterable[str]) -> str:
    """`yes` where all tests of a behaviour passed, the number of a note where the library beneath has a limit, else
    `NO`."""
    told = [json.loads(line) for line in lines]
    adapters = list(dict.fromkeys(line["adapter"] for line in told))
    notes: dict[str, int] = {}
    rows = [f"| behaviour | {' | '.join(adapters)} |", "| --- |" + " --- |" * len(adapters)]
    for behaviour in dict.fromkeys(line["behaviour"] for line in told):
        cells: list[str] = []
        for adapter in adapters:
            here = [line for line in told if (line["behaviour"], line["adapter"]) == (behaviour, adapter)]
            limits = {line["limit"] for line in here} - {None}
            if not here or any(line["outcome"] != "passed" for line in here):
                cells.append("NO")
            elif limits:
                cells.append(f"[{notes.setdefault(limits.pop(), len(notes) + 1)}]")
            else:
                cells.append("yes")
        rows.append(f"| {behaviour} | {' | '.join(cells)} |")
    return "\n".join([*rows, "", *(f"[{number}] {note}." for note, number in notes.items()), ""])


if __name__ == "__main__":
    with open(sys.argv[1]) as lines:
        sys.stdout.write(table(lines))
