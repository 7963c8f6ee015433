"""Laws of the statistics, and examples that were computed by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from advverify.verifier.convergence.statistics import (
    STEPS,
    penalised_mean,
    performance_profile,
    quartiles,
    quartiles_by_step,
    root_gap_closed,
    shares_below,
    shifted_geometric_mean,
)

SECONDS = st.floats(0, 1e5)
ANSWERED = st.one_of(SECONDS, st.just(math.inf))
BOUND = st.one_of(st.floats(-1e6, 1e6), st.just(-math.inf))


@given(st.lists(SECONDS, min_size=1), st.floats(1e-3, 100))
def test_a_shifted_geometric_mean_lies_among_its_values(seconds: list[float], shift: float) -> None:
    assert min(seconds) <= shifted_geometric_mean(seconds, shift) <= max(seconds)
    assert shifted_geometric_mean(seconds, shift) <= float(np.mean(seconds)) * (1 + 1e-9) + 1e-9


def test_means_by_hand() -> None:
    assert shifted_geometric_mean([1.0, 7.0], 1.0) == pytest.approx(3.0)
    assert shifted_geometric_mean([2.0, 8.0], 0.0) == pytest.approx(4.0)
    assert shifted_geometric_mean([0.0, 8.0], 0.0) == 0.0
    assert penalised_mean([1.0, math.inf], limit=10.0) == pytest.approx(10.5)
    assert shares_below([0.0, 0.03, 1.0], (0.01, 0.05, 0.1)) == pytest.approx([1 / 3, 2 / 3, 2 / 3])
    for wrong, shift in (([], 1.0), ([-1.0], 1.0), ([1.0], -0.1), ([1.0], math.nan), ([math.nan], 1.0)):
        with pytest.raises(ValueError):
            shifted_geometric_mean(wrong, shift)


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1))
def test_quartiles_are_in_order(values: list[list[float]]) -> None:
    low, middle, high = quartiles(values)
    assert (low <= middle).all() and (middle <= high).all()
    assert (np.min(values, axis=0) <= low).all() and (high <= np.max(values, axis=0) + 1e-12).all()


@given(
    st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(ANSWERED, min_size=n, max_size=n), min_size=1, max_size=4))
)
def test_a_profile_rises_within_0_and_1(seconds: list[list[float]]) -> None:
    profile = performance_profile(seconds)
    assert (profile.shares >= 0).all() and (profile.shares <= 1).all() and (np.diff(profile.shares, axis=1) >= 0).all()
    assert profile.factors[0] == 1.0 and (np.diff(profile.factors) > 0).all()
    assert profile.solved == pytest.approx(np.isfinite(seconds).mean(axis=1))
    somebody = np.isfinite(seconds).any(axis=0).mean()
    assert profile.within(1.0).sum() >= somebody - 1e-12  # whoever is fastest is within a factor of 1
    assert (profile.within(1e9) == profile.solved).all()


def test_a_profile_by_hand() -> None:
    profile = performance_profile([[1.0, 4.0, math.inf], [2.0, 1.0, math.inf]])
    assert profile.factors.tolist() == [1.0, 2.0, 4.0]
    assert profile.shares == pytest.approx(np.array([[1 / 3, 1 / 3, 2 / 3], [1 / 3, 2 / 3, 2 / 3]]))
    assert profile.within(3.0) == pytest.approx([1 / 3, 2 / 3])
    assert performance_profile([[1e-5], [9e-4]]).within(1.0).tolist() == [1.0, 1.0]  # both below what clocks tell
    with pytest.raises(ValueError):
        performance_profile([[]])


@given(st.dictionaries(st.sampled_from([*STEPS, "perspective"]), BOUND), st.one_of(BOUND, st.just(math.inf)))
def test_the_root_gap_closes_step_by_step(bounds: dict[str, float], reference: float) -> None:
    closed = root_gap_closed(bounds, reference)
    if closed is None:
        assert not (math.isfinite(bounds.get("lp", -math.inf)) and math.isfinite(reference))
        return
    shares = list(closed.values())
    assert shares == sorted(shares) and 0 <= shares[0] and shares[-1] <= 1
    assert closed.keys() == bounds.keys()  # what was not recorded is not 0 %
    assert "tree" not in bounds or list(closed)[-1] == "tree"


def test_a_root_gap_by_hand() -> None:
    closed = root_gap_closed({"lp": 0.1, "cuts": 0.2, "tree": 0.35}, 0.5)
    assert closed == pytest.approx({"lp": 0.0, "cuts": 0.25, "tree": 0.625})
    assert root_gap_closed({"lp": 0.5}, 0.5) == {"lp": 1.0}


def test_quartiles_over_programs_that_took_different_steps() -> None:
    closed = quartiles_by_step([{"lp": 0.0, "tightened": 0.4, "tree": 1.0}, {"lp": 0.2, "cuts": 0.6, "tree": 0.8}])
    assert list(closed) == ["lp", "tightened", "cuts", "tree"]  # and no "solver", which none took
    assert [median for _, median, _ in closed.values()] == pytest.approx([0.1, 0.3, 0.5, 0.9])
