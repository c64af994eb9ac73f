"""Runs test modules: `run.py DIRECTORY_OF_THE_EXAMPLES MODULE...`

The last line is `clients: N passed, M failed`. A test that was skipped, and a module without a test,
is a failure: it isn't known then whether the client works.
"""

import pathlib
import sys
import unittest

import service


def main(examples, *modules):
    service.EXAMPLES = pathlib.Path(examples).resolve()
    # A client's own configuration in a home directory is no part of the test.
    service.isolate()
    suite = unittest.TestSuite()
    empty = []
    for module in modules:
        tests = unittest.defaultTestLoader.loadTestsFromName(pathlib.Path(module).stem)
        if tests.countTestCases() == 0:
            empty.append(module)
        suite.addTests(tests)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    for module in empty:
        print(f"{module} has no test")
    for test, reason in result.skipped:
        print(f"{test} was skipped: {reason}")
    bad = result.errors + result.failures + result.skipped + result.expectedFailures
    failed = len({str(test) for test, _ in bad}) + len(result.unexpectedSuccesses) + len(empty)
    # A failure in `setUpClass` is none of the tests that were run.
    passed = max(0, result.testsRun - failed)
    if passed == 0 and failed == 0:
        failed = 1
    print(f"clients: {passed} passed, {failed} failed", flush=True)
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
