"""The oracle of the benchmark `soundness` against other ways to the same numbers."""

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest

from benchmarks.soundness.exact import cells
from benchmarks.soundness.networks import NETWORKS, make
from benchmarks.soundness.optimum import NORMS, Ball, Row, least_distance, length, reachable, unsafe_parts
from benchmarks.soundness.polytope import box, nearest


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_grid_never_beats_the_exact_distance_and_comes_near(kind: str) -> None:
    rng = random.Random(kind)
    for _ in range(3):
        network = make(kind, rng).network
        n, zero = network.inputs, Fraction(0)
        steps = {1: 400, 2: 20, 3: 7, 4: 4}[n]
        center = tuple(Fraction(rng.randrange(steps + 1), steps) for _ in range(n))
        y = network.run(center)
        row = [zero] * network.outputs  # another class wins, or the only output falls
        best = max(range(len(y)), key=lambda k: y[k])
        row[best] = Fraction(1)
        bound = y[0] - abs(y[0]) / 16 - Fraction(1, 16)
        if len(y) > 1:
            row[(best + 1) % len(y)], bound = Fraction(-1), zero
        unsafe = Row(tuple(row), (zero,) * n, bound, True)
        parts = unsafe_parts(cells(network, [zero] * n, [Fraction(1)] * n), [(unsafe,)])
        grid = list(itertools.product([Fraction(k, steps) for k in range(steps + 1)], repeat=n))
        bad = [x for x in grid if unsafe.holds(x, network.run(x))]
        for norm in NORMS:
            exact = least_distance(parts, center, norm)
            if exact is None:
                assert not bad
                continue
            found = [length([p - c for p, c in zip(x, center, strict=True)], norm) for x in bad]
            assert all(distance >= exact for distance in found)
            if norm in ("inf", "1", "0") and exact > 0:
                assert not reachable(parts, Ball(center, norm, exact * Fraction(999, 1000)))
                up = exact if norm == "0" else exact * Fraction(1001, 1000)
                assert reachable(parts, Ball(center, norm, up))
            if norm == "inf" and n == 1 and found:
                assert min(found) <= exact + Fraction(1, steps)


def test_pieces_cover_the_box_and_agree_with_the_network() -> None:
    for number, kind in enumerate(NETWORKS):
        rng = random.Random(number)
        network = make(kind, rng).network
        n = network.inputs
        for cell in cells(network, [Fraction(0)] * n, [Fraction(1)] * n):
            for x in (*cell.polytope.vertices, cell.polytope.middle()):
                affine = [sum(a * b for a, b in zip(form[0], x, strict=True)) + form[1] for form in cell.forms]
                assert tuple(affine) == network.run(x), kind


def test_nearest_point_of_a_cut_box() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        n = int(rng.integers(1, 4))
        sides = [Fraction(0)] * n, [Fraction(1)] * n
        normal = tuple(Fraction(int(v)) for v in rng.integers(-3, 4, n))
        part = box(*sides).cut(normal, Fraction(int(rng.integers(0, 2))))
        center = tuple(Fraction(int(v), 4) for v in rng.integers(-4, 9, n))
        assert part is not None
        point = nearest(part, center)
        for vertex in part.vertices:  # the optimality condition of a projection, at every vertex
            steps = zip(vertex, point, center, strict=True)
            assert sum((v - p) * (p - c) for v, p, c in steps) >= 0
