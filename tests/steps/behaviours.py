"""The page of what each adapter does beside its library alone, written from what the tests of a run noted.

The tests of behaviours append a line of JSON for each one and each adapter to the file that KEYSWAP_BEHAVIOURS names:
{"adapter": ..., "behaviour": ..., "outcome": "passed" or "failed", "limit": null, or why the library cannot}.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from .step import LOGS, ROOT, Step

PAGE = ROOT / "bindings/BEHAVIOURS.md"
WRITTEN = LOGS / "BEHAVIOURS.md"
NOTED = LOGS / "behaviours"
LANGUAGES = {"rust": "Rust", "python": "Python", "node": "Node", "kotlin": "Kotlin", "swift": "Swift"}
ROWS = (
    "a body that can be had again is sent again",
    "a body that can be had once is sent once",
    "a rejected response that does not end is given up",
    "a small rejection keeps its connection, and is returned if all is in vain",
    "a classifier sees the body as the library decodes it, and the program all of it",
    "a streamed response arrives as it is sent, looked into or not",
    "names of headers keep their case on HTTP/1.1",
    "headers of the program's own are sent as they are",
    "the proxies of the environment are used, and NO_PROXY counts",
    "a proxy that cannot be used is said",
    "redirects are followed as the library follows them",
    "cookies are kept as the library keeps them",
    "a timeout ends the request",
    "a request that is given up ends its connection",
)
"""What each adapter of each language must show. A language may have more of its own."""

BEGIN = """\
# What an adapter changes

With keyswap added, everything is as before, but for the key. Each line is a test, run with each adapter and beside its
library alone: the two must do the same. A number names a limit of the library beneath, shown by the library alone
failing in the same way.

Other on purpose: a redirect that the packages follow themselves sends no Referer in Rust, since that could tell a key;
and where all is in vain, axios returns as a stream the last rejection, and not the first.

This page is written from what the tests noted; `./tests/run` fails where it differs, and says how to write it anew.
"""


def noting(language: str, run: str = "") -> Path:
    """Where the tests of one run of a language note what they saw. What an earlier run noted is gone."""
    NOTED.mkdir(parents=True, exist_ok=True)
    path = NOTED / f"{language}{run and '-'}{run}.jsonl"
    path.unlink(missing_ok=True)
    return path


def noted(language: str) -> list[str]:
    """What all runs of it noted."""
    paths = [NOTED / f"{language}.jsonl", *sorted(NOTED.glob(f"{language}-*.jsonl"))]
    return [line for path in paths if path.exists() for line in path.read_text("utf-8").splitlines()]


def table(lines: Iterable[str]) -> str:
    """`yes` where all tests of a behaviour passed, the number of a note where the library beneath has a limit, `NO`
    where one failed or none ran."""
    told = [json.loads(line) for line in lines]
    adapters = sorted({line["adapter"] for line in told})
    own = sorted({line["behaviour"] for line in told} - {*ROWS})
    notes: dict[str, int] = {}
    rows = [f"| | {' | '.join(adapters)} |", "| --- |" + " --- |" * len(adapters)]
    for behaviour in (*ROWS, *own):
        cells: list[str] = []
        for adapter in adapters:
            here = [line for line in told if (line["behaviour"], line["adapter"]) == (behaviour, adapter)]
            limits = sorted({line["limit"] for line in here} - {None})
            if not here or any(line["outcome"] != "passed" for line in here):
                cells.append("NO")
            elif limits:
                cells.append(" ".join(f"[{notes.setdefault(limit, len(notes) + 1)}]" for limit in limits))
            else:
                cells.append("yes")
        rows.append(f"| {behaviour} | {' | '.join(cells)} |")
    return "\n".join([*rows, *([""] if notes else []), *(f"{number}. {it}." for it, number in notes.items())])


def sections(page: str) -> dict[str, str]:
    """What stands under the heading of each language."""
    found: dict[str, str] = {}
    for part in page.split("\n## ")[1:]:
        heading, _, text = part.partition("\n")
        found[heading] = text.strip()
    return found


def written(before: str, tables: dict[str, str]) -> str:
    """The page with these tables; languages that were not run keep theirs."""
    held = sections(before) | {LANGUAGES[language]: text for language, text in tables.items()}
    parts = [f"## {heading}\n\n{held[heading]}\n" for heading in LANGUAGES.values() if heading in held]
    return "\n".join([BEGIN, *parts])


def refused(new: str) -> list[str]:
    """Why such a table must not stand on the page."""
    if not new.splitlines()[0].strip("| "):
        return ["Its tests noted nothing."]
    rows = [row for row in new.splitlines() if "| NO |" in row]
    return ["Not every adapter does as its library alone, or was not asked:", *rows] if rows else []


def differences(language: str, before: str, new: str) -> list[str]:
    """Between the page and what the tests noted."""
    now = sections(before).get(LANGUAGES[language], "")
    return list(difflib.unified_diff(now.splitlines(), new.splitlines(), "the page", "this run", lineterm=""))


def is_so(language: str) -> bool:
    """Whether the page says of this language what its tests noted."""
    before = PAGE.read_text("utf-8") if PAGE.exists() else ""
    new = table(noted(language))
    if why := refused(new):
        print("\n".join(why))
        return False
    if not (changes := differences(language, before, new)):
        return True
    print("\n".join(changes))
    every = {each: table(noted(each)) for each in LANGUAGES}
    good = {each: text for each, text in every.items() if not refused(text)}
    WRITTEN.write_text(written(before, good), "utf-8")
    print(f"If that is meant: cp {WRITTEN} {PAGE.relative_to(ROOT)}")
    return False


def step(language: str, needs: tuple[str, ...], why_not: Callable[[], str | None] = lambda: None) -> Step:
    """After the steps whose tests note behaviours."""
    return Step(f"{language}: page of behaviours", lambda: is_so(language), needs=needs, why_not=why_not)
