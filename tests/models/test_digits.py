"""The built-in digits are scikit-learn's, and answering a query about them imports none of it."""

import subprocess
import sys

import numpy as np
from sklearn.datasets import load_digits

from advverify.models.datasets import load_dataset
from advverify.models.datasets.digits import TEST, _raw


def test_they_are_what_scikit_learn_loads() -> None:
    values, target = _raw()
    theirs = load_digits()
    assert np.array_equal(values, theirs.data) and np.array_equal(target, theirs.target)
    test, train = load_dataset("digits"), load_dataset("digits", split="train")
    assert len(test) == TEST and len(train) == len(target) - TEST
    assert test.images.min() == 0.0 and test.images.max() == 1.0


def test_a_query_about_them_does_without_scikit_learn() -> None:
    """Its import takes longer than the answer."""
    command = (
        "import sys; from advverify.cli.main import run;"
        "assert run(['certify', 'zoo:digits-mlp', '--eps', '0.01', '--images', '0']) == 0;"
        "print('sklearn' in sys.modules, 'scipy.stats' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-2:] == ["False", "False"]
