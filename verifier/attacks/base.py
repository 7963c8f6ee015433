"""What an attack gets, what it returns, and the re-evaluation that no attack can skip.

A problem is a batch of regions with something to find in each: a point of an unsafe polytope (`AttackProblem`), or any
misclassified point (`classification.ClassificationProblem`). Attacks use nothing but the protocol `Problem`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from ..bounds import InputSet
from ..network.evaluate import evaluate
from ..network.nodes import Network
from ..specification import Polytope, Region, stack_polytopes


class Problem(Protocol):
    """What gradient attacks need to know."""

    @property
    def inputs(self) -> InputSet:
        """The regions, a batch of B."""

    def __len__(self) -> int:
        """Batch size."""

    def violation(self, x: Tensor) -> Tensor:
        """(B,): negative where the points (B, n) are what is looked for."""

    def losses(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What gradient attacks lower, (B,), and the violation."""

    def rows_of(self, index: Tensor) -> Self:
        """Some of the batch, repeated or reordered."""


def project(inputs: InputSet, x: Tensor) -> Tensor:
    """Into ball ∩ box, entry by entry no farther from the center than before."""
    if not inputs.is_box:
        assert inputs.norm is not None and inputs.center is not None and inputs.radius is not None
        x = inputs.center + inputs.norm.project(x - inputs.center, inputs.radius)
    return torch.minimum(torch.maximum(x, inputs.lower), inputs.upper)


@dataclass(frozen=True)
class AttackProblem:
    """A batch of (region, polytope) subproblems: find x in region b whose output satisfies all rows of polytope b.

    Attributes:
        network: the network.
        inputs: regions, a batch of B.
        rows: (B, rows, outputs) and `offset` (B, rows): unsafe where rows y + offset <= 0 in every row.
        offset: see `rows`.
    """

    network: Network
    inputs: InputSet
    rows: Tensor
    offset: Tensor

    @classmethod
    def build(cls, network: Network, subproblems: list[tuple[Region, Polytope]]) -> Self:
        """From regions and polytopes; shorter polytopes repeat their last row."""
        rows, offset = stack_polytopes([polytope for _, polytope in subproblems])
        inputs = InputSet.from_regions([region for region, _ in subproblems], network.dtype, network.device)

        def as_tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(network.device, network.dtype)

        return cls(network, inputs, as_tensor(rows), as_tensor(offset))

    def __len__(self) -> int:
        """Batch size."""
        return len(self.inputs)

    def violation(self, x: Tensor) -> Tensor:
        """Largest row of rows y + offset for points (B, n): negative strictly inside the unsafe set; (B,)."""
        y = evaluate(self.network, x)
        return (torch.matmul(self.rows, y.unsqueeze(-1)).squeeze(-1) + self.offset).amax(-1)

    def losses(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The violation is what descends."""
        violation = self.violation(x)
        return violation, violation

    def rows_of(self, index: Tensor) -> Self:
        """Some of the batch, repeated or reordered."""
        return type(self)(self.network, self.inputs.rows(index), self.rows[index], self.offset[index])

    def with_radius(self, radius: Tensor) -> AttackProblem:
        """The same problems with smaller balls."""
        return AttackProblem(self.network, self.inputs.with_radius(radius), self.rows, self.offset)


def never() -> bool:
    """The default of attacks that may be told to stop."""
    return False


class Attack(Protocol):
    """Proposes one point for every problem of a batch."""

    def __call__(self, problem: Any, generator: torch.Generator) -> Tensor:
        """Points (B, n)."""


@dataclass(frozen=True)
class AttackResult:
    """Points (B, n) inside their regions, their violations (B,), and which are strictly unsafe."""

    points: Tensor
    violation: Tensor

    @property
    def success(self) -> Tensor:
        """(B,) Boolean."""
        return self.violation < 0


def run(attack: Attack, problem: Problem, seed: int = 0) -> AttackResult:
    """Run an attack, bring its points into their regions and evaluate them afresh."""
    points = project(problem.inputs, attack(problem, seeded(problem.inputs.lower.device, seed)).detach())
    with torch.no_grad():
        return AttackResult(points, problem.violation(points))


def seeded(device: torch.device, seed: int) -> torch.Generator:
    """Random numbers on a device."""
    return torch.Generator(device=device).manual_seed(seed)
