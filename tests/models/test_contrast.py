"""What a comparison says in one sentence, and the intervals that it says it with."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from advverify.models.comparison.compare import Comparison, Measured, compare
from advverify.models.comparison.contrast import contrasts, headline
from advverify.models.comparison.permutations import least_p, permutation_test, ratio_interval
from advverify.models.comparison.statistics import LEVEL, least_sign_p, median_interval, sign_test
from advverify.verifier.outcome import Bracket, Outcome, Trust, Verdict

RADII = st.floats(0.1, 10)


def one_sided(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Share of relabellings whose difference of means is at least the observed one."""
    everything, n = (*a, *b), len(a)
    observed = np.mean(a) - np.mean(b)
    differences = []
    for chosen in itertools.combinations(range(len(everything)), n):
        rest = [k for k in range(len(everything)) if k not in chosen]
        differences.append(np.mean([everything[k] for k in chosen]) - np.mean([everything[k] for k in rest]))
    return float(np.mean([d >= observed - 1e-9 for d in differences]))


@settings(max_examples=25, deadline=None)
@given(st.lists(RADII, min_size=4, max_size=4), st.lists(RADII, min_size=4, max_size=5))
def test_the_interval_of_a_factor_is_the_test_turned_round(a: list[float], b: list[float]) -> None:
    found = ratio_interval([(v, v) for v in a], [(v, v) for v in b], LEVEL)
    assert found is not None
    low, high = found
    for factor in (0.5 * low, 0.99 * low, 1.01 * low, 0.99 * high, 1.01 * high, 2 * high):
        scaled = tuple(v / factor for v in a)
        kept = one_sided(scaled, tuple(b)) > LEVEL / 2 and one_sided(tuple(b), scaled) > LEVEL / 2
        assert kept == (low <= factor <= high), factor


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(RADII, st.floats(0, 1), st.floats(0, 1)), min_size=8, max_size=8))
def test_brackets_widen_the_interval_to_all_that_is_inside_them(drawn: list[tuple[float, float, float]]) -> None:
    boxes = [(v, v * (1 + width)) for v, width, _ in drawn]
    values = [v * (1 + width * share) for v, width, share in drawn]
    wide = ratio_interval(boxes[:4], boxes[4:], LEVEL)
    exact = ratio_interval([(v, v) for v in values[:4]], [(v, v) for v in values[4:]], LEVEL)
    assert wide is not None and exact is not None
    assert wide[0] <= exact[0] * (1 + 1e-12) and exact[1] <= wide[1] * (1 + 1e-12)


def test_few_seeds_decide_nothing() -> None:
    three = [(1.0, 1.0), (1.1, 1.1), (1.2, 1.2)]
    far = [(9.0, 9.0), (9.1, 9.1), (9.2, 9.2)]
    assert ratio_interval(three, far, LEVEL) is None
    assert permutation_test(three, far) == (least_p(3, 3), least_p(3, 3)) == (0.1, 0.1)
    assert permutation_test(three, far[:2])[0] == least_p(3, 2) == 0.1
    assert ratio_interval([(1.0, math.inf)] * 5, [(1.0, 2.0)] * 5, LEVEL) == (0.5, math.inf)


@pytest.mark.parametrize("count", [5, 6, 12, 40])
def test_the_interval_of_a_median_is_the_sign_test_turned_round(count: int) -> None:
    values = np.sort(np.random.default_rng(count).uniform(0.5, 2, count))
    found = median_interval(values, values)
    if count == 5:
        assert found is None and least_sign_p(count) > LEVEL
        return
    assert found is not None
    for centre in np.linspace(0.4, 2.1, 60):
        p = sign_test((values, values), (np.full(count, centre), np.full(count, centre)))
        assert (p[0] > LEVEL) == (found[0] < centre < found[1]), centre


def measured(name: str, group: str, radii: list[tuple[float, float]]) -> Measured:
    outcomes = tuple(
        Outcome(Verdict.ADVERSARIAL, Bracket(low, high), Trust.SOLVER, "lp-split", 1.0) for low, high in radii
    )
    return Measured(name, group, 0.9, 0.9, 10, outcomes, (), test_images=50)


def compared(*networks: Measured) -> Comparison:
    count = len(networks[0].outcomes)
    return compare(networks, "inf", "digits", range(count), count + 2, 0.01, [])


def family(group: str, scale: float, seeds: int, width: float = 0.0, images: int = 8) -> list[Measured]:
    return [
        measured(
            f"{group}-{seed}",
            group,
            [
                (scale * (1 + 0.01 * seed + 0.1 * k), scale * (1 + width) * (1 + 0.01 * seed + 0.1 * k))
                for k in range(images)
            ],
        )
        for seed in range(seeds)
    ]


def test_seeds_that_decide() -> None:
    result = compared(*family("plain", 0.1, 5), *family("stable", 0.15, 5), *family("other", 0.11, 5))
    found = headline(result)
    assert found is not None and found.decided
    assert found.sentence.startswith(
        "stable is more robust than plain: its radii are 1.5 times as large (95 % interval over seeds"
    )
    assert (
        "5 against 5 seeds on 8 of 10 images of digits, norm inf" in found.detail
        and "can give is 0.0079" in found.detail
    )
    assert [c.name for c in contrasts(result)] == ["stable", "other"]
    low, high = contrasts(result)[0].interval or (0.0, 0.0)
    assert low <= 1.5 <= high


def test_the_first_may_be_the_more_robust_one() -> None:
    found = headline(compared(*family("stable", 0.15, 5), *family("plain", 0.1, 5)))
    assert found is not None and found.sentence.startswith("stable is more robust than plain: its radii are 1.5 times")


def test_seeds_that_cannot_decide_say_so() -> None:
    found = headline(compared(*family("plain", 0.1, 3), *family("stable", 0.15, 3)))
    assert found is not None and found.sentence.startswith("Neither is shown to be more robust")
    assert "interval" not in found.sentence and "too few to decide anything" in found.detail
    alone = headline(compared(*family("plain", 0.1, 2), *family("stable", 0.15, 1)))
    assert alone is not None and "no test was made: one seed says nothing about a family" in alone.sentence


def test_open_brackets_leave_it_undecided() -> None:
    found = headline(compared(*family("plain", 0.1, 5, width=2.0), *family("stable", 0.15, 5, width=2.0)))
    assert found is not None and not found.decided and found.sentence.startswith("Not decided yet")
    assert "0.5 … 4.5 times" in found.sentence


def test_single_networks_speak_for_themselves() -> None:
    plain, stable = family("a", 0.1, 1)[0], replace(family("b", 0.2, 1)[0], name="b-0")
    found = headline(compared(plain, stable))
    assert found is not None and found.sentence.startswith(
        "b-0 is more robust than a-0: its radii are 2 times as large"
    )
    assert "says nothing about other seeds" in found.detail and "can give is 0.0078" in found.detail
    assert headline(compared(plain)) is None
