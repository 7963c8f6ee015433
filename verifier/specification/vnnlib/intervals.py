"""Bounds on single inputs: exact intervals, and the float64 sides of what a network's input type holds of them.

A network takes floating-point numbers. So a strict bound at such a number is the next one; and where an interval holds
none at all (a feature fixed at 0.1), it is widened to what a runtime would round its decimals to. Both are closed sides
again, and everything that the interval holds lies inside them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from ..exact import above, below, ceiling, floor, following, rounded
from .formula import Inequality


class Interval(NamedTuple):
    """Between `low` and `high`, None where there is no such bound; offsets are places of the bounds in the text."""

    low: Fraction | None = None
    high: Fraction | None = None
    low_strict: bool = False
    high_strict: bool = False
    low_offset: int = 0
    high_offset: int = 0

    def with_bound(self, row: Inequality) -> Interval:
        """What also satisfies a bound on this input."""
        ((factor,), constant) = row.expression.terms.values(), row.expression.constant
        value, low, high = constant if factor == -1 else -constant / factor, self.low, self.high
        if factor > 0:
            if high is None or value < high or (value == high and row.strict):
                return Interval(low, value, self.low_strict, row.strict, self.low_offset, row.offset)
        elif low is None or value > low or (value == low and row.strict):
            return Interval(value, high, row.strict, self.high_strict, row.offset, self.high_offset)
        return self


class Sides(NamedTuple):
    """Closed float64 sides of an interval; `taken` are the numbers that it was widened to, outside of it."""

    lower: float
    upper: float
    taken: tuple[float, ...] = ()


def decimals(interval: Interval, side: Sides, dtype: str) -> tuple[Fraction, Fraction] | None:
    """The interval with what was taken outside of it, as it was written; None where the float64 sides say no less.

    Sides of a float64 network are numbers that it takes, inside the interval or in its place, and mean themselves.
    """
    if interval.low is None or interval.high is None or dtype == "float64":
        return None
    low, high = min([interval.low, *map(Fraction, side.taken)]), max([interval.high, *map(Fraction, side.taken)])
    return None if low <= Fraction(side.lower) and Fraction(side.upper) <= high else (low, high)


def intervals(rows: Iterable[Inequality], known: dict[int, Interval]) -> dict[int, Interval]:
    """The interval of each input that some rows bound, on top of what is known of it."""
    found: dict[int, Interval] = {}
    for row in rows:
        ((_, k),) = row.expression.terms
        found[k] = (found.get(k) or known.get(k) or _FREE).with_bound(row)
    return found


def sides(interval: Interval, dtype: str) -> Sides | None:
    """What a network of that input type is asked about; None for nothing, in exact arithmetic.

    Raises:
        OverflowError: everything in the interval is too large for the type.
    """
    low, high = interval.low, interval.high
    if low is not None and high is not None:
        if dtype == "float32" and not (interval.low_strict or interval.high_strict):
            lower, upper = below(low), above(high)
            if _plainly_holds_float32(lower, upper):
                return Sides(lower, upper)
        if low > high or (low == high and (interval.low_strict or interval.high_strict)):
            return None
        if not (interval.low_strict or interval.high_strict) and low == high == floor(low, dtype):
            return Sides(float(low), float(low))
    lower = -math.inf if low is None else _side(low, interval.low_strict, dtype)
    upper = math.inf if high is None else -_side(-high, interval.high_strict, dtype)
    if lower > upper or (low is not None and high is not None and _is_gap(low, high, interval, dtype)):
        assert low is not None and high is not None
        return _nearest(low, high, interval, dtype)
    return Sides(lower, upper)


def _plainly_holds_float32(lower: float, upper: float) -> bool:
    """Whether the reals between two float64 numbers hold a float32 number, and neither of the two is one.

    Neighbours are 2^-23 of their size apart, or 2^-149 near 0.
    """
    largest = max(-lower, upper)
    if not (upper - lower > 1.5e-7 * largest and upper - lower > 1e-40 and largest < 1e38):
        return False
    narrow_lower, narrow_upper = struct.unpack("ff", struct.pack("ff", lower, upper))
    return bool(narrow_lower != lower and narrow_upper != upper)


def _side(low: Fraction, strict: bool, dtype: str) -> float:
    """A float64 lower side: with all reals at or above `low`, and no number of the type that is not one of them."""
    first = ceiling(low, dtype)
    if first == low:
        return following(first, dtype) if strict else first
    if strict:
        return first
    outward = below(low)
    is_number = math.isfinite(outward) and floor(Fraction(outward), dtype) == outward
    return above(low) if is_number else outward


def _is_gap(low: Fraction, high: Fraction, interval: Interval, dtype: str) -> bool:
    """Whether the interval holds no number of the type."""
    first, last = ceiling(low, dtype), floor(high, dtype)
    if interval.low_strict and first == low:
        first = following(first, dtype)
    if interval.high_strict and last == high:
        last = -following(-last, dtype)
    return first > last


def _nearest(low: Fraction, high: Fraction, interval: Interval, dtype: str) -> Sides | None:
    """An interval between two neighbouring numbers of the type, widened to those that its decimals are rounded to.

    Where a strict bound excludes one of the two by name, nothing is taken in its place: no input of the type satisfies the
    bounds, and what is proved of the reals between them is proved.
    """
    if (interval.low_strict and ceiling(low, dtype) == low) or (interval.high_strict and floor(high, dtype) == high):
        if dtype == "float64":
            return None
        lower = math.nextafter(float(low), math.inf) if ceiling(low, dtype) == low else below(low)
        upper = math.nextafter(float(high), -math.inf) if floor(high, dtype) == high else above(high)
        return Sides(lower, upper) if lower <= upper else None
    taken = tuple(sorted({rounded(low, dtype), rounded(high, dtype)}))
    if any(math.isinf(value) for value in taken):
        raise OverflowError
    if dtype == "float64":  # the numbers of a box itself: there is none between them
        return Sides(taken[0], taken[-1])
    return Sides(min(below(low), taken[0]), max(above(high), taken[-1]), taken)


_FREE = Interval()
