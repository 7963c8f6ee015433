"""Polytopes in exact rational arithmetic: vertices, cut by half-spaces (the double description method), nearest points.

Every vertex knows which inequalities it meets with equality; two vertices are joined by an edge when no third one meets all
that both of them meet. That test holds for degenerate polytopes, too, which is where floating point goes wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

Point = tuple[Fraction, ...]


def dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    """Sum of products; zeros cost nothing."""
    total = Fraction(0)
    for p, q in zip(a, b, strict=True):
        if p and q:
            total += p * q
    return total


@dataclass(frozen=True)
class Polytope:
    """The convex hull of `vertices`; `active[k]` has bit r set where vertex k meets inequality r with equality."""

    vertices: tuple[Point, ...]
    active: tuple[int, ...]
    rows: int

    @property
    def dimension(self) -> int:
        """Number of coordinates."""
        return len(self.vertices[0])

    def values(self, a: Sequence[Fraction], b: Fraction) -> list[Fraction]:
        """a x - b at every vertex."""
        return [dot(a, v) - b for v in self.vertices]

    def cut(self, a: Sequence[Fraction], b: Fraction) -> Polytope | None:
        """The part where a x <= b, or None where that is empty."""
        return self.part(self.values(a, b))

    def part(self, values: Sequence[Fraction]) -> Polytope | None:
        """The part where a linear function with these values at the vertices is at most 0."""
        bit, below, above = 1 << self.rows, [], []
        points: list[Point] = []
        active: list[int] = []
        for k, value in enumerate(values):
            if value > 0:
                above.append(k)
                continue
            if value < 0:
                below.append(k)
            points.append(self.vertices[k])
            active.append(self.active[k] | (bit if value == 0 else 0))
        if not points:
            return None
        for i in below if above else ():
            for j in above:
                common = self.active[i] & self.active[j]
                if self._edge(i, j, common):
                    share = values[i] / (values[i] - values[j])
                    u, v = self.vertices[i], self.vertices[j]
                    points.append(tuple(p + share * (q - p) for p, q in zip(u, v, strict=True)))
                    active.append(common | bit)
        return Polytope(tuple(points), tuple(active), self.rows + 1)

    def _edge(self, i: int, j: int, common: int) -> bool:
        if common.bit_count() < self.dimension - 1:
            return False
        return not any(mask & common == common for k, mask in enumerate(self.active) if k not in (i, j))

    def cuts(self, rows: Sequence[tuple[Sequence[Fraction], Fraction]]) -> Polytope | None:
        """The part where a x <= b for all (a, b)."""
        here: Polytope | None = self
        for a, b in rows:
            if here is None:
                return None
            here = here.cut(a, b)
        return here

    def middle(self) -> Point:
        """The mean of the vertices: a point of the relative interior."""
        return tuple(sum(axis, Fraction(0)) / len(self.vertices) for axis in zip(*self.vertices, strict=True))


def box(lower: Sequence[Fraction], upper: Sequence[Fraction]) -> Polytope:
    """A box; sides may be of length 0."""
    n = len(lower)
    corners: dict[Point, int] = {}
    for choice in itertools.product((0, 1), repeat=n):
        corner = tuple(upper[i] if up else lower[i] for i, up in enumerate(choice))
        mask = 0
        for i in range(n):
            mask |= (1 << i) * (corner[i] == lower[i]) | (1 << (n + i)) * (corner[i] == upper[i])
        corners[corner] = mask
    return Polytope(tuple(corners), tuple(corners.values()), 2 * n)


def solve(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction]:
    """The solution of a regular system, by elimination."""
    n = len(right)
    rows = [[*row, value] for row, value in zip(matrix, right, strict=True)]
    for k in range(n):
        pivot = next(r for r in range(k, n) if rows[r][k] != 0)
        rows[k], rows[pivot] = rows[pivot], rows[k]
        inverse = 1 / rows[k][k]
        rows[k] = [value * inverse for value in rows[k]]
        for r in range(n):
            factor = rows[r][k]
            if r != k and factor != 0:
                rows[r] = [p - factor * q for p, q in zip(rows[r], rows[k], strict=True)]
    return [row[n] for row in rows]


def nearest(polytope: Polytope, center: Sequence[Fraction]) -> Point:
    """The point of a polytope that is nearest to a center in the Euclidean norm (Wolfe's algorithm of 1976, exactly)."""
    points = [tuple(p - c for p, c in zip(v, center, strict=True)) for v in polytope.vertices]
    here = min(points, key=lambda p: dot(p, p))
    chosen, weights = [here], [Fraction(1)]
    while True:
        best = min(points, key=lambda p: dot(here, p))
        if dot(here, best) >= dot(here, here):
            return tuple(p + c for p, c in zip(here, center, strict=True))
        chosen.append(best)
        weights.append(Fraction(0))
        while True:
            aim = _affine_minimum(chosen)
            if all(w >= 0 for w in aim):
                weights = aim
                break
            share = min(w / (w - a) for w, a in zip(weights, aim, strict=True) if a < 0)
            weights = [w + share * (a - w) for w, a in zip(weights, aim, strict=True)]
            kept = [k for k, w in enumerate(weights) if w > 0]
            chosen, weights = [chosen[k] for k in kept], [weights[k] for k in kept]
        kept = [k for k, w in enumerate(weights) if w > 0]
        chosen, weights = [chosen[k] for k in kept], [weights[k] for k in kept]
        here = tuple(
            sum((w * p[i] for w, p in zip(weights, chosen, strict=True)), Fraction(0)) for i in range(len(here))
        )


def _affine_minimum(points: Sequence[Point]) -> list[Fraction]:
    """Weights, of sum 1, of the point of least norm in the affine hull."""
    one, zero, n = Fraction(1), Fraction(0), len(points)
    gram = [[dot(p, q) for q in points] for p in points]
    matrix = [[zero, *[one] * n], *([one, *row] for row in gram)]
    return solve(matrix, [one, *[zero] * n])[1:]
