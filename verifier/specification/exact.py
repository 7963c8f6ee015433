"""Exact rational numbers and the floating-point numbers around them."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np


def below(value: Fraction) -> float:
    """The largest float64 at or below a rational; minus infinity where there is none."""
    return -above(-value)


def above(value: Fraction) -> float:
    """The smallest float64 at or above a rational; infinity where there is none.

    >>> above(Fraction(1, 10)) == 0.1, above(Fraction(0.1) + Fraction(1, 10**30)) > 0.1
    (True, True)
    """
    try:
        nearest = float(value)  # rounds correctly
    except OverflowError:
        return math.inf if value > 0 else -math.nextafter(math.inf, 0.0)
    if math.isinf(nearest):
        return nearest
    top, bottom = nearest.as_integer_ratio()  # compared as integers: several times as fast as two fractions
    return nearest if top * value.denominator >= value.numerator * bottom else math.nextafter(nearest, math.inf)


def is_float64(value: Fraction) -> bool:
    """Whether a rational is a float64 number."""
    return above(value) == below(value)


def ceiling(value: Fraction, dtype: str) -> float:
    """The smallest number of a floating-point type at or above a rational; infinity where there is none."""
    return -floor(-value, dtype)


def floor(value: Fraction, dtype: str) -> float:
    """The largest number of a floating-point type at or below a rational; minus infinity where there is none."""
    wide = below(value)
    if dtype == "float64" or math.isinf(wide):
        return wide
    with np.errstate(over="ignore", under="ignore"):
        narrow = np.float32(wide)
        if float(narrow) > wide:
            narrow = np.nextafter(narrow, np.float32(-np.inf))
    return float(narrow)


def following(value: float, dtype: str) -> float:
    """The next larger number of a floating-point type, for one of its numbers."""
    if dtype == "float64":
        return math.nextafter(value, math.inf)
    with np.errstate(over="ignore", under="ignore"):
        return float(np.nextafter(np.float32(value), np.float32(np.inf)))


def rounded(value: Fraction, dtype: str) -> float:
    """The nearest number of a floating-point type, ties to even, as a runtime rounds; infinite out of its range."""
    low, high = floor(value, dtype), ceiling(value, dtype)
    if low == high or math.isinf(low) or math.isinf(high):
        return high if math.isinf(high) else low
    down, up = value - Fraction(low), Fraction(high) - value
    if down != up:
        return low if down < up else high
    return _even(low, high, dtype)


def _even(low: float, high: float, dtype: str) -> float:
    """The one of two neighbours whose last bit is zero."""
    number = np.float64(low) if dtype == "float64" else np.float32(low)
    bits = number.view(np.int64 if dtype == "float64" else np.int32)
    return low if int(bits) % 2 == 0 else high


def dot(coefficients: np.ndarray, values: np.ndarray) -> Fraction:
    """The exact scalar product of two vectors of finite floats."""
    places = np.flatnonzero(coefficients)
    pairs = zip(coefficients[places].tolist(), values[places].tolist(), strict=True)
    return sum((Fraction(c) * Fraction(v) for c, v in pairs), Fraction())
