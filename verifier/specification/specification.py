"""A specification: cases, each a region with an unsafe set that is a union of polytopes of outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from .region import Region


@dataclass(frozen=True, eq=False)
class Polytope:
    """{y : C y <= d}: `matrix` (rows, outputs), `offset` (rows,); rows in `strict` (rows,) mean < instead of <=.

    `label` names the set in messages (the target class of a robustness query). Where rows speak of inputs too, `inputs`
    (rows, inputs) holds their coefficients G, and the set is {(x, y) : C y + G x <= d}.
    """

    matrix: np.ndarray
    offset: np.ndarray
    strict: np.ndarray
    label: str = ""
    inputs: np.ndarray | None = None

    def contains(self, y: np.ndarray) -> bool:
        """Whether the output y (outputs,) lies inside, strictness included, without tolerance."""
        return bool(self.violation(y) < 0) or (
            bool((self.matrix @ y <= self.offset).all())
            and not bool(((self.matrix @ y == self.offset) & self.strict).any())
        )

    def violation(self, y: np.ndarray) -> float:
        """max over rows of C y - d: at most 0 inside."""
        return float((self.matrix @ y - self.offset).max())


def stack_polytopes(polytopes: Sequence[Polytope]) -> tuple[np.ndarray, np.ndarray]:
    """Rows (polytopes, most rows, outputs) and offsets (polytopes, most rows) of C y - d; short ones repeat a row."""
    most = max(len(polytope.offset) for polytope in polytopes)
    index = [np.minimum(np.arange(most), len(polytope.offset) - 1) for polytope in polytopes]
    matrix = np.stack([polytope.matrix[i] for polytope, i in zip(polytopes, index, strict=True)])
    return matrix, np.stack([-polytope.offset[i] for polytope, i in zip(polytopes, index, strict=True)])


@dataclass(frozen=True, eq=False)
class Case:
    """One input region and the union of output polytopes that must not be reached from it."""

    region: Region
    unsafe: tuple[Polytope, ...]


@dataclass(frozen=True, eq=False)
class Specification:
    """Safe when no x in any case's region is mapped into that case's unsafe set."""

    cases: tuple[Case, ...]

    @property
    def region(self) -> Region:
        """The region of a specification with one case."""
        (case,) = self.cases
        return case.region

    @property
    def unsafe(self) -> tuple[Polytope, ...]:
        """The unsafe set of a specification with one case."""
        (case,) = self.cases
        return case.unsafe

    def with_radius(self, radius: float) -> Self:
        """The same specification (one case with a ball) at another radius."""
        region = self.region
        if region.ball is None:
            raise ValueError("only a region with a norm ball has a radius")
        ball = replace(region.ball, radius=float(radius))
        return replace(self, cases=(Case(replace(region, ball=ball), self.unsafe),))

    def is_counterexample(self, x: np.ndarray, y: np.ndarray) -> bool:
        """Whether x lies in a region and y, its output, in that region's unsafe set."""
        return any(case.region.contains(x) and any(p.contains(y) for p in case.unsafe) for case in self.cases)
