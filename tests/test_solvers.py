"""Tiny programs with known optima, run by every back end."""

import numpy as np
import pytest
import scipy.sparse as sp

from advverify.verifier.encoding import ColumnMap, MixedIntegerProgram
from advverify.verifier.solvers import SOLVERS, SolveOptions, SolverStatus, get_solver


def knapsack() -> MixedIntegerProgram:
    """max 5a + 4b + 3c with 2a + 3b + c <= 5, 4a + b + 2c <= 11, 3a + 4b + 2c <= 8, whole, in [0, 10]: 13."""
    matrix = sp.csr_matrix(np.array([[2.0, 3, 1], [4, 1, 2], [3, 4, 2]]))
    return MixedIntegerProgram(
        matrix, np.full(3, -np.inf), np.array([5.0, 11, 8]), np.zeros(3), np.full(3, 10.0), np.array([-5.0, -4, -3]),
        np.ones(3, bool), ColumnMap(np.arange(3)),
    )  # fmt: skip


@pytest.mark.parametrize("name", SOLVERS)
def test_known_optimum(name: str) -> None:
    if name == "scip":
        pytest.importorskip("pyscipopt")
    result = get_solver(name).solve(knapsack(), SolveOptions(time_limit=30))
    assert result.status is SolverStatus.OPTIMAL and result.objective == pytest.approx(-13.0)
    assert result.point is not None and knapsack().violation(result.point) < 1e-6


def test_infeasible() -> None:
    program = knapsack().with_rows(sp.csr_matrix(np.ones((1, 3))), np.array([40.0]), np.array([50.0]))
    assert get_solver("highs").solve(program, SolveOptions()).status is SolverStatus.INFEASIBLE
