"""Piecewise-linear networks in exact rational arithmetic: values at a point, and all their linear pieces over a box."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from .polytope import Point, Polytope, box, dot

Form = tuple[tuple[Fraction, ...], Fraction]  # coefficients over the inputs, constant


@dataclass(frozen=True)
class Affine:
    """W x + b of one or several earlier nodes (their values one after the other)."""

    inputs: tuple[int, ...]
    weights: tuple[tuple[Fraction, ...], ...]
    bias: tuple[Fraction, ...]


@dataclass(frozen=True)
class Relu:
    """max(0, x) of every value."""

    input: int


@dataclass(frozen=True)
class Pool:
    """The largest value of each group of values."""

    input: int
    groups: tuple[tuple[int, ...], ...]


Node = Affine | Relu | Pool


@dataclass
class Network:
    """Node 0 is the input, node k + 1 is `nodes[k]`; the last one is the output.

    Attributes:
        inputs: number of inputs.
        nodes: in order.
        ending: what the file applies to the output, "" or "Softmax", "LogSoftmax", "Sigmoid".
    """

    inputs: int
    nodes: list[Node] = field(default_factory=list)
    ending: str = ""

    @property
    def outputs(self) -> int:
        """Number of outputs."""
        return self.size(len(self.nodes))

    def size(self, node: int) -> int:
        """Number of values of a node."""
        if node == 0:
            return self.inputs
        match self.nodes[node - 1]:
            case Affine(_, _, bias):
                return len(bias)
            case Relu(source):
                return self.size(source)
            case Pool(_, groups):
                return len(groups)

    def run(self, x: Sequence[Fraction]) -> Point:
        """The output, before the ending."""
        values: list[Point] = [tuple(x)]
        for node in self.nodes:
            match node:
                case Affine(sources, weights, bias):
                    together = [value for source in sources for value in values[source]]
                    values.append(tuple(dot(row, together) + b for row, b in zip(weights, bias, strict=True)))
                case Relu(source):
                    values.append(tuple(max(value, Fraction(0)) for value in values[source]))
                case Pool(source, groups):
                    values.append(tuple(max(values[source][k] for k in group) for group in groups))
        return values[-1]


@dataclass(frozen=True)
class Cell:
    """A piece of the input space on which the output is affine: row k is `forms[k]`."""

    polytope: Polytope
    forms: tuple[Form, ...]


class TooMany(Exception):
    """More pieces than were allowed."""


def cells(network: Network, lower: Sequence[Fraction], upper: Sequence[Fraction], most: int = 1000) -> list[Cell]:
    """Pieces that cover a box.

    Raises:
        TooMany: there are more than `most`.
    """
    n = network.inputs
    unit = tuple((tuple(Fraction(int(i == k)) for i in range(n)), Fraction(0)) for k in range(n))
    found: list[Cell] = []
    for cell in _pieces(network, 0, box(lower, upper), [unit]):
        found.append(cell)
        if len(found) > most:
            raise TooMany(f"more than {most} pieces")
    return found


def _pieces(network: Network, at: int, here: Polytope, values: list[tuple[Form, ...]]) -> Iterator[Cell]:
    if at == len(network.nodes):
        yield Cell(here, values[-1])
        return
    match network.nodes[at]:
        case Affine(sources, weights, bias):
            together = [form for source in sources for form in values[source]]
            out = tuple(_combine(row, together, b, network.inputs) for row, b in zip(weights, bias, strict=True))
            yield from _pieces(network, at + 1, here, [*values, out])
        case Relu(source):
            for part, forms in _rectified(here, values[source], 0, ()):
                yield from _pieces(network, at + 1, part, [*values, forms])
        case Pool(source, groups):
            for part, forms in _largest(here, values[source], groups, ()):
                yield from _pieces(network, at + 1, part, [*values, forms])


def _combine(row: Sequence[Fraction], forms: Sequence[Form], bias: Fraction, n: int) -> Form:
    coefficients, constant = [Fraction(0)] * n, bias
    for weight, (inner, offset) in zip(row, forms, strict=True):
        if weight:
            constant += weight * offset
            for i, value in enumerate(inner):
                if value:
                    coefficients[i] += weight * value
    return tuple(coefficients), constant


def _rectified(
    here: Polytope, forms: Sequence[Form], at: int, done: tuple[Form, ...]
) -> Iterator[tuple[Polytope, tuple[Form, ...]]]:
    """Every pattern of a layer of ReLUs, with the part of the polytope where it holds."""
    if at == len(forms):
        yield here, done
        return
    coefficients, constant = forms[at]
    zero = (tuple(Fraction(0) for _ in coefficients), Fraction(0))
    values = here.values(coefficients, -constant)
    if all(value >= 0 for value in values):
        yield from _rectified(here, forms, at + 1, (*done, forms[at]))
    elif all(value <= 0 for value in values):
        yield from _rectified(here, forms, at + 1, (*done, zero))
    else:
        for sign, form in ((1, zero), (-1, forms[at])):
            part = here.part([sign * value for value in values])
            if part is not None:
                yield from _rectified(part, forms, at + 1, (*done, form))


def _largest(
    here: Polytope, forms: Sequence[Form], groups: Sequence[Sequence[int]], done: tuple[Form, ...]
) -> Iterator[tuple[Polytope, tuple[Form, ...]]]:
    """Every choice of the largest in each group, with the part of the polytope where it holds."""
    if not groups:
        yield here, done
        return
    for best in groups[0]:
        part: Polytope | None = here
        for other in groups[0]:
            if other != best and part is not None:
                difference = tuple(p - q for p, q in zip(forms[other][0], forms[best][0], strict=True))
                part = part.cut(difference, forms[best][1] - forms[other][1])
        if part is not None:
            yield from _largest(part, forms, groups[1:], (*done, forms[best]))
