"""Exact rows to rows of a `Polytope`, rounded so that the unsafe set does not shrink."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from ..exact import above, is_float64
from ..specification import Polytope
from .formula import Inequality, Variable

_MANTISSA = 2**53
_HUGE = 200  # binary digits before the point


class Row(NamedTuple):
    """sum of float64 coefficients times variables <= offset (< when strict).

    `exact` unless coefficients were rounded; then `decimal`, the limit and whether it is strict, differs from the float64
    pair where the limit is no float64.
    """

    terms: dict[Variable, float]
    offset: float
    strict: bool
    exact: bool
    decimal: tuple[Fraction, bool] | None = None


def row_of(inequality: Inequality) -> Row:
    """An inequality in float64.

    Coefficients that are no float64 numbers become integers where their common denominator allows it. An offset that is
    none is rounded up and not attained any more: no float64 value lies between the two.

    Raises:
        OverflowError: a number beyond float64.
    """
    terms, constant = inequality.expression
    scale = _scale(list(terms.values()))
    exact = scale is not None
    factor = (scale or Fraction(1)) * _moderation([*terms.values(), constant])
    rounded = {variable: float(value * factor) for variable, value in terms.items()}
    offset = -constant * factor
    up = above(offset)
    if math.isinf(up) or not all(rounded.values()):  # a coefficient that vanishes would change the row
        raise OverflowError
    between = Fraction(up) != offset
    decimal = (offset, inequality.strict) if between and exact else None
    return Row(rounded, up, inequality.strict or between, exact, decimal)


def _moderation(values: list[Fraction]) -> Fraction:
    """A power of 2 that makes huge numbers of a row moderate, so that sums of them do not overflow; 1 for most rows."""
    sizes = [value.numerator.bit_length() - value.denominator.bit_length() for value in values if value]
    if max(sizes, default=0) < _HUGE or min(sizes) < -_HUGE:
        return Fraction(1)
    return Fraction(1, 2 ** (max(sizes) // 2))


def _scale(values: list[Fraction]) -> Fraction | None:
    """A positive factor that makes float64 numbers of all values, near 1 if there is one; None where none is found."""
    if all(is_float64(value) for value in values):
        return Fraction(1)
    denominator = math.lcm(*(value.denominator for value in values))
    whole = [int(value * denominator) for value in values]
    divisor = math.gcd(*whole)
    if max(abs(number) for number in whole) // divisor > _MANTISSA:
        return None
    scale = Fraction(denominator, divisor)
    return scale / Fraction(2) ** round(math.log2(scale.numerator) - math.log2(scale.denominator))


def polytope(rows: Sequence[Row], inputs: int, outputs: int) -> Polytope:
    """The polytope of some rows; everything where there are none ("can this region be entered at all")."""
    if not rows:
        return Polytope(np.zeros((1, outputs)), np.zeros(1), np.zeros(1, dtype=bool))
    matrix = np.zeros((len(rows), outputs))
    coupled = any(kind == "X" for row in rows for kind, _ in row.terms)
    on_inputs = np.zeros((len(rows), inputs)) if coupled else None
    for r, row in enumerate(rows):
        for (kind, k), value in row.terms.items():
            if kind == "Y":
                matrix[r, k] = value
            elif on_inputs is not None:
                on_inputs[r, k] = value
    offset = np.array([row.offset for row in rows])
    decimals = {r: row.decimal for r, row in enumerate(rows) if row.decimal is not None}
    return Polytope(matrix, offset, np.array([row.strict for row in rows]), inputs=on_inputs, decimals=decimals)
