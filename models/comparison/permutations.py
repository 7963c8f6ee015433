"""Permutation tests of a difference of means, of values that are known as ranges only."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

from .statistics import Range

MOST = 50_000  # relabellings up to which they are enumerated

_Number = int | float  # of any size, or infinite


def relabellings(first: int, second: int) -> int:
    """How many ways there are to draw groups of these sizes.

    >>> relabellings(5, 5)
    252
    """
    return math.comb(first + second, first)


def least_p(first: int, second: int) -> float:
    """The smallest two-sided p value that groups of these sizes can give: where no relabelling is as extreme as what was seen.

    >>> round(least_p(5, 5), 4)
    0.0079
    """
    return (2 if first == second else 1) / relabellings(first, second)


def ratio_interval(a: Sequence[Range], b: Sequence[Range], level: float) -> Range | None:
    """Confidence interval of the factor c for which a / c and b are exchangeable: the permutation test turned round (Pitman 1937).

    A relabelling lets some values of a leave and as many of b come. Its difference of means is at least the observed one just
    where c is at least (what leaves) / (what comes), so that the interval ends at order statistics of these ratios. They
    rise with a and fall with b, so its ends over all values inside the ranges are those at two corners; exact.

    >>> low, high = ratio_interval([(2.0, 2.0), (2.2, 2.2), (2.4, 2.4), (2.6, 2.6)], [(1.0, 1.0)] * 4, 0.05)
    >>> round(low, 2), round(high, 2)
    (2.0, 2.6)

    Returns:
        None where the groups are too small for this level.

    Raises:
        ValueError: more relabellings than can be enumerated.
    """
    n, m = len(a), len(b)
    count = relabellings(n, m)
    if count > MOST:
        raise ValueError(f"{count} relabellings are too many")
    k = math.floor(count * level / 2)
    if k < 1:
        return None
    low, high = [], []
    for moved in range(1, min(n, m) + 1):
        leaving, coming = _sums(a, moved), _sums(b, moved)
        low += [_quotient(left[0], come[1], 0.0) for left in leaving for come in coming]
        high += [_quotient(left[1], come[0], math.inf) for left in leaving for come in coming]
    return sorted(low)[k - 1], sorted(high)[-k]


def _sums(values: Sequence[Range], count: int) -> list[Range]:
    """Ranges of the sums of so many of the values."""
    return [
        (math.fsum(low for low, _ in some), math.fsum(high for _, high in some))
        for some in itertools.combinations(values, count)
    ]


def _quotient(a: float, b: float, unknown: float) -> float:
    """a / b of lengths; `unknown` where both are nothing or without end."""
    if (a == 0 and b == 0) or (math.isinf(a) and math.isinf(b)):
        return unknown
    return math.inf if b == 0 else a / b


def permutation_test(a: Sequence[Range], b: Sequence[Range]) -> Range:
    """Two-sided p values of a difference of means, the seed as the unit: all relabellings, none sampled.

    A relabelling counts when its difference p of means is at least as large as the observed one q: (p - q)(p + q) >= 0. Both
    factors are linear in the values, so their ranges over the box of values are sums of intervals; the least p value counts
    the relabellings that count for all values, the largest those that count for some. Every relabelling is judged by
    itself, so this is an outer bound, and exact where all values are known. Sums are rational: a tie is a tie.

    An infinite upper side stands for any finite value. A value that is known to be infinite leaves no difference of means:
    nothing is decided then.

    >>> permutation_test([(1.0, 1.0), (2.0, 2.0)], [(3.0, 3.0), (4.0, 4.0)])
    (0.3333333333333333, 0.3333333333333333)
    >>> permutation_test([(1.0, 1.0), (2.0, 2.0)], [(0.0, 3.0), (4.0, math.inf)])
    (0.3333333333333333, 1.0)

    Raises:
        ValueError: more relabellings than can be enumerated, or a range that is none.
    """
    n, m = len(a), len(b)
    count = relabellings(n, m)
    if count > MOST:
        raise ValueError(f"{count} relabellings are too many")
    box = [*a, *b]
    if any(not 0 <= high - low and low != high for low, high in box):  # NaN too
        raise ValueError("a range ends below its start")
    if any(math.isinf(low) for low, _ in box):
        return 0.0, 1.0
    scale = math.lcm(*(Fraction(v).denominator for side in box for v in side if math.isfinite(v)))
    whole = [_scaled(side, scale) for side in box]
    surely = possibly = 0
    for chosen in itertools.combinations(range(n + m), n):
        inside = set(chosen)
        kept_a, left = [i for i in range(n) if i in inside], [i for i in range(n) if i not in inside]
        come, kept_b = [j for j in range(n, n + m) if j in inside], [j for j in range(n, n + m) if j not in inside]
        # n m p = m (kept_a + come) - n (left + kept_b) and n m q = m (kept_a + left) - n (come + kept_b)
        less = _form(whole, [(1, come), (-1, left)])  # p - q, divided by n + m
        more = _form(whole, [(2 * m, kept_a), (-2 * n, kept_b), (m - n, come), (m - n, left)])  # p + q
        surely += (less[0] >= 0 and more[0] >= 0) or (less[1] <= 0 and more[1] <= 0) or _nothing(less, more)
        possibly += (less[1] >= 0 and more[1] >= 0) or (less[0] <= 0 and more[0] <= 0)
    return surely / count, possibly / count


def _scaled(side: Range, scale: int) -> tuple[_Number, _Number]:
    """A range as integers; an infinite side stays what it is."""
    low, high = side
    return int(Fraction(low) * scale), math.inf if math.isinf(high) else int(Fraction(high) * scale)


def _form(box: Sequence[tuple[_Number, _Number]], terms: Sequence[tuple[int, list[int]]]) -> tuple[_Number, _Number]:
    """Range of a linear form over a box; exact."""
    least: _Number = 0
    largest: _Number = 0
    for factor, places in terms:
        for i in places if factor else ():
            low, high = box[i] if factor > 0 else box[i][::-1]
            least, largest = _plus(least, factor * low), _plus(largest, factor * high)
    return least, largest


def _plus(a: _Number, b: _Number) -> _Number:
    """The only floats are infinities of one sign, and integers may be too large to be added to one."""
    return b if isinstance(b, float) else a if isinstance(a, float) else a + b


def _nothing(less: tuple[_Number, _Number], more: tuple[_Number, _Number]) -> bool:
    """One of the factors is zero whatever the values are."""
    return less == (0, 0) or more == (0, 0)
