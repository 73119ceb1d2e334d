"""Each runner's own words, and how many tests they count."""

from __future__ import annotations

import unittest

from .counts import counts


class Counts(unittest.TestCase):
    def check(self, text: str, passed: int, failed: int) -> None:
        self.assertEqual(counts(text), (passed, failed))

    def test_cargo_adds_the_results_of_all_programs(self) -> None:
        self.check(
            "running 3 tests\n"
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s\n"
            "\n"
            "test result: FAILED. 444 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out\n"
            "   Doc-tests keyswap\n"
            "test result: ok. 54 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\n",
            *(501, 1),
        )

    def test_pytest(self) -> None:
        for line, passed, failed in [
            ("3 passed in 2.50s", 3, 0),
            ("1 failed, 3 passed in 2.50s", 3, 1),
            ("7 failed, 470 passed in 409.67s (0:06:49)", 470, 7),
            ("159 passed, 12 deselected, 2 warnings in 36.01s", 159, 0),
            ("1 failed, 3 passed, 1 skipped, 2 errors in 2.50s", 3, 3),
            ("2 failed in 0.10s", 0, 2),
            ("1 error in 0.10s", 0, 1),
            ("=========== 1 failed, 3 passed in 2.50s ===========", 3, 1),
        ]:
            with self.subTest(line):
                self.check(f"....  [100%]\n{line}\n", passed, failed)
        self.assertIsNone(counts("174 deselected in 0.30s\n"))

    def test_node(self) -> None:
        tap = "ok 1 - a name with 3 passed\n1..2\n# tests 391\n# suites 6\n# pass 389\n# fail 2\n# cancelled 0\n"
        self.check(tap, 389, 2)

    def test_maven_by_its_total_alone(self) -> None:
        self.check(
            "[INFO] Tests run: 20, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 4.1 s -- in dev.keyswap.HopsTest\n"
            "[ERROR] Tests run: 9, Failures: 2, Errors: 1, Skipped: 1, Time elapsed: 1 s <<< FAILURE! -- in a.B\n"
            "[INFO] Results:\n"
            "[ERROR] Tests run: 29, Failures: 2, Errors: 1, Skipped: 1\n",
            *(25, 3),
        )

    def test_swift_by_its_stories_and_else_by_its_tests(self) -> None:
        tests = "Test Case 'A.testOne' passed (0.1 seconds)\nTest Case 'A.testTwo' failed (0.1 seconds)\n"
        self.check(tests, 1, 1)
        self.check(f"{tests}stories: 105 passed, 2 failed\n", 105, 2)

    def test_scripts(self) -> None:
        self.check("caught  a rule\nFAILED  another\n61 passed, 2 failed\n", 61, 2)

    def test_unittest(self) -> None:
        self.check("....\nRan 4 tests in 0.010s\n\nOK\n", 4, 0)
        self.check("..FE\nRan 4 tests in 0.010s\n\nFAILED (failures=1, errors=1)\n", 2, 2)

    def test_nothing(self) -> None:
        self.assertIsNone(counts(""))
        self.assertIsNone(counts("    Finished `dev` profile in 2.5s\n12 warnings in 3 files\n"))
