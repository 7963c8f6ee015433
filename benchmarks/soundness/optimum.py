"""The truth about a question, from the linear pieces of a network: is the unsafe set reached, and how far away is it?"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from .exact import Cell
from .polytope import Point, Polytope, dot, nearest

NORMS = ("inf", "1", "2", "0")


@dataclass(frozen=True)
class Row:
    """y (outputs) and x (inputs) with outputs @ y + inputs @ x <= bound, or < where `strict`."""

    outputs: Point
    inputs: Point
    bound: Fraction
    strict: bool = False

    def holds(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
        """Whether a point and its output meet the inequality."""
        value = dot(self.outputs, y) + dot(self.inputs, x)
        return value < self.bound or (value == self.bound and not self.strict)


Disjunct = tuple[Row, ...]  # all rows hold


@dataclass(frozen=True)
class Ball:
    """All x within `radius` of `center`; None is infinite."""

    center: Point
    norm: str
    radius: Fraction | None


def length(difference: Sequence[Fraction], norm: str) -> Fraction:
    """The norm of a vector; for norm 2 its square."""
    if norm == "inf":
        return max((abs(v) for v in difference), default=Fraction(0))
    if norm == "1":
        return sum((abs(v) for v in difference), Fraction(0))
    if norm == "2":
        return sum((v * v for v in difference), Fraction(0))
    return Fraction(sum(v != 0 for v in difference))


@dataclass(frozen=True)
class Unsafe:
    """A piece of the unsafe set's closure; `rows` are linear over the inputs, (coefficients, bound, strict)."""

    polytope: Polytope
    rows: tuple[tuple[Point, Fraction, bool], ...]

    def reached(self, part: Polytope | None) -> bool:
        """Whether some point of a part of the polytope meets all rows, strict ones strictly."""
        if part is None:
            return False
        strict = [(a, b) for a, b, s in self.rows if s]
        return all(any(value < 0 for value in part.values(a, b)) for a, b in strict)


def unsafe_parts(cells: Sequence[Cell], disjuncts: Sequence[Disjunct]) -> list[Unsafe]:
    """Pieces of the unsafe set that hold a point."""
    parts = []
    for cell in cells:
        for disjunct in disjuncts:
            rows = tuple(_over_inputs(cell, row) for row in disjunct)
            closed = cell.polytope.cuts([(a, b) for a, b, _ in rows])
            if closed is not None:
                part = Unsafe(closed, rows)
                if part.reached(closed):
                    parts.append(part)
    return parts


def _over_inputs(cell: Cell, row: Row) -> tuple[Point, Fraction, bool]:
    coefficients, bound = list(row.inputs), row.bound
    for weight, (inner, constant) in zip(row.outputs, cell.forms, strict=True):
        if weight:
            bound -= weight * constant
            coefficients = [p + weight * q for p, q in zip(coefficients, inner, strict=True)]
    return tuple(coefficients), bound, row.strict


def reachable(parts: Sequence[Unsafe], ball: Ball | None) -> bool:
    """Whether the unsafe set meets a closed ball (or anything, without one)."""
    if ball is None or ball.radius is None:
        return bool(parts)
    return any(_meets(part, ball) for part in parts)


def _meets(part: Unsafe, ball: Ball) -> bool:
    assert ball.radius is not None
    if ball.norm == "2":
        point = nearest(part.polytope, ball.center)
        gap = length([p - c for p, c in zip(point, ball.center, strict=True)], "2") - ball.radius**2
        single = Polytope((point,), (0,), 0)
        return gap < 0 or (gap == 0 and part.reached(single))
    return any(part.reached(inside) for inside in _inside(part.polytope, ball))


def _inside(polytope: Polytope, ball: Ball) -> Iterator[Polytope | None]:
    """Polytopes whose union is a polytope's part within a ball of norm inf, 1 or 0."""
    n, center, radius = polytope.dimension, ball.center, ball.radius
    assert radius is not None
    units = [tuple(Fraction(int(i == k)) for i in range(n)) for k in range(n)]
    if ball.norm == "inf":
        rows = [(unit, center[k] + radius) for k, unit in enumerate(units)]
        rows += [(tuple(-v for v in unit), radius - center[k]) for k, unit in enumerate(units)]
        yield polytope.cuts(rows)
    elif ball.norm == "1":
        signs = (tuple(Fraction(s) for s in choice) for choice in itertools.product((1, -1), repeat=n))
        yield polytope.cuts([(sign, dot(sign, center) + radius) for sign in signs])
    else:
        for kept in itertools.combinations(range(n), max(0, n - int(radius))):
            yield _slice(polytope, [(units[k], center[k]) for k in kept])


def _slice(polytope: Polytope, rows: Sequence[tuple[Point, Fraction]]) -> Polytope | None:
    both = [(a, b) for a, b in rows] + [(tuple(-v for v in a), -b) for a, b in rows]
    return polytope.cuts(both)


def least_distance(parts: Sequence[Unsafe], center: Point, norm: str) -> Fraction | None:
    """The infimum of the distances to the unsafe set (its square for norm 2); None where there is no unsafe point."""
    best: Fraction | None = None
    for part in parts:
        if best is not None and norm != "0" and _at_least(part.polytope, center, norm) >= best:
            continue
        if norm == "2":
            point = nearest(part.polytope, center)
            found: Fraction | None = length([p - c for p, c in zip(point, center, strict=True)], "2")
        elif norm == "0":
            counts = (k for k in range(len(center) + 1) if _meets(part, Ball(center, "0", Fraction(k))))
            found = next((Fraction(k) for k in counts), None)
        else:
            found = _least(part.polytope, center, norm)
        if found is not None and (best is None or found < best):
            best = found
    return best


def _at_least(polytope: Polytope, center: Point, norm: str) -> Fraction:
    """A distance that a polytope's bounding box keeps."""
    gaps = []
    for k, c in enumerate(center):
        axis = [v[k] for v in polytope.vertices]
        gaps.append(max(Fraction(0), min(axis) - c, c - max(axis)))
    return length(gaps, norm)


def _least(polytope: Polytope, center: Point, norm: str) -> Fraction:
    """The least distance in norm inf or 1: it is piecewise linear, thus taken at a vertex of a subdivision."""
    n = polytope.dimension
    units = [tuple(Fraction(int(i == k)) for i in range(n)) for k in range(n)]
    walls = [(unit, center[k]) for k, unit in enumerate(units)]
    if norm == "inf":
        for i, j in itertools.combinations(range(n), 2):
            for sign in (1, -1):
                wall = tuple(p + sign * q for p, q in zip(units[i], units[j], strict=True))
                walls.append((wall, dot(wall, center)))
    parts = [polytope]
    for a, b in walls:
        split = []
        for part in parts:
            values = part.values(a, b)
            if min(values) < 0 < max(values):
                halves = part.part(values), part.part([-v for v in values])
                split += [half for half in halves if half is not None]
            else:
                split.append(part)
        parts = split
    vertices = (v for part in parts for v in part.vertices)
    return min(length([p - c for p, c in zip(v, center, strict=True)], norm) for v in vertices)


def least_margin(cells: Sequence[Cell], rows: Sequence[Row]) -> Fraction:
    """The least of max over nothing, i.e. of min over rows of outputs @ y - bound, over all pieces (no ball)."""
    best: Fraction | None = None
    for cell in cells:
        for row in rows:
            a, b, _ = _over_inputs(cell, row)
            value = min(cell.polytope.values(a, b))
            best = value if best is None or value < best else best
    assert best is not None
    return best
