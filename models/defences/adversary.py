"""Adversarial training: images are replaced by adversarial ones before each step.

FGSM from a random start (Wong et al., ICLR 2020) or PGD (Madry et al., ICLR 2018), both from `verifier.attacks`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advverify.verifier.attacks.classification import LOSSES, ClassificationProblem
from advverify.verifier.attacks.fgsm import Fgsm
from advverify.verifier.attacks.pgd import Pgd
from advverify.verifier.errors import InvalidInput
from advverify.verifier.norms import get_norm

ATTACKS = ("fgsm", "pgd")
NORMS = ("inf", "2")


@dataclass(frozen=True)
class Adversary:
    """Options.

    Attributes:
        eps: radius of the attack.
        attack: "fgsm" (one step) or "pgd".
        norm: "inf" or "2".
        steps: of PGD.
        step: length of a PGD step, as a share of the radius.
        random_start: begin at a random point of the ball.
        loss: what the attack raises: "cross-entropy", or (the negative of) "margin".
        ramp: share of the training during which the radius grows from 0.
        share: part of each batch that is attacked.
    """

    eps: float
    attack: str = "pgd"
    norm: str = "inf"
    steps: int = 7
    step: float = 0.25
    random_start: bool = True
    loss: str = "cross-entropy"
    ramp: float = 0.0
    share: float = 1.0

    def __post_init__(self) -> None:
        """Check the options."""
        for name, value, choices in (
            ("attack", self.attack, ATTACKS),
            ("norm", self.norm, NORMS),
            ("loss", self.loss, LOSSES),
        ):
            if value not in choices:
                raise InvalidInput(f"adversary: {name} is one of {', '.join(choices)}, got '{value}'")
        if self.eps <= 0 or self.steps < 1 or self.step <= 0 or not 0 <= self.ramp <= 1 or not 0 < self.share <= 1:
            raise InvalidInput("adversary: needs eps > 0, steps >= 1, step > 0, 0 <= ramp <= 1 and 0 < share <= 1")

    def __call__(
        self, network: nn.Module, images: Tensor, labels: Tensor, progress: float, generator: torch.Generator
    ) -> Tensor:
        """Adversarial images; dropout and batch statistics stand still while they are sought."""
        count = round(self.share * len(images))
        if count == 0:
            return images
        still = [m for m in network.modules() if m.training and isinstance(m, _STILL)]
        for module in still:
            module.eval()
        eps = self.eps * (min(1.0, progress / self.ramp) if self.ramp else 1.0)
        shape = images.shape[1:]
        problem = ClassificationProblem.balls(
            lambda x: network(x.unflatten(1, shape)),
            images[:count].flatten(1),
            labels[:count],
            get_norm(self.norm),
            eps,
            self.loss,
        )
        if self.attack == "fgsm":
            found = Fgsm(self.random_start)(problem, generator)
        else:
            attack = Pgd(
                self.steps, 1, self.step, self.step, 0.0, stop_at_success=False, random_start=self.random_start
            )
            found = attack(problem, generator)
        for module in still:
            module.train()
        return torch.cat([found.detach().unflatten(1, shape), images[count:]])


_STILL = (nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout)
