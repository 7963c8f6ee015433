"""Statistics of radii that are known as brackets [lower, upper]: a bracket that is open must not decide anything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

_EXACT = 20_000  # permutations up to which a permutation test is enumerated


@dataclass(frozen=True)
class Paired:
    """Radii of two networks on the same images.

    Attributes:
        first: name of a network.
        second: name of the other.
        larger: images on which the first's bracket lies above the second's.
        smaller: images on which it lies below.
        undecided: images on which the brackets overlap.
        ratio: median over the images of first / second (midpoints).
        sign: two-sided sign test on the decided images.
        wilcoxon: two-sided Wilcoxon signed-rank test on the midpoints, differences below a bracket's width as ties.
    """

    first: str
    second: str
    larger: int
    smaller: int
    undecided: int
    ratio: float
    sign: float
    wilcoxon: float


def median_bracket(lower: ArrayLike, upper: ArrayLike) -> tuple[float, float]:
    """Bracket of the median: the median of the lower sides and of the upper sides (the median is monotone)."""
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    return (float(np.median(low)), float(np.median(high))) if low.size else (math.nan, math.nan)


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
    from scipy.stats import binomtest, wilcoxon

    larger, smaller = int((a[0] > b[1]).sum()), int((a[1] < b[0]).sum())
    decided = larger + smaller
    sign = float(binomtest(larger, decided).pvalue) if decided else 1.0
    middle_a, middle_b = (np.where(np.isfinite(u), (lo + u) / 2, lo) for lo, u in (a, b))
    difference = np.where((a[0] > b[1]) | (a[1] < b[0]), middle_a - middle_b, 0.0)
    moved = difference[difference != 0]
    rank = float(wilcoxon(moved).pvalue) if len(moved) else 1.0
    known = middle_b > 0
    ratio = float(np.median(middle_a[known] / middle_b[known])) if known.any() else math.nan
    return Paired(first, second, larger, smaller, len(difference) - decided, ratio, sign, rank)


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


def permutation_test(a: Sequence[float], b: Sequence[float]) -> float:
    """Two-sided p value of a difference of means, the seed as the unit: all relabellings, none sampled.

    >>> permutation_test([1.0, 2.0], [3.0, 4.0])
    0.3333333333333333

    Raises:
        ValueError: more relabellings than can be enumerated.
    """
    pool = np.array([*a, *b], dtype=np.float64)
    count = math.comb(len(pool), len(a))
    if count > _EXACT:
        raise ValueError(f"{count} relabellings are too many")
    seen = abs(float(np.mean(a) - np.mean(b)))
    hits = 0
    for chosen in itertools.combinations(range(len(pool)), len(a)):
        mask = np.zeros(len(pool), dtype=bool)
        mask[list(chosen)] = True
        hits += abs(float(pool[mask].mean() - pool[~mask].mean())) >= seen - 1e-12
    return hits / count
