"""Quadratic objectives: safe bounds in rational arithmetic, and trees of QPs against enumeration."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from advverify.verifier.encoding import MixedIntegerProgram
from advverify.verifier.encoding.program import ColumnMap
from advverify.verifier.solvers import SolveOptions, SolverStatus
from advverify.verifier.solvers.clarabel import Clarabel
from advverify.verifier.solvers.lp_tree import LpTree
from advverify.verifier.solvers.safe_dual import SafeDual


def random_program(seed: int, binaries: int = 4, others: int = 3) -> MixedIntegerProgram:
    """Rows with both kinds of sides, a diagonal hessian on the continuous columns."""
    rng = np.random.default_rng(seed)
    count, rows = binaries + others, 4
    matrix = np.round(rng.normal(size=(rows, count)), 2)
    inside = np.concatenate([rng.integers(0, 2, binaries), rng.uniform(-1, 1, others)])
    value = matrix @ inside
    lower = np.where(rng.random(rows) < 0.5, value - rng.random(rows), -np.inf)
    upper = np.where(rng.random(rows) < 0.7, value + rng.random(rows), np.inf)
    equal = rng.random(rows) < 0.2
    whole = np.arange(count) < binaries
    return MixedIntegerProgram(
        sp.csr_matrix(matrix),
        np.where(equal, value, lower),
        np.where(equal, value, upper),
        np.where(whole, 0.0, -2.0),
        np.where(whole, 1.0, 2.0),
        np.round(rng.normal(size=count), 2),
        whole,
        ColumnMap(np.arange(binaries, count)),
        np.where(whole, 0.0, np.round(rng.uniform(0.5, 3, count), 2)),
        1.25,
    )


def enumerated(program: MixedIntegerProgram) -> float:
    """The optimum, by one QP for each choice of the binaries."""
    best = np.inf
    whole = np.flatnonzero(program.integer)
    for values in itertools.product((0.0, 1.0), repeat=len(whole)):
        result = Clarabel().solve(program.fixed(whole, np.array(values)).relaxed(), SolveOptions())
        if result.status is SolverStatus.OPTIMAL:
            best = min(best, result.objective)
    return best


@pytest.mark.parametrize("seed", range(25))
def test_trees_of_qps_find_and_prove_the_optimum(seed: int) -> None:
    program = random_program(seed)
    truth = enumerated(program)
    rises: list[float] = []
    tree = LpTree(program).minimum(20, raised=rises.append)
    assert tree.finished
    if np.isinf(truth):
        assert tree.bound == np.inf
        return
    assert tree.bound <= truth + 1e-9 * (1 + abs(truth))
    assert tree.bound == pytest.approx(truth, abs=1e-5) and tree.objective == pytest.approx(truth, abs=1e-5)
    assert rises == sorted(rises) and all(rise <= truth + 1e-9 * (1 + abs(truth)) for rise in rises)
    above = LpTree(program).minimum(20, truth - 1e-3)
    assert truth - 1e-3 <= above.bound <= truth + 1e-9 * (1 + abs(truth))


@given(st.integers(0, 100_000))
def test_safe_bounds_of_quadratic_objectives_hold(seed: int) -> None:
    """For any multipliers, at the least point of every column's parabola, in rational arithmetic."""
    program = random_program(seed % 1000)
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-4, 5)
    y = rng.normal(size=len(program.row_lower)) * scale
    low, high = program.col_lower.copy(), program.col_upper.copy()
    narrow = rng.random(len(low)) < 0.3
    low[narrow] = high[narrow] = rng.uniform(low[narrow], high[narrow])
    assert program.hessian is not None
    bound = SafeDual(program).bound(y, program.cost, low, high, program.hessian)
    exact = Fraction(0)
    reduced = [Fraction(float(c)) for c in program.cost]
    dense = program.matrix.toarray()
    for r, multiplier in enumerate(y.tolist()):
        side = program.row_lower[r] if multiplier > 0 else program.row_upper[r]
        if np.isfinite(side):
            exact += Fraction(multiplier) * Fraction(float(side))
            for j in range(len(reduced)):
                reduced[j] -= Fraction(multiplier) * Fraction(float(dense[r, j]))
    for j, slope in enumerate(reduced):
        half = Fraction(float(program.hessian[j])) / 2
        ends = [Fraction(float(low[j])), Fraction(float(high[j]))]
        points = list(ends)
        if half:
            points.append(min(max(-slope / (2 * half), ends[0]), ends[1]))
        exact += min(slope * x + half * x * x for x in points)
    assert Fraction(bound) <= exact
    assert bound >= float(exact) - 1e-9 * (1 + scale) * 100


def test_multipliers_of_qps_have_the_signs_of_rows() -> None:
    """Strong duality: the safe bound of Clarabel's multipliers comes to the optimum."""
    reached = 0
    for seed in range(20):
        program = random_program(seed, binaries=0, others=5)
        result = Clarabel().solve(program, SolveOptions())
        if result.status is not SolverStatus.OPTIMAL:
            continue
        assert result.row_dual is not None
        bound = SafeDual(program).bound(
            result.row_dual, program.cost, program.col_lower, program.col_upper, program.hessian
        )
        assert bound + program.offset == pytest.approx(result.objective, abs=1e-6)
        reached += 1
    assert reached >= 15
