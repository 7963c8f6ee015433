"""Networks whose answer is known because of how they are built, of any size: no solver, no training, no sampling.

SAT formulas as ReLU networks, deep ones with one output: an input x is read as the literals relu(1 - 2x) (false) and relu(2x - 1) (true), of which one
is 0; a clause is satisfied by min(1, sum of its literals), and the output is the sum over clauses. It reaches the number of
clauses exactly where the formula is satisfiable: literals that are positive belong to a consistent assignment, and a clause
is full only if one of them is. Flat ones with two outputs, as in VNN-COMP's sat_relu: one counts clauses that are violated
(they are sums of inputs), the other how far inputs are from 0 and 1, and both have to be 0 together. Satisfiable formulas
are planted; parity chains and pigeonholes are unsatisfiable, and so are random ones with many clauses.

Isometries: W of signed permutations times powers of two moves a ball exactly, and a shift keeps every ReLU on over the
input range, so that the margin is linear there and the distance is its value over its dual norm. A contractive network has
rows of l1 norm at most 1, thus moves no output by more than the radius.
"""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .soundness.build import Builder

Clause = tuple[int, ...]  # literals: k + 1, or -(k + 1), of variable k


@dataclass(frozen=True)
class Formula:
    """Clauses over `variables`, and whether they can all be true."""

    variables: int
    clauses: tuple[Clause, ...]
    satisfiable: bool


def planted_formula(variables: int, clauses: int, seed: int) -> Formula:
    """Random clauses of three literals that a hidden assignment satisfies."""
    rng = random.Random(seed)
    hidden = [rng.choice((1, -1)) for _ in range(variables)]
    found: list[Clause] = []
    while len(found) < clauses:
        clause = tuple(rng.choice((1, -1)) * (k + 1) for k in rng.sample(range(variables), 3))
        if any(literal * hidden[abs(literal) - 1] > 0 for literal in clause):
            found.append(clause)
    return Formula(variables, tuple(found), True)


def crowded_formula(variables: int, clauses: int, seed: int) -> Formula:
    """Random clauses of three literals, so many that an assignment satisfies all with less than one chance in a trillion.

    Raises:
        ValueError: there are too few for that.
    """
    if variables + clauses * math.log2(7 / 8) > -40:  # the expected number of assignments, as a power of two
        raise ValueError(f"{clauses} random clauses over {variables} variables may be satisfiable")
    rng = random.Random(seed)
    found = [tuple(rng.choice((1, -1)) * (k + 1) for k in rng.sample(range(variables), 3)) for _ in range(clauses)]
    return Formula(variables, tuple(found), False)


def pigeonhole(holes: int) -> Formula:
    """One pigeon more than holes, one hole for each, none shared: unsatisfiable."""

    def sits(pigeon: int, hole: int) -> int:
        return pigeon * holes + hole + 1

    somewhere: list[tuple[int, ...]] = [tuple(sits(p, h) for h in range(holes)) for p in range(holes + 1)]
    pairs = itertools.combinations(range(holes + 1), 2)
    apart: list[tuple[int, ...]] = [(-sits(p, h), -sits(q, h)) for p, q in pairs for h in range(holes)]
    return Formula((holes + 1) * holes, tuple(somewhere + apart), False)


def parity(variables: int, odd: bool) -> Formula:
    """x_1 = x_2 = ... around a circle, with one inequality where `odd`: unsatisfiable then."""
    clauses: list[Clause] = []
    for k in range(variables):
        a, b = k + 1, (k + 1) % variables + 1
        differ = odd and k == variables - 1
        clauses += [(a, b), (-a, -b)] if differ else [(a, -b), (-a, b)]
    return Formula(variables, tuple(clauses), not odd)


def formula_network(formula: Formula, path: Path, text: Path) -> None:
    """The network of a formula, and the property that is sat where the formula is."""
    n, m = formula.variables, len(formula.clauses)
    b = Builder((n,))
    eye = np.eye(n)
    literals = b.relu(b.gemm(b.input, np.concatenate([2 * eye, -2 * eye]), np.repeat([-1.0, 1.0], n)))
    missing = np.zeros((m, 2 * n))  # 1 - sum of literals; its ReLU is what the clause lacks
    for row, clause in zip(missing, formula.clauses, strict=True):
        for literal in clause:
            row[abs(literal) - 1 + (n if literal < 0 else 0)] = -1
    lacking = b.relu(b.gemm(literals, missing, np.ones(m), 2))
    b.finish(b.gemm(lacking, -np.ones((1, m)), [float(m)], 1))
    b.write(path)
    lines = [f"(declare-const X_{k} Real)" for k in range(n)] + ["(declare-const Y_0 Real)"]
    lines += [f"(assert (>= X_{k} 0.0))\n(assert (<= X_{k} 1.0))" for k in range(n)]
    text.write_text("\n".join([*lines, f"(assert (>= Y_0 {m}.0))"]) + "\n")


def flat_formula_network(formula: Formula, path: Path, text: Path) -> None:
    """One layer and two outputs: Y_0 = 1 - violated clauses has to reach 1 while Y_1, what inputs lack to 0 or 1, stays 0."""
    n, m = formula.variables, len(formula.clauses)
    b = Builder((n,))
    eye = np.eye(n)
    violated, constant = np.zeros((m, n)), np.ones(m)  # 1 - sum of literals
    for row, clause in enumerate(formula.clauses):
        for literal in clause:
            violated[row, abs(literal) - 1] -= 1 if literal > 0 else -1
            constant[row] -= literal < 0
    layer = b.relu(
        b.gemm(b.input, np.concatenate([violated, eye, 2 * eye]), np.concatenate([constant, np.zeros(n), -np.ones(n)]))
    )
    outputs = np.zeros((2, m + 2 * n))
    outputs[0, :m], outputs[1, m : m + n], outputs[1, m + n :] = -1, 1, -1
    b.finish(b.gemm(layer, outputs, [1.0, 0.0], 1))
    b.write(path)
    lines = [f"(declare-const X_{k} Real)" for k in range(n)] + [f"(declare-const Y_{k} Real)" for k in range(2)]
    lines += [f"(assert (>= X_{k} 0.0))\n(assert (<= X_{k} 1.0))" for k in range(n)]
    text.write_text("\n".join([*lines, "(assert (>= Y_0 1.0))", "(assert (<= Y_1 0.0))"]) + "\n")


@dataclass(frozen=True)
class Known:
    """A network, an image of class 0 and its exact distance from the nearest adversarial example, by norm."""

    path: Path
    image: np.ndarray
    distance: dict[str, float]


def isometry(inputs: int, depth: int, seed: int, path: Path) -> Known:
    """Signed permutations, shifted so that every ReLU stays on in [0, 1]: the margin is the distance of the plane."""
    rng = np.random.default_rng(seed)
    b = Builder((inputs,))
    x, matrix, offset = b.input, np.eye(inputs), np.zeros(inputs)
    for _ in range(depth):
        step = np.eye(inputs)[rng.permutation(inputs)] * rng.choice((-1.0, 1.0), size=(inputs, 1))
        matrix, offset = step @ matrix, step @ offset
        least = offset + np.minimum(matrix, 0).sum(1)
        shift = -least + rng.integers(0, 3, size=inputs) / 4
        x, offset = b.relu(b.gemm(x, step, shift, int(rng.integers(3)))), offset + shift
    normal = rng.choice((-1.0, 1.0), size=inputs)
    over = normal @ matrix  # +-1 for every input
    image = np.full(inputs, 0.5)
    gap = 0.125 * inputs  # of the logits at the image; the plane is nearer than the sides of the range
    bias = gap - (over @ image + normal @ offset)
    b.finish(b.gemm(x, np.stack([normal, np.zeros(inputs)]), [bias, 0.0]))
    b.write(path)
    return Known(path, image, {"inf": gap / inputs, "2": gap / np.sqrt(inputs), "1": gap})


def contraction(inputs: int, depth: int, seed: int, path: Path, gap: float = 0.5) -> Known:
    """Rows of l1 norm 1 at most: no logit moves by more than the linf radius, so that half the gap is robust.

    The distance given is a bound from below, attained by no more than chance.
    """
    rng = np.random.default_rng(seed)
    b = Builder((inputs,))
    x, image = b.input, rng.integers(4, 13, size=inputs) / 16
    value = image.copy()
    for _ in range(depth):
        weights = rng.integers(-4, 5, size=(inputs, inputs)) / (4.0 * 2 ** int(np.ceil(np.log2(inputs))))
        bias = rng.integers(-4, 5, size=inputs) / 16
        x, value = b.relu(b.gemm(x, weights, bias)), np.maximum(weights @ value + bias, 0)
    weights = rng.integers(-4, 5, size=(2, inputs)) / (4.0 * 2 ** int(np.ceil(np.log2(inputs))))
    y = weights @ value
    b.finish(b.gemm(x, weights, [gap - y[0], -y[1]]))
    b.write(path)
    return Known(path, image, {"inf": gap / 2})


def needle(inputs: int, seed: int, path: Path) -> Known:
    """h relu(1 - sum |x - p| / w) lifts class 1 above a constant class 0 around p only: gradients are 0 elsewhere.

    Class 1 wins where sum |x - p| < w / 2, so that the image, which differs from p by 1/4 or more in every input, is that
    far from it: sum |image - p| - w / 2 in norm 1.
    """
    rng = np.random.default_rng(seed)
    b = Builder((inputs,))
    image = rng.integers(4, 9, size=inputs) / 16
    tip = image + rng.integers(4, 8, size=inputs) / 16
    width = 2.0 ** -int(rng.integers(1, 4))
    eye = np.eye(inputs)
    sides = b.relu(b.gemm(b.input, np.concatenate([eye, -eye]), np.concatenate([-tip, tip])))
    peak = b.relu(b.gemm(sides, np.full((1, 2 * inputs), -1 / width), [1.0]))
    b.finish(b.gemm(peak, [[0.0], [1.0]], [0.5, 0.0]))
    b.write(path)
    gaps = tip - image
    room = width / 2
    total = float(np.sum(gaps))
    return Known(path, image, {"1": total - room, "inf": _level(np.sort(gaps)[::-1], room)})


def _level(gaps: np.ndarray, room: float) -> float:
    """The least r at which the excesses over r sum up to at most `room`."""
    for k in range(1, len(gaps) + 1):
        level = (float(gaps[:k].sum()) - room) / k
        if k == len(gaps) or level >= gaps[k]:
            return max(level, 0.0)
    raise AssertionError
