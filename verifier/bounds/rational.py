"""Bounds in rational arithmetic, for what floating point cannot decide: values that are exactly what they must not exceed.

A linear function of the output is carried backwards as in `backward`, but with fractions, so that a bound of exactly 0 is
0. Affordable for small networks only. Intervals of neurons may come from anywhere, they only have to hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import assert_never

import numpy as np

from ..network.nodes import Affine, Input, Max, Network, Relu
from ..network.operators import Compose, MeanAxes, Operator, Transposed
from ..norms import UnitBall
from ..specification import Region

Vector = dict[int, Fraction]  # entries that are not 0
_ROOT_BITS = 200  # of the square roots that bound l2 norms


@dataclass(frozen=True)
class RationalForm:
    """coefficients times input plus offset."""

    coefficients: Vector
    offset: Fraction

    def plus(self, other: RationalForm, factor: Fraction) -> RationalForm:
        """self + factor other."""
        total = dict(self.coefficients)
        _add(total, other.coefficients, factor)
        return RationalForm(total, self.offset + factor * other.offset)


@dataclass(frozen=True)
class Choices:
    """How ReLUs and maxima are replaced: bounds of what they read (lower, upper), phases, and lower slopes of open ReLUs.

    Attributes:
        bounds: by node read, two float64 vectors.
        phases: by ReLU node, a vector of +1 (active), -1 (inactive) and 0 (as the bounds say); by maximum node, where there
            is one, the place of the largest member in each window, or -1 (as the bounds say).
        slope: between 0 and 1, for every open ReLU; None takes 0 or 1, whichever wastes less.
    """

    bounds: Mapping[int, tuple[np.ndarray, np.ndarray]]
    phases: Mapping[int, np.ndarray]
    slope: Fraction | None

    def phase(self, relu: int, read: int, k: int) -> int:
        """+1 or -1 for one ReLU, 0 where it is open."""
        if self.phases[relu][k] != 0:
            return int(self.phases[relu][k])
        lower, upper = self.bounds[read]
        return 1 if lower[k] >= 0 else -1 if upper[k] <= 0 else 0


class RationalNetwork:
    """The parameters of a network as fractions."""

    def __init__(self, network: Network) -> None:
        """Take over a network whose float64 parameters are meant to the last bit."""
        self.network = network
        self._matrices: dict[int, list[list[dict[int, Vector]]]] = {}
        for i, node in enumerate(network.nodes):
            if isinstance(node, Affine):
                self._matrices[i] = [_rows(operator) for operator in node.operators]

    def lower_form(self, start: Mapping[int, Vector], offset: Fraction, choices: Choices) -> RationalForm:
        """A linear function of the input that is nowhere above the given one of nodes, wherever the choices hold."""
        pending = {node: dict(vector) for node, vector in start.items()}
        for i in range(max(pending, default=0), 0, -1):
            weights = pending.pop(i, None)
            if not weights:
                continue
            node = self.network.nodes[i]
            match node:
                case Affine():
                    bias = node.bias.tolist()
                    offset += sum((c * Fraction(bias[k]) for k, c in weights.items()), Fraction(0))
                    for j, factors in zip(node.inputs, self._matrices[i], strict=True):
                        carried = weights
                        for rows in reversed(factors):
                            before: Vector = {}
                            for k, c in carried.items():
                                _add(before, rows.get(k, {}), c)
                            carried = before
                        _add(pending.setdefault(j, {}), carried, Fraction(1))
                case Relu():
                    below: Vector = {}
                    for k, c in weights.items():
                        slope, height = self._line(choices, i, node.input, k, c)
                        offset += c * height
                        if slope:
                            below[k] = c * slope
                    _add(pending.setdefault(node.input, {}), below, Fraction(1))
                case Max():
                    below = {}
                    for k, c in weights.items():
                        members = node.windows[k].tolist()
                        place = int(choices.phases[i][k]) if i in choices.phases else -1
                        member, height = (
                            (members[place], Fraction(0))
                            if place >= 0
                            else _pick(choices.bounds[node.input], members, c)
                        )
                        if member is None:
                            offset += c * height
                        else:
                            below[member] = below.get(member, Fraction(0)) + c
                    _add(pending.setdefault(node.input, {}), below, Fraction(1))
                case Input():
                    raise AssertionError("the input is node 0")
        return RationalForm(pending.get(0, {}), offset)

    @staticmethod
    def _line(choices: Choices, relu: int, read: int, k: int, weight: Fraction) -> tuple[Fraction, Fraction]:
        """Slope and height of the line that stands for a ReLU with this coefficient."""
        phase = choices.phase(relu, read, k)
        if phase:
            return Fraction(phase > 0), Fraction(0)
        lower, upper = (Fraction(float(side[k])) for side in choices.bounds[read])
        if weight < 0:
            slope = upper / (upper - lower)
            return slope, -slope * lower
        if choices.slope is not None:
            return choices.slope, Fraction(0)
        return Fraction(upper > -lower), Fraction(0)


def least(form: RationalForm, region: Region) -> Fraction:
    """The minimum of a linear function over a region: exact, save that l2 balls cut by their box give a lower bound."""
    box = [(c, *region.sides(i)) for i, c in form.coefficients.items()]
    ball = region.ball
    if ball is None or math.isinf(ball.radius):
        return form.offset + sum((c * (lo if c > 0 else hi) for c, lo, hi in box), Fraction(0))
    radius = Fraction(ball.radius)
    centers = [Fraction(float(ball.center[i])) for i in form.coefficients]
    value = form.offset + sum((c * m for (c, _, _), m in zip(box, centers, strict=True)), Fraction(0))
    slack = [m - lo if c > 0 else hi - m for (c, lo, hi), m in zip(box, centers, strict=True)]
    falls = [(abs(c), r) for (c, _, _), r in zip(box, slack, strict=True)]
    match ball.norm.unit_ball:
        case UnitBall.BOX:
            return value - sum((w * min(r, radius) for w, r in falls), Fraction(0))
        case UnitBall.CROSS_POLYTOPE:
            spent = Fraction(0)
            for w, r in sorted(falls, reverse=True):
                step = min(r, radius - spent)
                value, spent = value - w * step, spent + step
            return value
        case UnitBall.COUNT:
            count = region.size // getattr(ball.norm, "channels", 1)
            pixels: dict[int, Fraction] = {}
            for i, (w, r) in zip(form.coefficients, falls, strict=True):
                pixels[i % count] = pixels.get(i % count, Fraction(0)) + w * r
            return value - sum(sorted(pixels.values(), reverse=True)[: math.floor(ball.radius)], Fraction(0))
        case UnitBall.EUCLIDEAN:
            whole = sum((w * r for w, r in falls), Fraction(0))
            length = _root_above(sum((w * w for w, _ in falls), Fraction(0)) * radius * radius)
            return value - min(whole, length)
        case _:
            assert_never(ball.norm.unit_ball)


def _root_above(square: Fraction) -> Fraction:
    """The square root, where it is a fraction, or one a little above."""
    top, bottom = math.isqrt(square.numerator), math.isqrt(square.denominator)
    if top * top == square.numerator and bottom * bottom == square.denominator:
        return Fraction(top, bottom)
    scaled = (square.numerator << 2 * _ROOT_BITS) // square.denominator
    return Fraction(math.isqrt(scaled) + 1, 1 << _ROOT_BITS)


def _add(total: Vector, vector: Vector, factor: Fraction) -> None:
    """total += factor vector, without zeros."""
    for k, value in vector.items():
        new = total.get(k, Fraction(0)) + factor * value
        if new:
            total[k] = new
        else:
            total.pop(k, None)


def _pick(bounds: tuple[np.ndarray, np.ndarray], members: list[int], weight: Fraction) -> tuple[int | None, Fraction]:
    """The member that stands for a maximum, or None and a constant."""
    lower, upper = bounds
    best = max(members, key=lambda k: float(lower[k]))
    dominated = all(upper[k] <= lower[best] for k in members if k != best)
    if weight > 0 or dominated:
        return best, Fraction(0)
    return None, Fraction(max(float(upper[k]) for k in members))


def _rows(operator: Operator) -> list[dict[int, Vector]]:
    """The factors of an operator, first one first, each by its rows."""
    match operator:
        case Compose():
            return [rows for factor in operator.factors for rows in _rows(factor)]
        case Transposed():
            return [_transposed(rows) for rows in reversed(_rows(operator.inner))]
    matrix = operator.to_sparse().tocoo()
    exact = Fraction(1, operator.count) if isinstance(operator, MeanAxes) else None
    rows: dict[int, Vector] = {}
    for r, c, value in zip(matrix.row.tolist(), matrix.col.tolist(), matrix.data.tolist(), strict=True):
        if value != 0:
            row = rows.setdefault(r, {})
            row[c] = row.get(c, Fraction(0)) + (Fraction(value) if exact is None else exact)
    return [rows]


def _transposed(rows: dict[int, Vector]) -> dict[int, Vector]:
    turned: dict[int, Vector] = {}
    for r, row in rows.items():
        for c, value in row.items():
            turned.setdefault(c, {})[r] = value
    return turned
