"""Statistics of radii that are known as brackets [lower, upper]: ranges over everything that the brackets allow.

A range is (least, largest). It is exact - both ends are attained by radii inside the brackets - where a docstring says so, and
otherwise an outer bound: no radii inside the brackets leave it. An upper side may be infinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom, norm
from scipy.stats import t as student

Range = tuple[float, float]

LEVEL = 0.05  # of significance
_EXACT_SIGNS = 400  # images up to which the null distribution of the signed ranks is computed, not approximated


@dataclass(frozen=True)
class Paired:
    """Radii of two networks on the same images; p values are ranges, two-sided.

    Attributes:
        first: name of a network.
        second: name of the other.
        larger: images on which the first's bracket lies above the second's.
        smaller: images on which it lies below.
        undecided: images on which the brackets overlap.
        ratio: median over the images of first / second (equal radii have ratio 1, also 0 / 0 and inf / inf); exact.
        sign: sign test, equal radii left out; exact.
        wilcoxon: signed-rank test, see `signed_ranks`; exact.
    """

    first: str
    second: str
    larger: int
    smaller: int
    undecided: int
    ratio: Range
    sign: Range
    wilcoxon: Range


def decision(p: Range, level: float = LEVEL) -> str:
    """significant or not significant, where every p value of the range says so; undecided otherwise.

    >>> decision((0.008, 1.0))
    'undecided'
    """
    if p[1] <= level:
        return "significant"
    return "not significant" if p[0] > level else "undecided"


def median_bracket(lower: ArrayLike, upper: ArrayLike) -> Range:
    """Range of the median: the medians of the lower and of the upper sides (the median is monotone); exact."""
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    return (float(np.median(low)), float(np.median(high))) if low.size else (math.nan, math.nan)


def mean_bracket(ranges: Sequence[Range]) -> Range:
    """Range of the mean of values that are known as ranges; exact, infinite where a side is.

    >>> mean_bracket([(1.0, 2.0), (2.0, math.inf)])
    (1.5, inf)
    """
    if not ranges:
        return math.nan, math.nan
    return float(np.mean([low for low, _ in ranges])), float(np.mean([high for _, high in ranges]))


def wilson(successes: int, count: int) -> Range:
    """Wilson's 95 % interval of a share; (0, 1) of nothing.

    >>> low, high = wilson(33, 128)
    >>> f"{low:.3f} {high:.3f}"
    '0.190 0.340'
    """
    if not count:
        return 0.0, 1.0
    z, rate = float(norm.ppf(1 - LEVEL / 2)), successes / count
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


def t_interval(ranges: Sequence[Range]) -> Range:
    """Hull of Student's 95 % intervals for the mean, over all values that the ranges allow; infinite for fewer than two.

    The deviation of values in the ranges is at most that of the middles plus the root mean square of the half widths.

    >>> low, high = t_interval([(1.0, 1.0), (2.0, 2.0), (3.0, 3.0)])
    >>> f"{low:.3f} {high:.3f}"
    '-0.484 4.484'
    """
    count = len(ranges)
    low, high = mean_bracket(ranges)
    if count < 2 or not (math.isfinite(low) and math.isfinite(high)):
        return -math.inf, math.inf
    sides = np.array(ranges)
    middle, half = sides.mean(1), (sides[:, 1] - sides[:, 0]) / 2
    deviation = float(middle.std(ddof=1)) + float(np.sqrt((half**2).sum() / (count - 1)))
    reach = float(student.ppf(1 - LEVEL / 2, count - 1)) * deviation / math.sqrt(count)
    return low - reach, high + reach


def share_above(values: ArrayLike, radius: float) -> float:
    """Share of values that are above a radius."""
    array = np.asarray(values, dtype=np.float64)
    return float(np.mean(array > radius)) if array.size else math.nan


def certified_curve(
    lower: ArrayLike, upper: ArrayLike, largest: float, points: int = 200
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Radii up to a little beyond `largest`, shares proved robust and left by attacks: the truth lies between the two."""
    radii = np.linspace(0, 1.05 * largest, points)
    proved = np.array([share_above(lower, r) for r in radii])
    return radii, proved, np.array([share_above(upper, r) for r in radii])


def paired(first: str, second: str, a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> Paired:
    """Compare the brackets (lower, upper), each (images,), of two networks."""
    larger, smaller = int((a[0] > b[1]).sum()), int((a[1] < b[0]).sum())
    ratio = median_bracket(ratios(a[0], b[1]), ratios(a[1], b[0]))
    ranks = signed_ranks(_minus(a[0], b[1]), _minus(a[1], b[0]))
    return Paired(first, second, larger, smaller, len(a[0]) - larger - smaller, ratio, sign_test(a, b), ranks)


def ratios(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, 1 where the two are equal; increasing in a and decreasing in b."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
        return np.where(a == b, 1.0, a / b)


def median_interval(lower: np.ndarray, upper: np.ndarray, level: float = LEVEL) -> Range | None:
    """Confidence interval of the median of values in [lower, upper]: the sign test turned round; exact.

    Both ends are order statistics, which rise with every value: the lower end is that of the lower sides, the upper that of the
    upper ones.

    Returns:
        None where there are too few values for this level (fewer than 6 for 0.05).
    """
    count = len(lower)
    k = int(binom.ppf(level / 2, count, 0.5)) + 1
    while k > 0 and 2 * float(binom.cdf(k - 1, count, 0.5)) > level:
        k -= 1
    if k < 1:
        return None
    return float(np.sort(lower)[k - 1]), float(np.sort(upper)[count - k])


def least_sign_p(count: int) -> float:
    """The smallest two-sided p value of a sign or signed-rank test on so many images."""
    return min(1.0, 2.0 ** (1 - count))


def _minus(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a - b, 0 where the two are equal; increasing in a and decreasing in b."""
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0.0, a - b)


def sign_test(a: tuple[np.ndarray, np.ndarray], b: tuple[np.ndarray, np.ndarray]) -> Range:
    """Two-sided p values of the sign test between the radii in two lists of brackets; exact.

    The p value 2 P(Bin(k + m, 1/2) <= min(k, m)) rises with the smaller of the two counts and falls with the larger one, so
    that the least is at one of the two most uneven counts, and the largest at the most even ones.
    """
    larger, smaller = int((a[0] > b[1]).sum()), int((a[1] < b[0]).sum())
    most_larger, most_smaller = int((a[1] > b[0]).sum()), int((a[0] < b[1]).sum())
    least = min(_sign(most_larger, smaller), _sign(larger, most_smaller))
    even = (larger, max(smaller, min(most_smaller, larger)))
    if larger < smaller:
        even = (max(larger, min(most_larger, smaller)), smaller)
    return least, _sign(*even)


def _sign(larger: int, smaller: int) -> float:
    return min(1.0, 2.0 * float(binom.cdf(min(larger, smaller), larger + smaller, 0.5)))


def signed_ranks(lower: np.ndarray, upper: np.ndarray) -> Range:
    """Two-sided p values of Wilcoxon's signed-rank test of differences in [lower, upper]; exact.

    The statistic is Tukey's form, the sum of the signs of d_i + d_j over i <= j: the rank sum of the positive differences
    less that of the negative ones, where ties share their ranks and zeros count half to either side. It rises with every
    difference, so its range is that between the two corners. The p value is P(|T| >= |t|) for T without ties or zeros.
    """
    low, high = _walsh(lower), _walsh(upper)
    p = sorted((_signed_rank_p(abs(low), len(lower)), _signed_rank_p(abs(high), len(lower))))
    return (p[0], 1.0) if low <= 0 <= high else (p[0], p[1])


def _walsh(differences: np.ndarray) -> int:
    total = 0
    for i, value in enumerate(differences):
        rest = differences[i:]
        total += int(((value > -rest).astype(np.int64) - (value < -rest)).sum())  # no sum: inf - inf is a tie
    return total


def _signed_rank_p(statistic: int, count: int) -> float:
    """P(|T| >= statistic) for T, the sum of the ranks 1..count with random signs."""
    if count > _EXACT_SIGNS:
        deviation = math.sqrt(count * (count + 1) * (2 * count + 1) / 6)
        return float(min(1.0, 2 * norm.sf(max(0.0, statistic - 1) / deviation)))  # T moves in steps of 2
    total = count * (count + 1) // 2
    chances = np.zeros(total + 1)  # of each sum of the positive ranks
    chances[0] = 1.0
    for rank in range(1, count + 1):
        moved = np.zeros_like(chances)
        moved[rank:] = chances[:-rank]
        chances = (chances + moved) / 2
    sums = 2 * np.arange(total + 1) - total
    return float(min(1.0, chances[np.abs(sums) >= statistic].sum()))


def holm(values: Sequence[float]) -> list[float]:
    """p values adjusted for their number (Holm, Scand. J. Statist. 1979).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    result, running = [0.0] * len(values), 0.0
    for rank, index in enumerate(np.argsort(values)):
        running = max(running, min(1.0, (len(values) - rank) * values[int(index)]))
        result[int(index)] = running
    return result


def holm_ranges(values: Sequence[Range]) -> list[Range]:
    """Ranges of adjusted p values; an outer bound (each adjusted value rises with every p value)."""
    return list(zip(holm([p[0] for p in values]), holm([p[1] for p in values]), strict=True))
