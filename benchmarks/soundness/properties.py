"""Nasty VNN-LIB properties: strict, contradictory, disjunctive, coupled, with fixed, thin and inverted coordinates."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from decimal import Decimal, localcontext
from fractions import Fraction

from .exact import Cell, Network, cells
from .optimum import Disjunct, Row
from .questions import How, draw_how

KINDS = {
    "order": 3,
    "threshold": 4,
    "touch": 1,
    "strict": 2,
    "contradiction": 1,
    "inverted": 0.5,
    "fixed": 1.5,
    "disjunction": 2,
    "boxes": 1.5,
    "coupled": 1,
    "equality": 0.5,
    "impossible": 0.5,
    "point": 0.5,
}
EDGES = ("touch", "equality", "point")


@dataclass(frozen=True)
class Side:
    """A bound of an input, as it is written: X_k <= text, or >=, or strictly."""

    input: int
    upper: bool
    text: str
    strict: bool = False

    def row(self, network: Network) -> Row:
        """As an inequality."""
        sign = 1 if self.upper else -1
        unit = tuple(Fraction(sign * (k == self.input)) for k in range(network.inputs))
        return Row((Fraction(0),) * network.outputs, unit, sign * Fraction(self.text), self.strict)


@dataclass
class Region:
    """Sides of a box (every input has both), and the disjuncts that are unsafe there."""

    sides: list[Side]
    disjuncts: list[Disjunct]
    cells: list[Cell] = field(default_factory=list)

    def limits(self, k: int) -> tuple[Side, Side]:
        """Lower and upper side of an input."""
        (low,) = (side for side in self.sides if side.input == k and not side.upper)
        (high,) = (side for side in self.sides if side.input == k and side.upper)
        return low, high

    def complete(self, network: Network) -> list[Disjunct]:
        """The disjuncts with the sides that are strict."""
        strict = tuple(side.row(network) for side in self.sides if side.strict)
        return [(*disjunct, *strict) for disjunct in self.disjuncts]


@dataclass
class Property:
    """A property: no input of a region may be unsafe there."""

    kind: str
    how: How
    regions: list[Region]
    text: str = ""
    command: str = "verify"


def draw(rng: random.Random, network: Network) -> Property:
    """A property of a network.

    Raises:
        TooMany: the network has too many pieces.
    """
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    if network.outputs == 1 and kind in ("order", "contradiction"):
        kind = "threshold"
    count = rng.randint(2, 3) if kind == "boxes" else 1
    regions = []
    for _ in range(count):
        sides = _sides(rng, network.inputs, kind)
        region = Region(sides, [])
        low, high = ([Fraction(region.limits(k)[up].text) for k in range(network.inputs)] for up in (0, 1))
        if all(p <= q for p, q in zip(low, high, strict=True)):
            region.cells = cells(network, low, high, 400)
        region.disjuncts = _disjuncts(rng, network, kind, region)
        regions.append(region)
    found = Property(f"verify {kind}", draw_how(rng), regions)
    second = rng.random() < 0.2
    found.text = (_second if second else _first)(found, network)
    if second and found.how.engines:
        found.how = replace(found.how, engines=())
    return found


def _sides(rng: random.Random, n: int, kind: str) -> list[Side]:
    sides = []
    chosen = rng.randrange(n)
    for k in range(n):
        middle, half = rng.uniform(0, 1), rng.choice((0.05, 0.2, 0.5, 1.0))
        low, high = round(middle - half, 2), round(middle + half, 2)
        if rng.random() < 0.5:
            low, high = round(low * 8) / 8, round(low * 8) / 8 + 0.25
        strict = [kind == "strict" and rng.random() < 0.6 for _ in range(2)]
        if kind == "point" or (kind == "fixed" and (k == chosen or rng.random() < 0.4)):
            low = high = rng.choice((low, 0.1, 0.5, round(middle, 3)))
            if rng.random() < 0.15:
                strict[rng.randrange(2)] = True
        if kind == "fixed" and rng.random() < 0.15:
            high = low + 1e-9
        if kind == "inverted" and k == chosen:
            low, high = high, low
        sides += [Side(k, False, number(low), strict[0]), Side(k, True, number(high), strict[1])]
    return sides


def number(value: float | Fraction | Decimal) -> str:
    """The shortest decimal that reads back as a float; a rational number as it is where that is a decimal."""
    if isinstance(value, Fraction):
        with localcontext(prec=2000):
            value = Decimal(value.numerator) / Decimal(value.denominator)
    text = format(Decimal(repr(value)) if isinstance(value, float) else value, "f")
    return text if "." in text else text + ".0"


def _row(
    network: Network, outputs: dict[int, int], bound: str, strict: bool, inputs: dict[int, int] | None = None
) -> Row:
    y = tuple(Fraction(outputs.get(k, 0)) for k in range(network.outputs))
    x = tuple(Fraction((inputs or {}).get(k, 0)) for k in range(network.inputs))
    return Row(y, x, Fraction(bound), strict)


def _threshold(rng: random.Random, network: Network, region: Region, strict: bool) -> Row:
    """Y_k >= t or Y_k <= t, with t about the extreme value that Y_k takes."""
    k, sign = rng.randrange(network.outputs), rng.choice((1, -1))
    if network.ending == "Softmax" or network.ending == "Sigmoid":
        return _row(network, {k: sign}, number(sign * round(rng.uniform(0.02, 0.98), 2)), strict)
    values = [sign * (sum(a * b for a, b in zip(c.forms[k][0], v, strict=True)) + c.forms[k][1])
              for c in region.cells for v in c.polytope.vertices]  # fmt: skip
    if not values:
        return _row(network, {k: sign}, "0.0", strict)
    least, most = min(values), max(values)
    if network.ending == "LogSoftmax":
        least, most = Fraction(-3), Fraction(0)
    room = max(most - least, abs(least) / 100, Fraction(1, 1000))
    level = float(least + room * Fraction(rng.choice((-0.5, -0.05, -0.01, 0.01, 0.05, 0.3))))
    return _row(network, {k: sign}, number(level), strict)


def _disjuncts(rng: random.Random, network: Network, kind: str, region: Region) -> list[Disjunct]:
    m, n = network.outputs, network.inputs
    strict = kind == "strict" and rng.random() < 0.7
    if kind in ("order", "boxes") and m > 1:
        label = rng.randrange(m)
        return [
            (_row(network, {label: 1, k: -1}, "0.0", strict or rng.random() < 0.2),) for k in range(m) if k != label
        ]
    if kind == "contradiction":
        i, j = rng.sample(range(m), 2)
        if rng.random() < 0.3:
            level = round(rng.uniform(-1, 1), 2)
            return [(_row(network, {i: 1}, number(level), False), _row(network, {i: -1}, number(-level - 0.5), False))]
        return [(_row(network, {i: 1, j: -1}, "0.0", True), _row(network, {i: -1, j: 1}, "0.0", True))]
    if kind == "impossible":
        if network.ending == "Softmax" or network.ending == "Sigmoid":
            return [(rng.choice((_row(network, {0: -1}, "-1.5", False), _row(network, {0: 1}, "-0.25", False))),)]
        return [(_row(network, {0: 1}, "-1000000000.0", False),)]
    if kind == "touch" and region.cells and not network.ending:
        k = rng.randrange(m)
        least = min(
            sum((a * b for a, b in zip(c.forms[k][0], v, strict=True)), c.forms[k][1])
            for c in region.cells
            for v in c.polytope.vertices
        )
        text = number(float(least) if rng.random() < 0.5 else least)
        return [(_row(network, {k: 1}, text, rng.random() < 0.5),)]
    if kind == "equality":
        row = _threshold(rng, network, region, False)
        opposite = Row(tuple(-v for v in row.outputs), row.inputs, -row.bound, False)
        return [(row, opposite)]
    if kind == "coupled":
        row = _threshold(rng, network, region, False)
        if n > 1 and rng.random() < 0.6:
            i, j = rng.sample(range(n), 2)
            low, high = region.limits(i)[0].text, region.limits(j)[1].text
            bound = number(round(float(Fraction(low) + Fraction(high)), 2))
            return [(row, _row(network, {}, bound, False, {i: 1, j: 1}))]
        return [(_row(network, {0: 1}, "0.25", False, {0: -1}),)]
    if kind == "disjunction":
        return [
            tuple(_threshold(rng, network, region, strict) for _ in range(rng.randint(1, 2)))
            for _ in range(rng.randint(2, 4))
        ]
    return [(_threshold(rng, network, region, strict),)]


def _side(row: Row, names: tuple[str, str]) -> str:
    """An inequality as VNN-LIB text: what is known by its coefficients is put into the usual forms."""
    terms = [(v, names[1].format(k)) for k, v in enumerate(row.outputs) if v]
    terms += [(v, names[0].format(k)) for k, v in enumerate(row.inputs) if v]
    low, high = ("<", ">") if row.strict else ("<=", ">=")
    if len(terms) == 1:
        value, name = terms[0]
        return f"({low} {name} {number(row.bound)})" if value > 0 else f"({high} {name} {number(-row.bound)})"
    plus = [name for value, name in terms if value > 0]
    minus = [name for value, name in terms if value < 0]
    if len(plus) == 1 and len(minus) == 1 and row.bound == 0:
        return f"({low} {plus[0]} {minus[0]})"
    left = plus[0] if len(plus) == 1 else f"(+ {' '.join(plus)})"
    if minus:
        left = f"(- {left} {' '.join(minus)})"
    return f"({low} {left} {number(row.bound)})"


def _formula(region: Region, names: tuple[str, str], bounds: bool) -> str:
    sides = []
    for side in region.sides:
        sign = ("<" if side.upper else ">") + ("" if side.strict else "=")
        sides.append(f"({sign} {names[0].format(side.input)} {side.text})")
    ands = []
    for disjunct in region.disjuncts:
        rows = [_side(row, names) for row in disjunct]
        ands.append(f"(and {' '.join([*(sides if bounds else []), *rows])})")
    return f"(or {' '.join(ands)})"


def _asserts(found: Property, names: tuple[str, str]) -> list[str]:
    if len(found.regions) > 1:
        parts = [_formula(region, names, True)[4:-1] for region in found.regions]
        return [f"(assert (or {' '.join(parts)}))"]
    (region,) = found.regions
    lines = []
    for side in region.sides:
        sign = ("<" if side.upper else ">") + ("" if side.strict else "=")
        lines.append(f"(assert ({sign} {names[0].format(side.input)} {side.text}))")
    if len(region.disjuncts) == 1:
        return [*lines, *(f"(assert {_side(row, names)})" for row in region.disjuncts[0])]
    return [*lines, f"(assert {_formula(region, names, False)})"]


def _first(found: Property, network: Network) -> str:
    """VNN-LIB 1.0."""
    names = [f"X_{k}" for k in range(network.inputs)] + [f"Y_{k}" for k in range(network.outputs)]
    lines = [f"(declare-const {name} Real)" for name in names]
    return "\n".join([*lines, *_asserts(found, ("X_{}", "Y_{}"))]) + "\n"


def _second(found: Property, network: Network) -> str:
    """VNN-LIB 2.0."""
    lines = [
        "(vnnlib-version <2.0>)",
        "(declare-network N",
        f"  (declare-input X float32 [{network.inputs}])",
        f"  (declare-output Y float32 [{network.outputs}])",
        ")",
    ]
    return "\n".join([*lines, *_asserts(found, ("X[{}]", "Y[{}]"))]) + "\n"
