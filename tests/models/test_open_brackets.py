"""Statistics of open brackets against brute force: every choice of radii inside the brackets stays in the reported range."""

import itertools
import math
import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, wilcoxon

from advverify.cli.report.page import p_range
from advverify.models.comparison import statistics
from advverify.models.comparison.attacks import Attacked
from advverify.models.comparison.compare import Comparison, Measured, compare
from advverify.models.comparison.permutations import MOST, permutation_test
from advverify.models.comparison.statistics import Range, decision
from advverify.verifier.outcome import Bracket, Outcome, Trust, Verdict

Brackets = tuple[np.ndarray, np.ndarray]


def arrays(ranges: list[Range]) -> Brackets:
    low, high = zip(*ranges, strict=True)
    return np.array(low), np.array(high)


def inside(ranges: list[Range], steps: int = 3, far: float = 64.0) -> Iterator[tuple[float, ...]]:
    """A grid of the box; an upper side without end is taken as something far away."""
    choices = [sorted(set(np.linspace(low, min(high, far), steps).tolist())) for low, high in ranges]
    return itertools.product(*choices)


def point(values: tuple[float, ...]) -> list[Range]:
    return [(v, v) for v in values]


def some(rng: random.Random, count: int, spread: int = 2, top: int = 6, endless: float = 0.1) -> list[Range]:
    """Brackets of small integers, so that ties and equal radii are common; halves of integers lie inside."""
    result: list[Range] = []
    for _ in range(count):
        low = float(rng.randint(0, top))
        result.append((low, math.inf if rng.random() < endless else low + rng.choice([0, 0, spread])))
    return result


def permuted(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """The plain permutation test of known values; integers and halves, so sums are exact."""
    pool, n, m = (*a, *b), len(a), len(b)
    seen = abs(m * sum(a) - n * sum(b))
    counts = [
        abs(m * sum(pool[i] for i in chosen) - n * sum(pool[i] for i in range(n + m) if i not in chosen)) >= seen
        for chosen in itertools.combinations(range(n + m), n)
    ]
    return sum(counts) / len(counts)


@pytest.mark.parametrize("seed", range(40))
def test_permutation_tests_stay_in_their_range(seed: int) -> None:
    rng = random.Random(seed)
    n, m = rng.choice([(2, 2), (3, 2), (2, 3), (3, 3)])
    a, b = some(rng, n), some(rng, m)
    low, high = permutation_test(a, b)
    found = [permuted(v[:n], v[n:]) for v in inside([*a, *b])]
    assert low <= min(found) and max(found) <= high
    known = next(inside([*a, *b]))
    assert permutation_test(point(known[:n]), point(known[n:])) == (permuted(known[:n], known[n:]),) * 2


def test_permutation_tests_decide_what_brackets_allow() -> None:
    """The floor: groups far apart and groups that are alike are decided although their brackets are open."""
    rng, decided = random.Random(0), 0
    for _ in range(20):
        a = [(x, x + 0.5) for x in (rng.uniform(0, 1) for _ in range(5))]
        b = [(x, x + 0.5) for x in (rng.uniform(2, 3) for _ in range(5))]
        assert permutation_test(a, b) == (2 / 252, 2 / 252)
        alike = [(x, x + 0.002) for x in (rng.uniform(0, 1) for _ in range(10))]
        decided += decision(permutation_test(alike[:5], alike[5:])) != "undecided"
    assert decided >= 17
    above = [(2.0, math.inf), (3.0, 3.0), (2.5, 4.0), (2.0, 9.0), (3.0, math.inf)]
    assert permutation_test([(0.0, 1.0)] * 5, above) == (2 / 252, 2 / 252)


def test_overlapping_groups_are_undecided() -> None:
    """Five networks that ran out of time against five others."""
    a, b = [(0.0, 0.08)] * 5, [(0.0, 0.12)] * 5
    low, high = permutation_test(a, b)
    assert low <= 2 / 252 and high == 1 and decision((low, high)) == "undecided" and "undecided" in p_range((low, high))


def test_permutation_tests_of_what_is_infinite() -> None:
    assert permutation_test([(math.inf, math.inf), (1.0, 1.0)], [(2.0, 2.0), (3.0, 3.0)]) == (0.0, 1.0)
    tiny, huge = 5e-324, 1e308
    assert permutation_test([(tiny, math.inf), (0.0, huge)], [(huge, huge), (0.0, math.inf)])[1] == 1.0
    with pytest.raises(ValueError, match="too many"):
        permutation_test([(0.0, 0.0)] * 20, [(1.0, 1.0)] * 20)
    for broken in ((2.0, 1.0), (math.nan, 1.0), (0.0, math.nan)):
        with pytest.raises(ValueError, match="below its start"):
            permutation_test([broken, (1.0, 1.0)], [(2.0, 2.0), (3.0, 3.0)])


def test_permutation_test_counts_all_relabellings() -> None:
    assert permutation_test(point((1, 2, 3, 4, 5)), point((11, 12, 13, 14, 15)))[1] == pytest.approx(2 / 252)


def scipy_sign(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    larger, smaller = sum(x > y for x, y in zip(a, b, strict=True)), sum(x < y for x, y in zip(a, b, strict=True))
    return float(binomtest(larger, larger + smaller).pvalue) if larger + smaller else 1.0


@pytest.mark.parametrize("seed", range(40))
def test_sign_tests_have_their_exact_range(seed: int) -> None:
    """Both ends are attained on a grid of thirds of the brackets, and nothing lies outside."""
    rng = random.Random(seed)
    count = rng.choice([1, 2, 3])
    a, b = some(rng, count), some(rng, count)
    low, high = statistics.sign_test(arrays(a), arrays(b))
    found = [scipy_sign(v[:count], v[count:]) for v in inside([*a, *b], 4 if count == 3 else 7)]
    assert [low, high] == pytest.approx([min(found), max(found)])


@pytest.mark.parametrize("seed", range(40))
def test_counts_decide_the_sign_test(seed: int) -> None:
    """Brute force over what each image may be: larger, smaller or equal."""
    rng = random.Random(seed)
    kinds = [((2, 2), (1, 1)), ((1, 1), (2, 2)), ((1, 1), (1, 1)), ((1, 2), (1, 1)), ((1, 1), (1, 2)), ((0, 2), (1, 1))]
    may = ["+", "-", "0", "+0", "-0", "+-0"]
    chosen = [rng.randrange(6) for _ in range(rng.randint(1, 9))]
    found = {
        scipy_sign(tuple({"+": 2.0, "-": 0.0, "0": 1.0}[s] for s in signs), (1.0,) * len(signs))
        for signs in {tuple(sorted(s)) for s in itertools.product(*(may[k] for k in chosen))}
    }
    a, b = arrays([kinds[k][0] for k in chosen]), arrays([kinds[k][1] for k in chosen])
    assert list(statistics.sign_test(a, b)) == pytest.approx([min(found), max(found)])


@pytest.mark.parametrize("count", [1, 4, 9, 25])
def test_signed_ranks_are_scipys_where_nothing_is_tied(count: int) -> None:
    values = np.random.default_rng(count).normal(0.2, 1, count)
    low, high = statistics.signed_ranks(values, values)
    assert low == high == pytest.approx(float(wilcoxon(values, method="exact").pvalue))


def test_signed_ranks_of_many_images_approach_the_normal_distribution(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(0.1, 1, 200)
    exact = statistics.signed_ranks(values, values)[0]
    monkeypatch.setattr(statistics, "_EXACT_SIGNS", 10)
    assert statistics.signed_ranks(values, values)[0] == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("seed", range(40))
def test_signed_ranks_have_their_exact_range(seed: int) -> None:
    rng = random.Random(seed)
    count = rng.choice([2, 3, 4])
    ranges: list[Range] = []
    for low in rng.choices(range(-3, 3), k=count):
        ranges.append((float(low), math.inf if rng.random() < 0.1 else float(low + rng.choice([0, 1, 3]))))
    least, most = statistics.signed_ranks(*arrays(ranges))
    found = [statistics.signed_ranks(np.array(v), np.array(v))[0] for v in inside(ranges, 5)]
    assert least == pytest.approx(min(found)) and most >= max(found)
    if most < 1:  # where the statistic may have either sign, the grid need not hold the tie
        assert most == pytest.approx(max(found))


@pytest.mark.parametrize("seed", range(30))
def test_ratios_have_their_exact_range(seed: int) -> None:
    rng = random.Random(seed)
    a, b = some(rng, 3, endless=0.0), some(rng, 3, endless=0.0)
    low, high = statistics.paired("a", "b", arrays(a), arrays(b)).ratio
    found = []
    for v in inside([*a, *b], 3):
        pairs = zip(v[:3], v[3:], strict=True)
        found.append(sorted(1.0 if x == y else math.inf if y == 0 else x / y for x, y in pairs)[1])
    assert (low, high) == (min(found), max(found))


@pytest.mark.parametrize(
    ("a", "b", "ratio"),
    [
        ((0.1, math.inf), (0.1, math.inf), (0, math.inf)),
        ((0.1, 0.2), (0.1, math.inf), (0, 2)),
        ((0.0, 0.0), (0.0, 0.0), (1, 1)),
        ((math.inf, math.inf), (math.inf, math.inf), (1, 1)),
        ((math.inf, math.inf), (0.5, 1.0), (math.inf, math.inf)),
    ],
)
def test_ratios_of_zero_and_of_infinity(a: Range, b: Range, ratio: Range) -> None:
    pair = statistics.paired("a", "b", arrays([a]), arrays([b]))
    assert pair.ratio == ratio and not any(math.isnan(p) for p in (*pair.sign, *pair.wilcoxon))


def test_open_brackets_decide_nothing() -> None:
    a, b = arrays([(0.1, 0.11), (0.2, 0.3), (0.0, math.inf)]), arrays([(0.2, 0.21), (0.25, 0.35), (0.5, 0.6)])
    pair = statistics.paired("a", "b", a, b)
    assert (pair.larger, pair.smaller, pair.undecided) == (0, 1, 2)
    assert pair.sign == (0.25, 1.0) and pair.wilcoxon == (0.25, 1.0)
    far = statistics.paired("a", "b", (np.full(12, 0.1), np.full(12, 0.1)), (np.full(12, 0.2), np.full(12, 0.21)))
    assert far.smaller == 12 and far.sign[1] < 0.001 and far.wilcoxon[1] < 0.01 and far.ratio[1] < 1


ranges = st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(sorted)


@settings(max_examples=60)
@given(st.lists(st.tuples(ranges, ranges), min_size=1, max_size=20))
def test_known_radii_lie_in_the_ranges_of_all_tests(values: list[tuple[list[float], list[float]]]) -> None:
    def pick(network: int, side: int) -> np.ndarray:
        return np.array([v[network][side] for v in values])

    brackets = [(pick(k, 0), pick(k, 2)) for k in (0, 1)]
    whole = statistics.paired("a", "b", *brackets)
    known = statistics.paired("a", "b", (pick(0, 1), pick(0, 1)), (pick(1, 1), pick(1, 1)))
    for name in ("ratio", "sign", "wilcoxon"):
        (low, high), (value, same) = getattr(whole, name), getattr(known, name)
        assert value == same and low <= value <= high
    mean = statistics.mean_bracket([(v[0][0], v[0][2]) for v in values])
    assert mean[0] <= float(np.mean(pick(0, 1))) <= mean[1]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)).map(sorted), min_size=1, max_size=6))
def test_holm_stays_in_its_range(values: list[list[float]]) -> None:
    adjusted = statistics.holm_ranges([(v[0], v[2]) for v in values])
    assert all(
        low <= p <= high for (low, high), p in zip(adjusted, statistics.holm([v[1] for v in values]), strict=True)
    )


def test_decisions() -> None:
    assert decision((0.01, 0.05)) == "significant" and decision((0.051, 1)) == "not significant"
    assert decision((0.05, 0.051)) == "undecided"


def outcome(lower: float, upper: float) -> Outcome:
    return Outcome(Verdict.UNKNOWN, Bracket(lower, upper), Trust.SOLVER, "", 1.0)


def network(name: str, group: str, brackets: list[Range]) -> Measured:
    runs = (Attacked("pgd", 0.1, np.ones(len(brackets), dtype=bool)),)
    return Measured(name, group, 1.0, 1.0, 8, tuple(outcome(*b) for b in brackets), runs)


def compared(networks: list[Measured]) -> Comparison:
    count = len(networks[0].outcomes)
    return compare(networks, "inf", "digits", range(count), count + 2, 0.01, [0.1])


@pytest.mark.parametrize("upper", [0.3, math.inf])
def test_groups_that_ran_out_of_time_are_undecided_everywhere(upper: float) -> None:
    first = [network(f"a{k}", "a", [(0.0, 0.2 + 0.001 * k)] * 3) for k in range(5)]
    second = [network(f"b{k}", "b", [(0.0, upper)] * 3) for k in range(5)]
    result = compared([*first, *second])
    group = result.groups[1]
    assert group.p_value == (2 / 252, 1.0) and group.decision == "undecided"
    assert list(group.mean_radius) == pytest.approx([0.0, upper]) and group.spread == (0.0, upper)
    assert any("b against a: undecided at 0.05: permutation test" in line for line in result.findings)
    assert any("brackets open (not closed to 1.0 %): a0 3 of 3" in line for line in result.findings)
    record = result.to_json()
    assert '"decision": "undecided"' in record and "NaN" not in record and "Infinity" not in record


def test_closed_groups_far_apart_are_decided_and_nothing_is_off() -> None:
    first = [network(f"a{k}", "a", [(0.0999, 0.1)] * 3) for k in range(5)]
    second = [network(f"b{k}", "b", [(0.2, 0.2001)] * 3) for k in range(5)]
    result = compared([*first, *second])
    assert result.groups[1].decision == "significant" and result.findings == ()


def test_pairs_that_ran_out_of_time_are_undecided_everywhere() -> None:
    result = compared([network("a", "a", [(0.0, 0.1)] * 8), network("b", "b", [(0.05, math.inf)] * 8)])
    assert decision(result.pairs[0].sign) == decision(result.adjusted[0]) == "undecided"
    assert any("b against a: undecided at 0.05: sign test, Wilcoxon (Holm)" in line for line in result.findings)
    row = result.rows()[1]
    assert (row["of"], row["closed_images"], row["median_radius"]) == (8, 0, [0.05, math.inf])


def test_what_is_not_known_counts_as_nothing_proved() -> None:
    subject = network("a", "a", [(math.nan, math.nan), (-math.inf, math.inf), (-1.0, 0.0), (0.3, 0.2)])
    assert subject.lower.tolist() == [0, 0, 0, 0.3] and subject.upper.tolist() == [math.inf, math.inf, 0, 0.2]
    assert subject.box[0].tolist() == [0, 0, 0, 0.2] and subject.closed(0.01) <= 2


def test_groups_too_large_to_enumerate_say_so() -> None:
    networks = [network(f"{name}{k}", name, [(0.1, 0.1)]) for name in "ab" for k in range(10)]
    result = compared(networks)
    assert result.groups[1].p_value is None and any(f"more than the {MOST}" in line for line in result.findings)


def test_p_values_are_shown_as_ranges() -> None:
    assert p_range((0.0079, 0.0079)) == "0.0079" and p_range((1e-9, 0.2)) == "< 1e-6 … 0.2 (undecided)"
