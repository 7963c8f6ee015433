"""Tiny programs with known optima, run by every back end."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import knapsack

from advverify.verifier.encoding import ColumnMap, MixedIntegerProgram
from advverify.verifier.errors import SolverUnavailable
from advverify.verifier.solvers import SOLVERS, SolveOptions, SolverStatus, get_solver
from advverify.verifier.solvers.clarabel import Clarabel
from advverify.verifier.solvers.safe_dual import safe_bound


@pytest.mark.parametrize("name", SOLVERS)
def test_known_optimum(name: str) -> None:
    try:
        solver = get_solver(name)
    except SolverUnavailable as missing:
        pytest.skip(str(missing))
    result = solver.solve(knapsack(), SolveOptions(time_limit=30))
    if "licen" in result.note.lower():
        pytest.skip(result.note)
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


def random_lp(seed: int) -> MixedIntegerProgram:
    """Boxed columns (a few open above, with a cost), rows of all kinds; feasible or not."""
    rng = np.random.default_rng(seed)
    columns, rows = 5, 4
    lower = rng.normal(size=columns)
    upper = np.where(rng.random(columns) < 0.15, np.inf, lower + rng.random(columns) * 3)
    low = rng.normal(size=rows)
    kind = rng.integers(0, 3, rows)
    return MixedIntegerProgram(
        sp.csr_matrix(np.where(rng.random((rows, columns)) < 0.7, rng.normal(size=(rows, columns)), 0.0)),
        np.where(kind == 1, -np.inf, low),
        np.where(kind == 2, np.inf, low + np.where(kind == 0, 0.0, 1.0)),
        lower,
        upper,
        np.where(np.isfinite(upper), rng.normal(size=columns), 4.0),
        np.zeros(columns, bool),
        ColumnMap(np.arange(columns)),
    )


def weak_dual(program: MixedIntegerProgram, y: np.ndarray) -> Fraction:
    """The bound of some multipliers in exact arithmetic, those without a side counted as 0."""
    total, columns = Fraction(0), len(program.cost)
    matrix = program.matrix.toarray()
    reduced = [Fraction(float(c)) for c in program.cost]
    for i, multiplier in enumerate(y):
        side = program.row_lower[i] if multiplier > 0 else program.row_upper[i]
        if multiplier == 0 or not np.isfinite(side):
            continue
        total += Fraction(float(multiplier)) * Fraction(float(side))
        for j in range(columns):
            reduced[j] -= Fraction(float(multiplier)) * Fraction(float(matrix[i, j]))
    for j, d in enumerate(reduced):
        end = program.col_lower[j] if d > 0 else program.col_upper[j]
        if d != 0:
            assert np.isfinite(end), "the bound is -inf"
            total += d * Fraction(float(end))
    return total


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 100_000), st.sampled_from([1e-6, 1.0, 1e6]))
def test_safe_bounds_are_below_exact_ones_for_any_multipliers(seed: int, size: float) -> None:
    program = random_lp(seed)
    y = size * np.random.default_rng(seed).normal(size=4)
    bound = safe_bound(program, y)
    if np.isfinite(bound):
        exact = weak_dual(program, y)
        assert Fraction(bound) <= exact
        assert bound == pytest.approx(float(exact), rel=1e-9, abs=1e-9 * (1 + size))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 100_000))
def test_safe_bounds_by_highs_are_optima(seed: int) -> None:
    program, highs = random_lp(seed), get_solver("highs")
    program = replace(program, col_upper=np.minimum(program.col_upper, 50.0))
    result = highs.solve(program, SolveOptions())
    if result.status is SolverStatus.OPTIMAL:
        assert result.row_dual is not None
        bound = safe_bound(program, result.row_dual)
        assert bound == pytest.approx(result.objective, abs=1e-6) and bound <= result.objective + 1e-9
    else:
        assert result.status is SolverStatus.INFEASIBLE
        elastic = program.elastic()
        second = highs.solve(elastic, SolveOptions())
        assert second.row_dual is not None
        assert safe_bound(elastic, second.row_dual) == pytest.approx(second.objective, abs=1e-6)


def test_a_column_without_an_end_makes_a_bound_only_where_its_cost_pulls_back() -> None:
    program = MixedIntegerProgram(
        sp.csr_matrix(np.array([[1.0]])), np.array([1.0]), np.array([np.inf]), np.array([0.0]), np.array([np.inf]),
        np.array([2.0]), np.zeros(1, bool), ColumnMap(np.arange(1)),
    )  # fmt: skip
    assert safe_bound(program, np.array([1.0])) == pytest.approx(1.0)
    assert safe_bound(program, np.array([3.0])) == -np.inf
    assert safe_bound(program, np.array([2.0])) == -np.inf  # 2 - 2 may be anything once entries are rounded
    assert -1e-12 < safe_bound(program, np.array([-1.0])) <= 0.0  # a multiplier without a side counts as 0
