"""A specification: disjuncts, each a region with an unsafe set that is a union of polytopes of outputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Self

import numpy as np

from .exact import dot
from .region import Region

_UNIT = 2.0**-52
_TINY = 1e-300  # what products lose to underflow


@dataclass(frozen=True, eq=False)
class Polytope:
    """{y : C y <= d}: `matrix` (rows, outputs), `offset` (rows,); rows in `strict` (rows,) mean < instead of <=.

    `label` names the set in messages (the target class of a robustness query). Where rows speak of inputs too, `inputs`
    (rows, inputs) holds their coefficients G, and the set is {(x, y) : C y + G x <= d}. `written` holds the rows over what the
    file puts out, where they are other ones than those over the logits; a counterexample satisfies both. Where a limit is no
    float64, `offset` is rounded up and the row is strict, and `decimals` holds, by row, the limit and whether it is strict.
    """

    matrix: np.ndarray
    offset: np.ndarray
    strict: np.ndarray
    label: str = ""
    inputs: np.ndarray | None = None
    written: Polytope | None = None
    decimals: Mapping[int, tuple[Fraction, bool]] = field(default_factory=dict)

    def with_offset(self, offset: np.ndarray) -> Polytope:
        """The same rows with other limits, which mean themselves; what was written as decimals is not theirs."""
        return replace(self, offset=offset, decimals={})

    def limit(self, row: int) -> tuple[Fraction, bool]:
        """The exact limit of a row, and whether it is strict."""
        return self.decimals.get(row) or (Fraction(float(self.offset[row])), bool(self.strict[row]))

    def contains(self, y: np.ndarray, x: np.ndarray | None = None) -> bool:
        """Whether the output y (outputs,), of input x where rows speak of inputs, lies inside.

        Strictness included, without tolerance: what float64 cannot tell is compared in rational arithmetic. Outputs that
        are no finite numbers lie nowhere.
        """
        if self.inputs is None:
            return self._satisfied(self.matrix, y)
        if x is None:
            raise ValueError("rows that speak of inputs need the input")
        return self._satisfied(np.hstack([self.matrix, self.inputs]), np.concatenate([y, x]))

    def violation(self, y: np.ndarray) -> float:
        """max over rows of C y - d: at most 0 inside."""
        return float((self.matrix @ y - self.offset).max())

    def _satisfied(self, matrix: np.ndarray, values: np.ndarray) -> bool:
        """Whether matrix @ values is within the limit of every row, exactly."""
        values = np.asarray(values, dtype=np.float64)
        if not np.isfinite(values).all():
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            left = matrix @ values - self.offset
            rounding = (matrix.shape[1] + 2) * _UNIT * (np.abs(matrix) @ np.abs(values) + np.abs(self.offset)) + _TINY
        for r, (value, error) in enumerate(zip(left.tolist(), rounding.tolist(), strict=True)):
            if value > error:
                return False
            if value < -error:
                continue
            limit, strict = self.limit(r)
            exact = dot(matrix[r], values) - limit  # also where float64 overflows
            if exact > 0 or (strict and exact == 0):
                return False
        return True


def stack_polytopes(polytopes: Sequence[Polytope]) -> tuple[np.ndarray, np.ndarray]:
    """Rows (polytopes, most rows, outputs) and offsets (polytopes, most rows) of C y - d; short ones repeat a row."""
    most = max(len(polytope.offset) for polytope in polytopes)
    index = [np.minimum(np.arange(most), len(polytope.offset) - 1) for polytope in polytopes]
    matrix = np.stack([polytope.matrix[i] for polytope, i in zip(polytopes, index, strict=True)])
    return matrix, np.stack([-polytope.offset[i] for polytope, i in zip(polytopes, index, strict=True)])


@dataclass(frozen=True, eq=False)
class Disjunct:
    """One input region and the union of output polytopes that must not be reached from it."""

    region: Region
    unsafe: tuple[Polytope, ...]


@dataclass(frozen=True, eq=False)
class Specification:
    """Safe when no x in any disjunct's region is mapped into that disjunct's unsafe set."""

    disjuncts: tuple[Disjunct, ...]

    @property
    def region(self) -> Region:
        """The region of a specification with one disjunct."""
        (disjunct,) = self.disjuncts
        return disjunct.region

    @property
    def unsafe(self) -> tuple[Polytope, ...]:
        """The unsafe set of a specification with one disjunct."""
        (disjunct,) = self.disjuncts
        return disjunct.unsafe

    def with_radius(self, radius: float) -> Self:
        """The same specification (one disjunct with a ball) at another radius."""
        region = self.region
        if region.ball is None:
            raise ValueError("only a region with a norm ball has a radius")
        ball = replace(region.ball, radius=float(radius))
        return replace(self, disjuncts=(Disjunct(replace(region, ball=ball), self.unsafe),))

    def is_counterexample(self, x: np.ndarray, y: np.ndarray) -> bool:
        """Whether x lies in a region and y, its output, in that region's unsafe set."""
        return any(
            disjunct.region.contains(x) and any(p.contains(y, x) for p in disjunct.unsafe)
            for disjunct in self.disjuncts
        )
