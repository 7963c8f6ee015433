"""Small programs of known optima."""

import numpy as np
import scipy.sparse as sp

from advverify.verifier.encoding import ColumnMap, MixedIntegerProgram


def knapsack() -> MixedIntegerProgram:
    """max 5a + 4b + 3c with 2a + 3b + c <= 5, 4a + b + 2c <= 11, 3a + 4b + 2c <= 8, whole, in [0, 10]: 13 at (2, 0, 1)."""
    matrix = sp.csr_matrix(np.array([[2.0, 3, 1], [4, 1, 2], [3, 4, 2]]))
    limits = np.array([5.0, 11, 8])
    low, high, cost = np.zeros(3), np.full(3, 10.0), np.array([-5.0, -4, -3])
    return MixedIntegerProgram(
        matrix, np.full(3, -np.inf), limits, low, high, cost, np.ones(3, bool), ColumnMap(np.arange(3))
    )
