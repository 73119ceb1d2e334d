"""How the page of behaviours is written from what tests noted, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import unittest
from pathlib import Path
from unittest import mock

from . import behaviours, kotlin, node, python, rust, swift

FIRST, SECOND = "it is quick", "it is kind"


def line(adapter: str, behaviour: str, outcome: str = "passed", limit: str | None = None) -> str:
    told = {"adapter": adapter, "behaviour": behaviour, "outcome": outcome, "limit": limit}
    return json.dumps(told)


@mock.patch.object(behaviours, "ROWS", (FIRST, SECOND))
class Table(unittest.TestCase):
    def rows(self, *lines: str) -> list[str]:
        return behaviours.table(lines).splitlines()

    def test_rows_and_columns_have_an_order_whatever_the_tests_have(self) -> None:
        rows = self.rows(line("b", "of its own"), line("b", SECOND), line("b", FIRST), line("a", FIRST))
        self.assertEqual(
            rows,
            [
                "| | a | b |",
                "| --- | --- | --- |",
                f"| {FIRST} | yes | yes |",
                f"| {SECOND} | NO | yes |",
                "| of its own | NO | yes |",
            ],
        )

    def test_one_test_of_several_that_failed_is_a_no(self) -> None:
        told = [line("a", FIRST), line("a", FIRST, "failed"), line("a", FIRST), line("a", SECOND, "skipped")]
        self.assertEqual(self.rows(*told)[2:], [f"| {FIRST} | NO |", f"| {SECOND} | NO |"])

    def test_limits_are_numbered_notes_and_each_stands_once(self) -> None:
        why = "what is beneath cannot"
        told = [line("a", FIRST, limit=why), line("b", FIRST, limit="nor can this")]
        told += [line("a", SECOND, limit=why), line("b", SECOND), line("b", FIRST)]
        rows = [f"| {FIRST} | [1] | [2] |", f"| {SECOND} | [1] | yes |"]
        self.assertEqual(self.rows(*told)[2:], [*rows, "", f"1. {why}.", "2. nor can this."])

    def test_a_limit_excuses_no_failure(self) -> None:
        told = [line("a", FIRST, "failed", "it cannot"), line("a", SECOND)]
        self.assertEqual(self.rows(*told)[2], f"| {FIRST} | NO |")


class Steps(unittest.TestCase):
    def test_what_a_page_needs_is_there_and_comes_before_it(self) -> None:
        for part in (rust.PART, python.PART, node.PART, kotlin.PART, swift.PART):
            names = [step.name for step in part.steps]
            at = names.index(f"{part.name}: page of behaviours")
            # Where Swift is installed, no toolchain is made.
            missing = {*part.steps[at].needs} - {*names[:at]} - {"swift: toolchain"}
            self.assertEqual(missing, set(), part.name)

    def test_each_choice_of_peers_notes_by_itself_and_a_choice_of_tests_notes_nothing(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            with mock.patch.object(behaviours, "NOTED", Path(name)):
                all_of_it = node.noting(node.TESTS, (), {})
                oldest = node.noting(node.WITH_OLDEST_PEERS, node.PEERS, {})
                newer = node.noting(node.WITH_UNDICI_8, node.PEERS, {"KEYSWAP_PEERS": '{"undici": "undici-8"}'})
                chosen = node.noting(node.TESTS, ("--test-name-pattern=x",), {})
        paths = [Path(env["KEYSWAP_BEHAVIOURS"]).name for env in (all_of_it, oldest, newer)]
        self.assertEqual(paths, ["node.jsonl", "node-oldest.jsonl", "node-undici-undici-8.jsonl"])
        self.assertEqual((chosen, node.noting(node.STORIES, (), {})), ({}, {}))


@mock.patch.object(behaviours, "ROWS", (FIRST,))
class Page(unittest.TestCase):
    def test_languages_that_were_not_run_keep_their_tables(self) -> None:
        before = behaviours.written("", {"python": "of python", "rust": "of rust"})
        after = behaviours.written(before, {"swift": "of swift", "rust": "another"})
        self.assertEqual(
            behaviours.sections(after), {"Rust": "another", "Python": "of python", "Swift": "of swift"}
        )
        self.assertLess(after.index("## Rust"), after.index("## Python"))
        self.assertEqual(after, behaviours.written(after, {}))

    def test_a_page_that_says_what_was_noted_is_right(self) -> None:
        new = behaviours.table([line("a", FIRST)])
        page = behaviours.written("", {"node": new})
        self.assertEqual(behaviours.differences("node", page, new), [])
        self.assertTrue(behaviours.differences("python", page, new), "it has no table yet")

    def test_what_changed_is_shown_and_a_no_or_nothing_is_refused(self) -> None:
        page = behaviours.written("", {"node": behaviours.table([line("a", FIRST)])})
        more = behaviours.table([line("a", FIRST), line("b", FIRST)])
        self.assertIn("+| | a | b |", behaviours.differences("node", page, more))
        self.assertEqual(behaviours.refused(more), [])
        no = behaviours.table([line("a", FIRST, "failed"), line("b", FIRST)])
        self.assertEqual(behaviours.refused(no)[1:], [f"| {FIRST} | NO | yes |"])
        self.assertTrue(behaviours.refused(behaviours.table([])))

    def test_the_step_reads_each_run_and_writes_what_is_to_be_copied(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder, said = Path(name), io.StringIO()
            page, new = folder / "page.md", folder / "new.md"
            here = mock.patch.multiple(behaviours, ROOT=folder, PAGE=page, WRITTEN=new, NOTED=folder / "noted")
            with here, contextlib.redirect_stdout(said):
                behaviours.noting("node", "8").write_text(line("undici 8", FIRST) + "\n")
                behaviours.noting("node").write_text(line("undici 7", FIRST) + "\n")
                behaviours.noting("swift").write_text(line("swift", FIRST, "failed") + "\n")
                self.assertFalse(behaviours.is_so("swift"))
                self.assertFalse(new.exists(), "a NO is not to be copied")
                self.assertFalse(behaviours.is_so("node"))
                self.assertIn(f"cp {new} page.md", said.getvalue())
                page.write_text(new.read_text())
                self.assertTrue(behaviours.is_so("node"))
                self.assertIn("| undici 7 | undici 8 |", page.read_text())
                self.assertNotIn("Swift", page.read_text())
                self.assertEqual(behaviours.noted("python"), [])
                behaviours.noting("node", "8")
                self.assertFalse(behaviours.is_so("node"), "a run of undici 8 is missing")


if __name__ == "__main__":
    unittest.main()
