"""Tiny programs with known optima, run by every back end."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from advverify.verifier.encoding import ColumnMap, MixedIntegerProgram
from advverify.verifier.solvers import SOLVERS, SolveOptions, SolverStatus, get_solver
from advverify.verifier.solvers.clarabel import Clarabel


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


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000))
def test_clarabel_agrees_with_highs(seed: int) -> None:
    """Convex QPs with equalities, one-sided rows, fixed and free columns; infeasible ones among them."""
    rng = np.random.default_rng(seed)
    columns, rows = 6, 5
    lower = np.where(rng.random(columns) < 0.2, -np.inf, rng.normal(size=columns) - 1)
    upper = np.where(rng.random(columns) < 0.2, np.inf, lower + rng.random(columns) * 3)
    upper = np.where(np.isfinite(upper) | np.isfinite(lower), upper, 5.0)
    fixed = rng.random(columns) < 0.2
    lower, upper = np.where(fixed, 0.5, lower), np.where(fixed, 0.5, upper)
    middle = rng.normal(size=rows)
    kind = rng.integers(0, 3, rows)
    program = MixedIntegerProgram(
        sp.csr_matrix(rng.normal(size=(rows, columns))),
        np.where(kind == 1, -np.inf, middle),
        np.where(kind == 2, np.inf, middle + np.where(kind == 0, 0.0, 1.0)) if seed % 2 else np.full(rows, np.inf),
        lower,
        upper,
        rng.normal(size=columns),
        np.zeros(columns, bool),
        ColumnMap(np.arange(columns)),
        rng.random(columns) + 0.1,
        1.5,
    )
    ours, theirs = Clarabel().solve(program, SolveOptions()), get_solver("highs").solve(program, SolveOptions())
    assert (ours.status is SolverStatus.INFEASIBLE) == (theirs.status is SolverStatus.INFEASIBLE)
    if theirs.status is SolverStatus.OPTIMAL:
        assert ours.status is SolverStatus.OPTIMAL and ours.point is not None
        assert ours.objective == pytest.approx(theirs.objective, abs=1e-6, rel=1e-6)
        assert ours.dual_bound == pytest.approx(ours.objective, abs=1e-7, rel=1e-7)
        assert program.violation(ours.point) < 1e-7


def test_clarabel_refuses_integers() -> None:
    with pytest.raises(ValueError, match="integers"):
        Clarabel().solve(knapsack(), SolveOptions())
