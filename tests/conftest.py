"""As on the command line: threads that wait spin briefly, so that two test processes leave each other the cores.

Tests of right answers carry the marker `soundness`: all files but those named here, so that a new file is one of them unless
it is said otherwise. `make soundness` runs them; `python -m benchmarks mutants` measures what they notice.
"""

import os
from pathlib import Path

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
os.environ["ADVVERIFY_SERVER"] = "off"  # a developer's own server would answer in the place of what is tested
os.environ.pop("COLUMNS", None)  # pytest-xdist sets it to 80, and tables would be as narrow

# What these test is of use to people, but no verdict or bracket depends on it, or no more than other files test.
NOT_OF_ANSWERS = {
    "cli/test_cli.py",
    "cli/test_gap.py",
    "cli/test_progress.py",
    "cli/test_saving.py",
    "cli/test_schema.py",
    "cli/python/test_exporting.py",
    "cli/python/test_outcomes.py",
    "laws/test_fuzz.py",
    "models/test_comparison.py",
    "models/test_geometry.py",
    "models/test_models.py",
    "models/test_training.py",
    "project/test_ablation.py",
    "project/test_examples.py",
    "project/test_installation.py",
    "project/test_layout.py",
    "project/test_typing.py",
    "verifier/batch/test_batch.py",
    "verifier/convergence/test_spool.py",
    "verifier/convergence/test_statistics.py",
    "verifier/convergence/test_trajectory.py",
    "verifier/engines/test_progress.py",
    "verifier/parallel/test_pool.py",
}


FOLDER = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(FOLDER).as_posix() not in NOT_OF_ANSWERS:
            item.add_marker("soundness")
