"""As on the command line: threads that wait spin briefly, so that two test processes leave each other the cores.

Tests of right answers carry the marker `soundness`: all files but those named here, so that a new file is one of them unless
it is said otherwise. `make soundness` runs them; `python -m benchmarks mutants` measures what they notice.
"""

import os

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "3000")

# What these test is of use to people, but no verdict or bracket depends on it, or no more than other files test.
NOT_OF_ANSWERS = {
    "test_batch.py",
    "test_cli.py",
    "test_comparison.py",
    "test_examples.py",
    "test_fuzz.py",
    "test_geometry.py",
    "test_installation.py",
    "test_layout.py",
    "test_models.py",
    "test_progress.py",
    "test_training.py",
    "test_workers.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name not in NOT_OF_ANSWERS:
            item.add_marker("soundness")
