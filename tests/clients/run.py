"""Runs test modules: `run.py DIRECTORY_OF_THE_EXAMPLES MODULE...`

The last line is `clients: N passed, M failed`. A test that was skipped, and a module without a test,
is a failure: it isn't known then whether the client works.
"""

import pathlib
import sys
import unittest

import service


class Result(unittest.TextTestResult):
    """Counts what passed one by one: what didn't run can't be taken for it."""

    passed = 0

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1


def main(examples, *modules):
    service.EXAMPLES = pathlib.Path(examples).resolve()
    # The configuration of the user who runs this is no part of the test.
    service.isolate()
    suite = unittest.TestSuite()
    empty = []
    for module in modules:
        tests = unittest.defaultTestLoader.loadTestsFromName(pathlib.Path(module).stem)
        if tests.countTestCases() == 0:
            empty.append(module)
        suite.addTests(tests)
    runner = unittest.TextTestRunner(stream=sys.stdout, verbosity=2, resultclass=Result)
    result = runner.run(suite)
    for module in empty:
        print(f"{module} has no test")
    for test, reason in result.skipped:
        print(f"{test} was skipped: {reason}")
    bad = result.errors + result.failures + result.skipped + result.expectedFailures
    failed = len({str(test) for test, _ in bad} | set(result.unexpectedSuccesses) | set(empty))
    print(f"clients: {result.passed} passed, {failed} failed", flush=True)
    return 0 if result.passed and not failed else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
