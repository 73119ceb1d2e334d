"""Each runner's own words, and what of them is shown."""

from __future__ import annotations

import textwrap
import unittest

from .failures import Failure, failures
from .report import MOST_LINES, excerpt

CARGO = """\
running 3 tests
test driver::it_ends ... ok
test sources::hostile::a_pipe_is_not_read ... FAILED
test core/src/client/mod.rs - client::Client (line 59) - compile ... FAILED

failures:

---- sources::hostile::a_pipe_is_not_read stdout ----

thread 'sources::hostile::a_pipe_is_not_read' (11) panicked at core/tests/sources.rs:12:5:
assertion `left == right` failed
  left: 1
 right: 2

---- core/src/client/mod.rs - client::Client (line 59) stdout ----
error[E0425]: cannot find value `keys` in this scope

failures:
    sources::hostile::a_pipe_is_not_read
    core/src/client/mod.rs - client::Client (line 59)

test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s

error: test failed, to rerun pass `-p keyswap --test sources`
"""


def names(text: str) -> list[str]:
    return [failure.name for failure in failures(text)]


def lines(text: str) -> list[str]:
    return [line for failure in failures(text) for line in failure.lines]


class Cargo(unittest.TestCase):
    def test_names_and_blocks(self) -> None:
        pipe, documented = failures(CARGO)
        self.assertEqual(pipe.name, "sources::hostile::a_pipe_is_not_read")
        self.assertEqual(pipe.lines[-3:], ["assertion `left == right` failed", "  left: 1", " right: 2"])
        self.assertEqual(documented.name, "core/src/client/mod.rs - client::Client (line 59)")
        self.assertEqual(documented.lines, ["error[E0425]: cannot find value `keys` in this scope"])

    def test_far_from_the_end_of_the_log(self) -> None:
        others = "".join(f"test core/src/lib.rs - page::{at} (line {at}) ... ok\n" for at in range(2000))
        text = f"{others}{CARGO}   Doc-tests keyswap\n{others}error: 1 target failed:\n    `--test sources`\n"
        shown = excerpt(failures(text))
        self.assertEqual(shown[0], "failed: sources::hostile::a_pipe_is_not_read")
        self.assertIn("assertion `left == right` failed", shown)
        self.assertNotIn("... ok", "".join(shown))

    def test_stories_that_report_like_it(self) -> None:
        text = (
            "test tower::cut                       ... ok\n"
            "test middleware::push-slow            ... FAILED\n"
            "\nfailures:\n\n---- middleware::push-slow ----\napi.with.k2: expected 1 to 10, got 18\n\n\n"
            "failures:\n    middleware::push-slow\n\ntest result: FAILED. 1 passed; 1 failed; 0 ignored\n"
        )
        expected = [Failure("middleware::push-slow", ["api.with.k2: expected 1 to 10, got 18"])]
        self.assertEqual(failures(text), expected)

    def test_a_program_that_did_not_end_by_itself(self) -> None:
        text = (
            "running 2 tests\ntest a ... ok\n\n"
            "thread 'b' has overflowed its stack\nfatal runtime error: stack overflow, aborting\n"
            "error: test failed, to rerun pass `-p keyswap --test hostile`\n\nCaused by:\n"
            "  process didn't exit successfully: `target/debug/deps/hostile` (signal: 6, SIGABRT)\n"
        )
        (failure,) = failures(text)
        self.assertTrue(failure.name.startswith("-p keyswap --test hostile: process didn't exit"), failure.name)
        self.assertIn("fatal runtime error: stack overflow, aborting", failure.lines)

    def test_what_does_not_compile(self) -> None:
        text = (
            "   Compiling keyswap v0.1.0\n"
            "error[E0308]: mismatched types\n"
            "  --> core/src/clock.rs:12:5\n   |\n12 |     1\n   |     ^ expected `u8`\n\n"
            "error: aborting due to 1 previous error\n\n"
            "error: could not compile `keyswap` (lib) due to 1 previous error\n"
        )
        (failure,) = failures(text)
        self.assertEqual(failure.name, "error[E0308]: mismatched types")
        self.assertIn("  --> core/src/clock.rs:12:5", failure.lines)

    def test_what_passes_is_no_failure(self) -> None:
        self.assertEqual(failures("test a ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n"), [])


class Pytest(unittest.TestCase):
    TEXT = textwrap.dedent("""\
        ..F.E                                                                    [100%]
        ==================================== ERRORS ====================================
        ________________________ ERROR at setup of test_ready __________________________

            @pytest.fixture
            def world():
        >       raise OSError("no endpoint")
        E       OSError: no endpoint

        tests/conftest.py:7: OSError
        =================================== FAILURES ===================================
        ___________________________ TestKeys.test_sign[hmac] ___________________________

            def test_sign(kind):
                long = "source"
        >       assert 1 == 2
        E       assert 1 == 2

        tests/test_sign.py:9: AssertionError
        ----------------------------- Captured stdout call -----------------------------
        what it printed
        =========================== short test summary info ============================
        FAILED tests/test_sign.py::TestKeys::test_sign[hmac] - assert 1 == 2
        ERROR tests/test_keys.py::test_ready - OSError: no endpoint
        1 failed, 3 passed, 1 error in 0.12s
        """)

    def test_names_and_blocks(self) -> None:
        sign, ready = failures(self.TEXT)
        self.assertEqual(sign.name, "tests/test_sign.py::TestKeys::test_sign[hmac]")
        self.assertEqual(sign.lines[0].strip("> "), "assert 1 == 2")
        self.assertEqual(sign.lines[-1], "what it printed")
        self.assertEqual(ready.name, "tests/test_keys.py::test_ready")
        self.assertIn("tests/conftest.py:7: OSError", ready.lines)

    def test_a_file_that_cannot_be_read(self) -> None:
        text = textwrap.dedent("""\
            ==================================== ERRORS ====================================
            _____________________ ERROR collecting tests/test_keys.py ______________________
            E   ModuleNotFoundError: No module named 'keyswap'
            =========================== short test summary info ============================
            ERROR tests/test_keys.py
            1 error in 0.05s
            """)
        expected = [Failure("tests/test_keys.py", ["E   ModuleNotFoundError: No module named 'keyswap'"])]
        self.assertEqual(failures(text), expected)


class Node(unittest.TestCase):
    TEXT = textwrap.dedent("""\
        TAP version 13
        # Subtest: keys: a handle swaps
        ok 1 - keys: a handle swaps
          ---
          duration_ms: 1.5
          ...
        # Subtest: stories through node
            # Subtest: planned-overlap
            not ok 1 - planned-overlap
              ---
              duration_ms: 3086.8
              error: |-
                67 ms late at most, play 1
              code: 'ERR_ASSERTION'
              ...
            # Subtest: wrong-clock
            ok 2 - wrong-clock
            1..2
        not ok 2 - stories through node
          ---
          failureType: 'subtestsFailed'
          error: '1 subtest failed'
          ...
        not ok 3 - later # TODO
        # Error: Cannot find module 'undici'
        #     at load (node:internal:1)
        # Subtest: test/wire.test.mjs
        not ok 4 - test/wire.test.mjs
          ---
          exitCode: 1
          ...
        # pass 2
        # fail 2
        """)

    def test_names_and_blocks(self) -> None:
        story, file = failures(self.TEXT)
        self.assertEqual(story.name, "stories through node > planned-overlap")
        self.assertIn("  67 ms late at most, play 1", story.lines)
        self.assertEqual(file.name, "test/wire.test.mjs")
        self.assertEqual(file.lines[0], "# Error: Cannot find module 'undici'")


class Maven(unittest.TestCase):
    def test_names_and_blocks(self) -> None:
        text = (
            "[ERROR] Tests run: 9, Failures: 1, Errors: 0, Skipped: 0, Time elapsed: 8 s <<< FAILURE! -- in a.HttpTest\n"
            "[ERROR] dev.keyswap.HttpTest.a redirect takes no key -- Time elapsed: 0.1 s <<< ERROR!\n"
            "java.lang.IllegalStateException: no\n"
            "\tat org.junit.jupiter.api.Assertions.fail(Assertions.java:1)\n"
            "\tat dev.keyswap.HttpTest.run(HttpTest.kt:53)\n\n"
            "[INFO] Running dev.keyswap.JavaTest\n"
            "[ERROR] Failures: \n[ERROR]   HttpTest.a redirect takes no key:53 no\n"
        )
        said = ["java.lang.IllegalStateException: no", "\tat dev.keyswap.HttpTest.run(HttpTest.kt:53)"]
        self.assertEqual(failures(text), [Failure("dev.keyswap.HttpTest.a redirect takes no key", said)])

    def test_what_does_not_compile(self) -> None:
        text = (
            "[INFO] --- kotlin-maven-plugin:2.2.0:compile (compile) @ keyswap ---\n"
            "[ERROR] /src/KeySwap.kt: (12, 3) Unresolved reference: keys\n"
            "[INFO] BUILD FAILURE\n"
            "[ERROR] Failed to execute goal org.jetbrains.kotlin: Compilation failure\n"
            "[ERROR] -> [Help 1]\n[ERROR] \n[ERROR] Re-run Maven using the -X switch\n"
        )
        first, _ = failures(text)
        self.assertEqual(first.name, "[ERROR] /src/KeySwap.kt: (12, 3) Unresolved reference: keys")


class Swift(unittest.TestCase):
    def test_names_and_messages(self) -> None:
        text = textwrap.dedent("""\
            Test Case 'HopsTests.testTen' started at 2026-01-02 03:04:05.006
            /src/Tests/HopsTests.swift:36: error: HopsTests.testTen : XCTAssertEqual failed: ("1") is not ("2")
            counted: [1]
            Test Case 'HopsTests.testTen' failed (0.012 seconds)
            Test Case 'HopsTests.testMore' started at 2026-01-02 03:04:05.006
            Test Case 'HopsTests.testMore' passed (0.012 seconds)
            """)
        said = ['/src/Tests/HopsTests.swift:36: XCTAssertEqual failed: ("1") is not ("2")', "counted: [1]"]
        self.assertEqual(failures(text), [Failure("HopsTests.testTen", said)])

    def test_a_test_that_did_not_end(self) -> None:
        text = (
            "Test Case 'HopsTests.testTen' started at 2026-01-02 03:04:05.006\n"
            "Keyswap/Hops.swift:7: Fatal error: Index out of range\n"
        )
        self.assertEqual(names(text), ["HopsTests.testTen, which did not end"])

    def test_what_does_not_compile(self) -> None:
        text = "[3/9] Compiling\n/src/Sources/Client.swift:12:3: error: cannot find 'keys' in scope\n12 | keys\n"
        self.assertEqual(names(text), ["/src/Sources/Client.swift:12:3: error: cannot find 'keys' in scope"])


class Others(unittest.TestCase):
    def test_scripts(self) -> None:
        text = "ok      events: 7 runs\nFAILED  document\n        | it took 3 s\nok      file: 1 runs\n4 passed, 1 failed\n"
        self.assertEqual(failures(text), [Failure("document", ["| it took 3 s"])])

    def test_checkers(self) -> None:
        for line in [
            "python/keyswap/client.py:12: error: Incompatible types in assignment  [assignment]",
            "  /src/python/keyswap/client.py:12:5 - error: Type of x is unknown (reportUnknown)",
            "error: keyswap._native.KeySwap.close is not present at runtime",
            "lib/index.ts(12,5): error TS2322: Type 'string' is not assignable to type 'number'.",
            "npm error code E404",
            "ERROR: No matching distribution found for maturin",
            "Diff in /src/core/src/lib.rs:12:",
            "[ERROR] Failed to execute goal on project keyswap",
        ]:
            with self.subTest(line):
                self.assertEqual(names(f"Checking ...\n{line}\n   more\n\nDone\n"), [line.strip()])
                self.assertEqual(lines(f"{line}\n   more\n\nDone\n"), [line, "   more"])

    def test_a_trace_is_named_by_its_end(self) -> None:
        text = 'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\nKeyError: \'k2\'\n'
        self.assertEqual(names(text), ["KeyError: 'k2'"])

    def test_this_very_runner(self) -> None:
        text = (
            f"..F\n{'=' * 70}\nFAIL: test_cargo (steps.test_counts.Counts.test_cargo)\n{'-' * 70}\n"
            f"Traceback (most recent call last):\nAssertionError: 1 != 2\n\n{'-' * 70}\n"
            "Ran 3 tests in 0.001s\n\nFAILED (failures=1)\n"
        )
        said = ["Traceback (most recent call last):", "AssertionError: 1 != 2"]
        expected = [Failure("test_cargo (steps.test_counts.Counts.test_cargo)", said)]
        self.assertEqual(failures(text), expected)

    def test_nothing_is_known(self) -> None:
        self.assertEqual(failures('--- revoked ---\n{"adoption_ms":{"p50":null},"failed":0}\n'), [])


class Excerpt(unittest.TestCase):
    def test_whatever_failed_the_lines_are_bounded(self) -> None:
        for many in (1, 2, 13, 14, 100):
            for long in (0, 1, 5, 1000):
                found = [Failure(f"test {at}", [f"{line}" for line in range(long)]) for at in range(many)]
                with self.subTest(f"{many} failures of {long} lines"):
                    shown = excerpt(found)
                    self.assertLessEqual(len(shown), MOST_LINES)
                    self.assertEqual(shown[0], "failed: test 0")

    def test_what_a_thousand_callers_say_stands_once(self) -> None:
        shown = excerpt([Failure("storm", ["why", *["Suppressed: no"] * 1000, "end"])])
        self.assertEqual(shown[-3:], ["why", "Suppressed: no (1000 times)", "end"])

    def test_begin_and_end_are_shown_and_short_ones_are_whole(self) -> None:
        long = [f"line {at}" for at in range(1000)]
        shown = excerpt([Failure("long", long), Failure("short", ["why"])])
        for line in ("line 0", "line 999", "---- short ----", "why"):
            self.assertIn(line, shown)
        self.assertGreater(len(shown), MOST_LINES - 5)
