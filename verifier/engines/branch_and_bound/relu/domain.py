"""Domains of the ReLU tree: each by itself, as the queue holds them, and batched, as they are bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ....bounds.alpha_crown import AlphaCrown
from ....bounds.halfspace import HalfSpaces


@dataclass
class Domain:
    """A domain is the part of a region where some ReLUs have given phases; it remembers the last bound that was taken there.

    Arrays, not tensors: there are thousands of domains, and an array is copied in a tenth of the time. N counts the ReLUs of
    all nodes, in node order.

    Attributes:
        phases: (N,): +1 active, -1 inactive, 0 not split.
        implied: (N,): `phases`, and those that the domain's bounds imply where it still matters; children inherit them.
        value: proved on the domain, in the units of the query.
        bound: lower bound on the violation.
        alpha: (rows, N) lower slopes of the last bound; None before the first.
        beta: (rows, N) multipliers of its splits; None before the first.
        branches: ReLUs to split next, best first.
        row: the row of the polytope that attains `bound`.
        halfspace: coefficients and offset of the part that still matters (`DomainBounds._halfspaces`); None where that is too
            much of the domain to be worth its cost.
    """

    phases: NDArray[np.int8]
    implied: NDArray[np.int8]
    value: float
    bound: float
    alpha: NDArray[np.float32] | None = None
    beta: NDArray[np.float32] | None = None
    branches: Sequence[int] = ()
    row: int = 0
    halfspace: tuple[NDArray[np.float64], float] | None = None

    def child(self, relu: int, sign: int) -> Domain:
        """Where one ReLU is active (+1) or inactive (-1), with what is proved on the whole."""
        phases, implied = self.phases.copy(), self.implied.copy()
        phases[relu] = implied[relu] = sign
        return Domain(phases, implied, self.value, self.bound, self.alpha, self.beta, (), self.row, self.halfspace)


@dataclass(frozen=True)
class Batch:
    """A batch stacks domains for bounding: either all have multipliers or none has, and the same goes for half-spaces.

    Attributes:
        subproblems: (count,) numbers of their subproblems.
        phases: (count, N), as in `Domain`.
        implied: (count, N).
        alpha: (count, rows, N) or None.
        beta: the same.
        halfspace: one for each domain, or None.
        siblings: domains 2k and 2k + 1 are the children of one.
    """

    subproblems: Tensor
    phases: Tensor
    implied: Tensor
    alpha: Tensor | None
    beta: Tensor | None
    halfspace: HalfSpaces | None
    siblings: bool

    @classmethod
    def of(cls, subproblems: Sequence[int], domains: Sequence[Domain], siblings: bool) -> Batch:
        """Copies of domains that are alike."""
        alphas = [domain.alpha for domain in domains if domain.alpha is not None]
        betas = [domain.beta for domain in domains if domain.beta is not None]
        halfspaces = [domain.halfspace for domain in domains if domain.halfspace is not None]
        offset = torch.tensor([offset for _, offset in halfspaces], dtype=torch.float64)
        return cls(
            torch.tensor(subproblems),
            _stacked([domain.phases for domain in domains]),
            _stacked([domain.implied for domain in domains]),
            _stacked(alphas) if alphas else None,
            _stacked(betas) if betas else None,
            HalfSpaces(_stacked([coefficients for coefficients, _ in halfspaces]), offset) if halfspaces else None,
            siblings,
        )

    def __len__(self) -> int:
        """Number of domains."""
        return len(self.subproblems)

    def rows(self, index: slice) -> Batch:
        """Some of them; of siblings, both or none."""
        return Batch(
            self.subproblems[index],
            self.phases[index],
            self.implied[index],
            None if self.alpha is None else self.alpha[index],
            None if self.beta is None else self.beta[index],
            None
            if self.halfspace is None
            else HalfSpaces(self.halfspace.coefficients[index], self.halfspace.offset[index]),
            self.siblings,
        )


@dataclass(frozen=True)
class Candidate:
    """An input (n,) that may be unsafe, the number of the subproblem that it was found on, and the violation seen there."""

    point: Tensor
    subproblem: int
    violation: float


@dataclass(frozen=True)
class BatchBounds:
    """What bounding a batch gave, row by row as in `Domain`, and the most unsafe input met on the way.

    `branches` (count, most) end with ReLUs that are not open after `open` (count,); `use_halfspace` (count,) says
    which half-spaces are worth their cost.
    """

    implied: Tensor
    value: Tensor
    bound: Tensor
    alpha: Tensor
    beta: Tensor
    branches: Tensor
    open: Tensor
    row: Tensor
    halfspace: HalfSpaces | None
    use_halfspace: Tensor
    candidate: Candidate

    def domains(self, before: Sequence[Domain]) -> list[Domain]:
        """The domains that were bounded, anew."""
        values, bounds, rows = self.value.tolist(), self.bound.tolist(), self.row.tolist()
        branches, numbers = self.branches.tolist(), self.open.tolist()
        implied, alpha, beta = self.implied.numpy(), self.alpha.numpy(), self.beta.numpy()
        halfspaces: list[tuple[NDArray[np.float64], float] | None] = [None] * len(before)
        if self.halfspace is not None:
            coefficients, offsets = self.halfspace.coefficients.numpy(), self.halfspace.offset.tolist()
            for k in torch.nonzero(self.use_halfspace).squeeze(-1).tolist():
                halfspaces[k] = (coefficients[k].copy(), offsets[k])
        return [
            Domain(
                domain.phases,
                implied[k].copy(),  # a view would keep the whole batch
                max(values[k], domain.value),
                bounds[k],
                alpha[k].copy(),
                beta[k].copy(),
                branches[k][: numbers[k]],
                rows[k],
                halfspaces[k],
            )
            for k, domain in enumerate(before)
        ]


@dataclass(frozen=True)
class BoundRequest:
    """What is to be bounded and how, and what a copy of this process cannot know of the bracket.

    `coarse` keeps the intermediate bounds of the root: cheaper, and good enough to compare splits.
    """

    batches: list[Batch]
    options: AlphaCrown
    upper: float
    search_radius: float
    coarse: bool = False


def _stacked(rows: Sequence[NDArray[Any]]) -> Tensor:
    return torch.from_numpy(np.stack(rows))
