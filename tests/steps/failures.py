"""Which tests of a runner's output failed, and what each of them said."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field


@dataclass
class Failure:
    name: str
    lines: list[str] = field(default_factory=list)


def failures(text: str) -> list[Failure]:
    """The failed tests by the first runner that knows of any; where no test failed, the errors."""
    lines = [line.rstrip() for line in plain(text).splitlines()]
    readers: list[Callable[[list[str]], list[Failure]]] = [
        unittest, cargo, pytest, node, maven, swift, script, errors,
    ]  # fmt: skip
    for read in readers:
        if found := read(lines):
            return found
    return []


def plain(text: str) -> str:
    """Without what colours it."""
    return re.sub(r"\x1b(\[[\d;]*[mK]|\(B)", "", text)


def _until(lines: list[str], begin: int, *ends: str) -> list[str]:
    """The lines from there to one that begins like one of the ends, without what is blank around them."""
    end = begin
    while end < len(lines) and not any(re.match(pattern, lines[end]) for pattern in ends):
        end += 1
    return _trimmed(lines[begin:end])


def _trimmed(lines: list[str]) -> list[str]:
    text = "\n".join(lines).strip("\n")
    return text.split("\n") if text.strip() else []


def _dedented(lines: list[str]) -> list[str]:
    return textwrap.dedent("\n".join(lines)).split("\n") if lines else []


def _merged(found: Iterable[Failure]) -> list[Failure]:
    """One failure a name."""
    by_name: dict[str, Failure] = {}
    for failure in found:
        by_name.setdefault(failure.name, Failure(failure.name)).lines.extend(failure.lines)
    return list(by_name.values())


# ---- cargo test, and programs that report like it ----
CARGO_FAILED = re.compile(r"test (\S.*?)(?: - (?:should panic|compile|compile fail))? +\.\.\. FAILED")
CARGO_BLOCK = re.compile(r"---- (\S.*?)(?: stdout)? ----$")
CARGO_ENDED = re.compile(r"error: (?:test|doctest) failed, to rerun pass `(.+)`$")


def cargo(lines: list[str]) -> list[Failure]:
    named = [Failure(match[1]) for line in lines if (match := CARGO_FAILED.match(line))]
    blocks = []
    for number, line in enumerate(lines):
        if match := CARGO_BLOCK.match(line):
            ends = ("---- .* ----$", "failures:$", "test result: ", "error: ")
            blocks.append(Failure(match[1], _until(lines, number + 1, *ends)))
        # A program that did not end by itself tells of no test: what it said last may.
        elif (match := CARGO_ENDED.match(line)) and lines[number + 1 : number + 3] == ["", "Caused by:"]:
            why = _until(lines, number + 3, "$")
            before = _trimmed(lines[max(0, number - 20) : number])
            blocks.append(Failure(f"{match[1]}: {why[0].strip()}", before + why))
    return _merged([*named, *blocks])


# ---- pytest ----
PYTEST_FAILED = re.compile(r"(?:FAILED|ERROR) (\S+\.py(?:::.*?)?)(?: - .*)?$")
PYTEST_SECTION = re.compile(r"=+ (FAILURES|ERRORS) =+$")
PYTEST_BLOCK = re.compile(r"_+ ([^_ ].*?) _+$")


def pytest(lines: list[str]) -> list[Failure]:
    blocks: list[Failure] = []
    inside = False
    for number, line in enumerate(lines):
        if line.startswith("====="):
            inside = bool(PYTEST_SECTION.match(line))
        elif inside and (match := PYTEST_BLOCK.match(line)):
            said = _until(lines, number + 1, "_+ [^_ ].* _+$", "=====")
            # The source of the test is in its file: from the line that failed on.
            at = next((at for at, text in enumerate(said) if text.startswith((">", "E "))), 0)
            blocks.append(Failure(match[1], said[at:]))
    found = []
    for match in filter(None, map(PYTEST_FAILED.match, lines)):
        # A block is headed by the last part of the name, or by «ERROR at setup of» and that.
        title = match[1].split("::", 1)[-1].replace("::", ".")
        mine = [block for block in blocks if f" {block.name}".endswith(f" {title}")]
        blocks = [block for block in blocks if block not in mine]
        found.append(Failure(match[1], [line for block in mine for line in block.lines]))
    return _merged([*found, *blocks])


# ---- Python's own unittest ----
UNITTEST_BLOCK = re.compile(r"(?:FAIL|ERROR): (.+)$")


def unittest(lines: list[str]) -> list[Failure]:
    found = []
    for number, line in enumerate(lines):
        if number and lines[number - 1] == "=" * 70 and (match := UNITTEST_BLOCK.match(line)):
            found.append(Failure(match[1], _until(lines, number + 2, "={70}$", "-{70}$")))
    return _merged(found)


# ---- node --test, as TAP ----
TAP_SUBTEST = re.compile(r"( *)# Subtest: (.*)$")
TAP_FAILED = re.compile(r"( *)not ok \d+ - (.*)$")


def node(lines: list[str]) -> list[Failure]:
    within: dict[int, str] = {}
    found: list[Failure] = []
    for number, line in enumerate(lines):
        if match := TAP_SUBTEST.match(line):
            within = {depth: name for depth, name in within.items() if depth < len(match[1])}
            within[len(match[1])] = match[2]
        elif (match := TAP_FAILED.match(line)) and not re.search(r" # (TODO|SKIP)", match[2]):
            depth, title = len(match[1]), match[2]
            said = _until(lines, number + 1, rf" {{{depth + 2}}}\.\.\.$")
            # What failed within stands before it.
            if found and "failureType: 'subtestsFailed'" in map(str.strip, said):
                continue
            above = [name for at, name in sorted(within.items()) if at < depth]
            said = _dedented(said)
            # What a whole file wrote stands before it.
            if re.search(r"\.[cm]?[jt]s$", title):
                said = _comments_before(lines, number) + said
            found.append(Failure(" > ".join([*above, title]), said))
    return _merged(found)


def _comments_before(lines: list[str], number: int) -> list[str]:
    begin = number
    while begin > max(0, number - 40) and lines[begin - 1].startswith("# "):
        begin -= 1
    return lines[begin : number - 1]


# ---- Maven's surefire ----
MAVEN_FAILED = re.compile(r"\[ERROR\] (.+?) +(?:-- )?Time elapsed: .* <<< (?:FAILURE|ERROR)!$")
MAVEN_FRAME = re.compile(r"\s+at (?!dev\.keyswap)|\s+\.\.\. \d+ more$")


def maven(lines: list[str]) -> list[Failure]:
    found = []
    for number, line in enumerate(lines):
        if (match := MAVEN_FAILED.match(line)) and not match[1].startswith("Tests run:"):
            said = _until(lines, number + 1, r"\[[A-Z]+\]")
            found.append(Failure(match[1], [text for text in said if not MAVEN_FRAME.match(text)]))
    return _merged(found)


# ---- swift test ----
XCTEST_FAILED = re.compile(r"(\S+:\d+): error: (-\[.+?\]|\w+\.\w+) : (.*)$")
XCTEST_CASE = re.compile(r"Test Case '(.+)' (started|passed|failed|skipped)")


def swift(lines: list[str]) -> list[Failure]:
    found: list[Failure] = []
    running = None
    begun = 0
    for number, line in enumerate(lines):
        if match := XCTEST_FAILED.match(line):
            more = _until(lines, number + 1, "Test (Case|Suite) '", r"\S+:\d+: error: ", "stories: ")
            found.append(Failure(match[2], [f"{match[1]}: {match[3]}", *more]))
        elif match := XCTEST_CASE.match(line):
            running, begun = (match[1], number) if match[2] == "started" else (None, 0)
    if running:
        found.append(Failure(f"{running}, which did not end", _trimmed(lines[begun:])))
    return _merged(found)


# ---- scripts that write «FAILED  name», and what it said further in ----
SCRIPT_FAILED = re.compile(r"FAILED  +(\S.*)$")


def script(lines: list[str]) -> list[Failure]:
    numbers = [number for number, line in enumerate(lines) if SCRIPT_FAILED.match(line)]
    return _merged(
        Failure(lines[number].removeprefix("FAILED").strip(), _dedented(_until(lines, number + 1, r"\S")))
        for number in numbers
    )


# ---- what is no test: compilers, checkers, and programs that end with an error ----
ERROR = re.compile(
    r"error(\[\w+\])?: "  # rustc, clippy, cargo, stubtest, Swift's package manager
    r"|\S.*?:\d+(:\d+)?: (fatal )?error: "  # mypy, swiftc, C
    r"|\s+\S+:\d+:\d+ - error: "  # pyright
    r"|\S+\(\d+,\d+\): error TS"  # tsc
    r"|npm (ERR!|error) "
    r"|ERROR: "  # pip
    r"|\[ERROR\] +\S"  # Maven
    r"|Diff in \S+:\d+"  # cargo fmt
    r"|thread '.*' .*panicked at "
    r"|Traceback \(most recent call last\):"
)
SAYS_NOTHING = re.compile(
    r"error: (aborting due to|could not compile|\d+ targets? failed)"
    r"|\[ERROR\] (-> \[Help|To see the full stack|Re-run Maven|For more information|\[Help \d)"
)
CONTEXT = 12


def errors(lines: list[str]) -> list[Failure]:
    found = []
    for number, line in enumerate(lines):
        if ERROR.match(line) and not SAYS_NOTHING.match(line):
            said = _until(lines, number + 1, "$", ERROR.pattern)
            after = number + 1 + len(said)
            if lines[after : after + 2] == ["", "Caused by:"]:
                said += _until(lines, after, "$") + _until(lines, after + 1, "$")
            # What a traceback is about stands at its end.
            is_trace = line.startswith("Traceback")
            said = said[-CONTEXT:] if is_trace else said[:CONTEXT]
            found.append(Failure((said[-1] if is_trace else line).strip()[:160], [line, *said]))
    return _merged(found)
