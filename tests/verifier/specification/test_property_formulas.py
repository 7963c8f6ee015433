"""Random VNN-LIB formulas against a tiny evaluator in rational arithmetic, and contradictions against elimination."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from advverify.verifier.specification.vnnlib import Facts
from advverify.verifier.specification.vnnlib.compile import compile_vnnlib
from advverify.verifier.specification.vnnlib.contradiction import Contradictions
from advverify.verifier.specification.vnnlib.formula import Inequality, Linear

NAMES = ("X_0", "X_1", "Y_0", "Y_1")
Values = dict[str, Fraction]
Truth = Callable[[Values], bool]
Number = Callable[[Values], Fraction]
RELATIONS: dict[str, Callable[[Fraction, Fraction], bool]] = {
    "<=": lambda a, b: a <= b, "<": lambda a, b: a < b, ">=": lambda a, b: a >= b, ">": lambda a, b: a > b,
    "=": lambda a, b: a == b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip


def number(rng: random.Random) -> str:
    """Quarters, so that ties are frequent, and decimals that no float holds."""
    return rng.choice(["0", "0.25", "0.5", "-0.5", "1", "0.75", "-0.25", "1e0", "0.3", "-.1", "+0.7"])


def term(rng: random.Random, depth: int) -> tuple[str, Number]:
    """A linear term."""
    kind = rng.randrange(7 if depth else 4)
    if kind <= 1:
        name = rng.choice(NAMES)
        return name, lambda v: v[name]
    if kind <= 3:
        text = number(rng)
        return text, lambda v: Fraction(text)
    if kind == 4:
        factor, (inner, value) = number(rng), term(rng, depth - 1)
        return f"(* {factor} {inner})", lambda v: Fraction(factor) * value(v)
    (a, left), (b, right) = term(rng, depth - 1), term(rng, depth - 1)
    if kind == 5:
        return f"(+ {a} {b})", lambda v: left(v) + right(v)
    return f"(- {a} {b})", lambda v: left(v) - right(v)


def formula(rng: random.Random, depth: int) -> tuple[str, Truth]:
    """A formula and its meaning."""
    if depth == 0 or rng.random() < 0.3:
        if rng.random() < 0.05:
            word = rng.choice(["true", "false"])
            return word, lambda v: word == "true"
        relation = rng.choice(list(RELATIONS))
        parts = [term(rng, 1) for _ in range(3 if rng.random() < 0.15 and relation != "!=" else 2)]
        holds, values = RELATIONS[relation], [value for _, value in parts]
        text = f"({relation} {' '.join(text for text, _ in parts)})"
        return text, lambda v: all(holds(a(v), b(v)) for a, b in zip(values, values[1:], strict=False))
    head = rng.choice(["and", "or", "not", "=>"])
    parts_ = [formula(rng, depth - 1) for _ in range({"not": 1, "=>": 2}.get(head, rng.choice((2, 2, 3))))]
    truths = [truth for _, truth in parts_]
    text = f"({head} {' '.join(text for text, _ in parts_)})"
    if head == "not":
        return text, lambda v: not truths[0](v)
    if head == "=>":
        return text, lambda v: not truths[0](v) or truths[1](v)
    combine = all if head == "and" else any
    return text, lambda v: combine(truth(v) for truth in truths)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_formulas_hold_where_their_specification_does(seed: int, dtype: str) -> None:
    rng, hits, misses, empty = random.Random(f"{seed} {dtype}"), 0, 0, 0
    declared = "".join(f"(declare-const {name} Real)" for name in NAMES)
    box = "(assert (and (<= -0.5 X_0 1) (> 1 X_1) (<= 0 X_1)))"
    for _ in range(100):
        text, truth = formula(rng, 3)
        specification = compile_vnnlib(f"{declared}{box}(assert {text})", Facts(2, 2, "", dtype)).specification
        empty += not specification.disjuncts
        for _ in range(40):
            point = np.array([rng.randrange(-3, 6) / 4 for _ in NAMES])
            if rng.random() < 0.3:  # a neighbour of a tie
                k = rng.randrange(4)
                with np.errstate(under="ignore"):
                    point[k] = np.nextafter(np.float32(point[k]), np.float32(rng.choice((-9, 9))))
            values = dict(zip(NAMES, map(Fraction, point.tolist()), strict=True))
            inside = -0.5 <= values["X_0"] <= 1 and 0 <= values["X_1"] < 1 and truth(values)
            assert specification.is_counterexample(point[:2], point[2:]) == inside, (text, point)
            hits, misses = hits + inside, misses + (not inside)
    assert hits > 400 and misses > 1000 and empty >= 3


def feasible(rows: list[tuple[list[Fraction], Fraction, bool]]) -> bool:
    """Whether sum a v + c <= 0 (or < 0) has a solution: Fourier-Motzkin elimination."""
    while rows and rows[0][0]:
        low = [r for r in rows if r[0][0] < 0]
        high = [r for r in rows if r[0][0] > 0]
        rest = [(a[1:], c, s) for a, c, s in rows if a[0] == 0]
        for a, c, s in low:
            for b, d, t in high:
                u, w = b[0], -a[0]
                rest.append(([u * p + w * q for p, q in zip(a[1:], b[1:], strict=True)], u * c + w * d, s or t))
        rows = rest
    return all(c < 0 or (c == 0 and not s) for _, c, s in rows)


def test_contradictions_are_those_of_elimination() -> None:
    rng, found, missed, none = random.Random(5), 0, 0, 0
    for _ in range(400):
        size = rng.choice((2, 3, 3))
        rows, table = [], []
        for _ in range(rng.randrange(2, 7)):
            a = [Fraction(rng.randrange(-2, 3)) / rng.choice((1, 1, 3)) for _ in range(size)]
            c, strict = Fraction(rng.randrange(-2, 3)), rng.random() < 0.5
            rows.append(Inequality(Linear({("Y", k): v for k, v in enumerate(a) if v}, c), strict, 0))
            table.append((a, c, strict))
        possible, dropped = feasible(table), bool(Contradictions().among(rows))
        assert not (possible and dropped), table
        found, missed, none = found + dropped, missed + (not possible and not dropped), none + possible
    assert found >= 60 and none >= 60 and missed <= found // 20
