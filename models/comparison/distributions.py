"""Distributions of radii that are known as brackets: quantiles, and the Kolmogorov-Smirnov test between two of them.

Radii are interval-censored: each lies in [lower, upper], an upper side may be infinite. What is computed is a range over all
radii that the brackets allow, as in `statistics`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from .statistics import Range


@dataclass(frozen=True)
class KolmogorovSmirnov:
    """The two-sample test between the radii of two networks.

    Attributes:
        statistic: range of D, the largest difference of the two distribution functions; the upper end is attained, the lower one
            is an outer bound.
        p_value: range of the two-sided p value, for independent samples; the lower end is that of the largest D.
    """

    statistic: Range
    p_value: Range


def quantile_bracket(lower: ArrayLike, upper: ArrayLike, share: float) -> Range:
    """Range of a quantile: the least radius that at least this share of the radii do not exceed; exact.

    >>> quantile_bracket([0.1, 0.2, 0.3], [0.1, 0.25, math.inf], 0.5)
    (0.2, 0.25)
    >>> quantile_bracket([0.1, 0.2, 0.3], [0.1, 0.25, math.inf], 0.9)
    (0.3, inf)
    """
    low, high = (np.sort(np.asarray(side, dtype=np.float64)) for side in (lower, upper))
    if not low.size:
        return math.nan, math.nan
    place = max(math.ceil(share * low.size * (1 - 1e-12)) - 1, 0)
    return float(low[place]), float(high[place])


def share_within(values: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """The distribution function of values, at radii: the share of values that do not exceed each."""
    return np.searchsorted(np.sort(values), radii, side="right") / max(len(values), 1)


def kolmogorov_smirnov(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]
) -> KolmogorovSmirnov:
    """Compare two lists of brackets (lower, upper), each (images,).

    At a radius r the distribution function lies between the shares of upper and of lower sides up to r. The largest D is that of
    one list at its lower and the other at its upper sides; the least is at least the largest distance of the two bands.

    >>> low, high = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.5, 0.6])
    >>> kolmogorov_smirnov((low, low), (high, high)).statistic
    (1.0, 1.0)
    >>> kolmogorov_smirnov((low, high), (low, high)).statistic
    (0.0, 1.0)
    """
    n, m = len(first[0]), len(second[0])
    if not n or not m:
        return KolmogorovSmirnov((math.nan, math.nan), (math.nan, math.nan))
    radii = np.unique(np.concatenate([*first, *second]))
    radii = radii[np.isfinite(radii)]
    # counts, so that comparisons do not round: D is their difference over n * m
    most_first, least_first = (_counts(side, radii) * m for side in first)
    most_second, least_second = (_counts(side, radii) * n for side in second)
    largest = int(max((most_first - least_second).max(initial=0), (most_second - least_first).max(initial=0)))
    least = int(max((least_first - most_second).max(initial=0), (least_second - most_first).max(initial=0)))
    statistic = least / (n * m), largest / (n * m)
    return KolmogorovSmirnov(statistic, (p_value(largest, n, m), p_value(least, n, m)))


def _counts(values: np.ndarray, radii: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(values), radii, side="right").astype(np.int64)


def p_value(scaled: int, n: int, m: int) -> float:
    """P(D >= scaled / (n m)) for samples of n and m without ties, of one continuous distribution; exact.

    A path from (0, 0) to (n, m), a step right for a value of the first sample and up for one of the second, has
    D >= scaled / (n m) where it comes to a point with |i m - j n| >= scaled. All paths are equally likely. The share of paths to a
    point that have been there is that of its predecessors, weighted by how many paths come from each.

    >>> round(p_value(9, 3, 3), 6), round(p_value(6, 3, 3), 6), p_value(0, 3, 3)
    (0.1, 0.6, 1.0)
    """
    if scaled <= 0:
        return 1.0
    been = np.zeros(n + 1)  # along an antidiagonal, by i; j = step - i
    for step in range(1, n + m + 1):
        first, last = max(0, step - m), min(n, step)
        i = np.arange(first, last + 1)
        j = step - i
        right = np.where(i > 0, been[np.maximum(i - 1, 0)], 0.0)
        up = np.where(j > 0, been[i], 0.0)
        share = (i * right + j * up) / step
        been[first : last + 1] = np.where(np.abs(i * m - j * n) >= scaled, 1.0, share)
    return float(min(been[n], 1.0))
