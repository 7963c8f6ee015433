"""Dictionaries as attacks: learned on some images at a radius (`adil`), unseen ones are coded with the atoms fixed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from .adil import Adil, Dictionary
from .base import project
from .classification import ClassificationProblem
from .generator import ball_of


@dataclass(frozen=True)
class Coder:
    """A dictionary, and how unseen images are coded with it.

    Attributes:
        atoms: (n, M).
        codes: (N, M) of the images it was learned on.
        objective: after each step of the learning.
        residual: of stationarity, at each step.
        norm: in which the perturbations have the radius eps.
        eps: see `norm`.
        targeted: towards the second most probable class.
        steps: of coding.
    """

    atoms: Tensor
    codes: Tensor
    objective: list[float]
    residual: list[float]
    norm: str
    eps: float
    targeted: bool
    steps: int

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary alone."""
        return Dictionary(self.atoms, self.codes, self.objective, self.eps, self.norm, self.residual)

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """Images with the perturbations of their codes."""
        learner = Adil(
            atoms=self.atoms.shape[1], steps=self.steps, targeted=self.targeted, eps=self.eps, norm=self.norm
        )
        codes = learner.code(problem.forward, problem.images, problem.labels, self.dictionary, problem.targets)
        return project(problem.inputs, problem.images + codes @ self.atoms.T)

    def flipped(self, signs: Tensor) -> Self:
        """Atoms of the same norms with random signs; codes are sought afresh."""
        return replace(self, atoms=self.atoms * signs.unsqueeze(1))


@dataclass(frozen=True)
class DictionaryAttack:
    """Options: number of atoms, steps of learning (or passes, with mini-batches) and of coding, size of mini-batches (0 for
    ADiL), their rate, and whether images are moved towards the second most probable class or away from the label.
    """

    atoms: int = 10
    steps: int = 150
    coding: int = 100
    batch: int = 0
    rate: float = 0.05
    targeted: bool = True

    def learn(self, problem: ClassificationProblem, generator: torch.Generator) -> Coder:
        """At the radius of the problem."""
        norm, eps = ball_of(problem)
        learner = Adil(
            atoms=self.atoms,
            steps=self.steps,
            batch=self.batch,
            rate=self.rate,
            targeted=self.targeted,
            eps=eps,
            norm=norm,
        )
        made = learner.learn(problem.forward, problem.images, problem.labels, generator, problem.targets)
        return Coder(made.atoms, made.codes, made.objective, made.residual, norm, eps, self.targeted, self.coding)
