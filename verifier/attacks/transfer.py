"""Adversarial examples of another network, tried on this one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .base import Attack
from .classification import ClassificationProblem
from .pgd import Pgd


@dataclass(frozen=True)
class Transfer:
    """Options: the other network, points (B, n) to logits, and the attack on it."""

    source: Callable[[Tensor], Tensor]
    attack: Attack = Pgd(stop_at_success=False)

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """The other network's points."""
        return self.attack(replace(problem, forward=self.source), generator)
