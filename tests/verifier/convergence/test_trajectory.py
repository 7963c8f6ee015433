"""Laws of gaps and their integrals, and an example that was computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advverify.verifier.convergence.trajectory import Trajectory, all_gaps, gap
from advverify.verifier.outcome import Bracket, Outcome, TraceEvent, Trust, Verdict

VALUE = st.floats(allow_nan=False)
STEPS = st.lists(st.tuples(st.floats(0, 100), st.floats(-10, 10), st.floats(0, 10)), max_size=6)


def trajectory(steps: list[tuple[float, float, float]]) -> Trajectory:
    """From (seconds, lower, width), as random as a search's, in the order of their times."""
    times, lower, width = np.array(sorted(steps), dtype=float).reshape(-1, 3).T
    return Trajectory(times, lower, lower + width)


@given(VALUE, VALUE)
def test_a_gap_is_a_share_and_symmetric(a: float, b: float) -> None:
    value = float(gap(a, b))
    assert 0 <= value <= 1 and value == float(gap(b, a)) == float(gap(-a, -b))
    assert (value == 0) is (a == b) or abs(a - b) < 1e-300
    if a * b < 0 or (a == 0) != (b == 0) or math.isinf(a) != math.isinf(b):
        assert value == 1


def test_gaps_by_hand() -> None:
    assert gap([0.09, -1.0, 0.0], [0.1, -2.0, 0.0]) == pytest.approx([0.1, 0.5, 0.0])
    assert float(gap(math.inf, math.inf)) == 0 and float(gap(-math.inf, math.inf)) == 1
    with pytest.raises(ValueError, match="no number"):
        gap(math.nan, 1.0)


@given(STEPS, st.floats(-10, 10), st.floats(0, 100), st.floats(0, 200))
def test_integrals_lie_between_0_and_the_horizon(
    steps: list[tuple[float, float, float]], reference: float, closed: float, horizon: float
) -> None:
    path = trajectory(steps)
    gaps = path.gaps(reference, closed)
    integrals = path.integral(gaps, horizon)
    assert (integrals >= 0).all() and (integrals <= horizon * (1 + 1e-12)).all()
    assert (path.integral(gaps, horizon / 2) <= integrals + 1e-12).all()
    first = min([seconds for seconds, _, _ in steps], default=horizon)
    assert (integrals >= min(first, horizon) - 1e-9).all()  # before the first step nothing is known
    moments = np.linspace(0, horizon, 7)
    assert path.sample(gaps, moments).shape == (2, 7)


def test_what_is_solved_at_once_has_no_integral() -> None:
    path = Trajectory(np.zeros(1), np.array([0.1]), np.array([0.1]))
    assert path.closing_time(1e-4) == 0
    assert path.integral(path.gaps(0.1, 0.0), 60.0).tolist() == [0.0, 0.0]


def test_an_integral_by_hand() -> None:
    """Nothing for 1 s, then a point twice too far and a bound at half the way for 2 s, then both sides."""
    path = Trajectory(np.array([1.0, 3.0]), np.array([0.05, 0.1]), np.array([0.2, 0.1]))
    primal, dual = path.gaps(0.1, path.closing_time(1e-4))
    assert primal.tolist() == [1.0, 0.5, 0.0] and dual.tolist() == [1.0, 0.5, 0.0]
    assert path.integral(primal, 10.0) == pytest.approx(2.0)
    assert path.integral(dual, 2.0) == pytest.approx(1.5)
    assert path.sample(primal, np.array([0.0, 1.0, 2.9, 3.0, 9.0])).tolist() == [1.0, 0.5, 0.5, 0.0, 0.0]


def test_many_at_once_are_as_one_by_one() -> None:
    paths = [trajectory([(1, 0.1, 0.5), (2, 0.2, 0.1)]), trajectory([]), trajectory([(3, -1, 4)])]
    references, closed = [0.3, 1.0, -0.5], [2.0, math.inf, math.inf]
    together = list(all_gaps(paths, references, closed))
    for path, one, reference, at in zip(paths, together, references, closed, strict=True):
        assert (one == path.gaps(reference, at)).all() and one.shape == (2, len(path.times) + 1)


def test_a_limit_cuts_and_margins_near_zero_close() -> None:
    path = trajectory([(1, -1e-8, 2e-8), (5, 0.0, 0.0)])
    assert path.until(2).end == (-1e-8, 1e-8) and path.until(0.5).end == (-math.inf, math.inf)
    assert path.closing_time(1e-4) == 5 and path.closing_time(1e-4, 1e-7) == 1
    assert path.until(2).closing_time(1e-4) == math.inf


def test_an_outcome_ends_with_its_bracket() -> None:
    trace = (TraceEvent(0.5, 0.0, math.inf, "crown"), TraceEvent(1.0, 0.2, 0.3, "milp"))
    path = Trajectory.of(Outcome(Verdict.UNKNOWN, Bracket(0.25, 0.3), Trust.SOLVER, "milp", 2.0, trace))
    assert path.times.tolist() == [0.5, 1.0, 2.0] and path.end == (0.25, 0.3)


@pytest.mark.parametrize("times", [[2.0, 1.0], [-1.0, 1.0], [0.0, math.inf], [0.0, math.nan]])
def test_impossible_times_are_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="not in order"):
        Trajectory(np.array(times), np.zeros(2), np.ones(2))
    with pytest.raises(ValueError, match="no number"):
        Trajectory(np.arange(2.0), np.array([0.0, math.nan]), np.ones(2))
