"""Quadratic objectives and balls: safe bounds in rational arithmetic, and trees of convex programs against enumeration."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from advverify.verifier.encoding import MixedIntegerProgram, QuadraticBall
from advverify.verifier.encoding.program import ColumnMap
from advverify.verifier.solvers import SolveOptions, SolverStatus
from advverify.verifier.solvers.clarabel import Clarabel
from advverify.verifier.solvers.lp_tree import LpTree
from advverify.verifier.solvers.safe_dual import SafeDual

CURVES = ("hessian", "ball")


def random_program(seed: int, curve: str, binaries: int = 4, others: int = 3) -> MixedIntegerProgram:
    """Rows with both kinds of sides; a diagonal hessian on the continuous columns, or a ball around some of them."""
    rng = np.random.default_rng(seed)
    count, rows = binaries + others, 4
    matrix = np.round(rng.normal(size=(rows, count)), 2)
    inside = np.concatenate([rng.integers(0, 2, binaries), rng.uniform(-1, 1, others)])
    value = matrix @ inside
    lower = np.where(rng.random(rows) < 0.5, value - rng.random(rows), -np.inf)
    upper = np.where(rng.random(rows) < 0.7, value + rng.random(rows), np.inf)
    equal = rng.random(rows) < 0.2
    whole = np.arange(count) < binaries
    round_ = np.arange(binaries, count - 1)
    ball = QuadraticBall(round_, np.round(inside[round_] + rng.normal(size=len(round_)) / 4, 2), rng.uniform(0.3, 1.5))
    return MixedIntegerProgram(
        sp.csr_matrix(matrix),
        np.where(equal, value, lower),
        np.where(equal, value, upper),
        np.where(whole, 0.0, -2.0),
        np.where(whole, 1.0, 2.0),
        np.round(rng.normal(size=count), 2),
        whole,
        ColumnMap(np.arange(binaries, count)),
        np.where(whole, 0.0, np.round(rng.uniform(0.5, 3, count), 2)) if curve == "hessian" else None,
        1.25,
        ball=ball if curve == "ball" else None,
    )


def enumerated(program: MixedIntegerProgram) -> float:
    """The optimum, by one convex program for each choice of the binaries."""
    best = np.inf
    whole = np.flatnonzero(program.integer)
    for values in itertools.product((0.0, 1.0), repeat=len(whole)):
        result = Clarabel().solve(program.fixed(whole, np.array(values)).relaxed(), SolveOptions())
        if result.status is SolverStatus.OPTIMAL:
            best = min(best, result.objective)
    return best


@pytest.mark.parametrize("curve", CURVES)
@pytest.mark.parametrize("seed", range(25))
def test_trees_find_and_prove_the_optimum(seed: int, curve: str) -> None:
    program = random_program(seed, curve)
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


@given(st.integers(0, 100_000), st.sampled_from(CURVES))
def test_safe_bounds_hold(seed: int, curve: str) -> None:
    """For any multipliers, at the least point of every column's parabola and of the ball, in rational arithmetic."""
    program = random_program(seed % 1000, curve)
    rng = np.random.default_rng(seed)
    scale = 10.0 ** rng.integers(-4, 5)
    y = rng.normal(size=len(program.row_lower)) * scale
    low, high = program.col_lower.copy(), program.col_upper.copy()
    narrow = rng.random(len(low)) < 0.3
    low[narrow] = high[narrow] = rng.uniform(low[narrow], high[narrow])
    slopes = None if program.ball is None else rng.normal(size=len(program.ball.columns)) * scale
    bound = SafeDual(program).bound(y, program.cost, low, high, program.hessian, slopes)
    exact, size, radius = Fraction(0), Fraction(0), Fraction(0)
    reduced = [Fraction(float(c)) for c in program.cost]
    if program.ball is not None and slopes is not None:
        radius = Fraction(program.ball.radius)
        for j, slope, middle in zip(program.ball.columns, slopes.tolist(), program.ball.center.tolist(), strict=True):
            reduced[j] -= Fraction(slope)
            exact += Fraction(slope) * Fraction(middle)
            size += Fraction(slope) ** 2
    dense = program.matrix.toarray()
    for r, multiplier in enumerate(y.tolist()):
        side = program.row_lower[r] if multiplier > 0 else program.row_upper[r]
        if np.isfinite(side):
            exact += Fraction(multiplier) * Fraction(float(side))
            for j in range(len(reduced)):
                reduced[j] -= Fraction(multiplier) * Fraction(float(dense[r, j]))
    for j, slope in enumerate(reduced):
        half = Fraction(0 if program.hessian is None else float(program.hessian[j])) / 2
        ends = [Fraction(float(low[j])), Fraction(float(high[j]))]
        points = list(ends)
        if half:
            points.append(min(max(-slope / (2 * half), ends[0]), ends[1]))
        exact += min(slope * x + half * x * x for x in points)
    # less radius * sqrt(size), which is not rational
    room = exact - Fraction(bound)
    assert room >= 0 and room * room >= radius * radius * size
    assert bound >= float(exact) - float(radius) * float(size) ** 0.5 - 1e-9 * (1 + scale) * 100


@pytest.mark.parametrize("curve", CURVES)
def test_multipliers_have_the_signs_of_rows(curve: str) -> None:
    """Strong duality: the safe bound of Clarabel's multipliers comes to the optimum."""
    reached = 0
    for seed in range(50):
        program = random_program(seed, curve, binaries=0, others=5)
        result = Clarabel().solve(program, SolveOptions())
        if result.status is not SolverStatus.OPTIMAL:
            continue
        assert result.row_dual is not None
        bound = SafeDual(program).bound(
            result.row_dual, program.cost, program.col_lower, program.col_upper, program.hessian, result.ball_dual
        )
        assert bound + program.offset == pytest.approx(result.objective, abs=1e-6)
        reached += 1
    assert reached >= 20
