"""Adversarial training: images are replaced by adversarial ones before each step.

FGSM from a random start (Wong et al., ICLR 2020) or PGD (Madry et al., ICLR 2018), both from `verifier.attacks`; or a dictionary of
perturbations that is learned on the network anew before every epoch (Frecon et al., CAp 2021), whose codes are sought for each batch,
or drawn from the Laplace law of the learned ones (noise injection).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from advverify.verifier.attacks.adil import Adil, laplace_noise
from advverify.verifier.attacks.classification import LOSSES, ClassificationProblem
from advverify.verifier.attacks.fgsm import Fgsm
from advverify.verifier.attacks.pgd import Pgd
from advverify.verifier.errors import InvalidInput
from advverify.verifier.norms import get_norm

ATTACKS = ("fgsm", "pgd", "dictionary")
NORMS = ("inf", "2")
_LEARN, _STEPS = 300, 40  # images and iterations of learning a dictionary

Attacker = Callable[[Tensor, Tensor, float, torch.Generator], Tensor]


@dataclass(frozen=True)
class Adversary:
    """Options.

    Attributes:
        eps: radius of the attack.
        attack: "fgsm" (one step), "pgd" or "dictionary".
        norm: "inf" or "2".
        steps: of PGD, or of coding with a dictionary.
        step: length of a PGD step, as a share of the radius.
        random_start: begin at a random point of the ball.
        loss: what the attack raises: "cross-entropy", or (the negative of) "margin".
        ramp: share of the training during which the radius grows from 0.
        share: part of each batch that is attacked.
        atoms: of a dictionary.
        noise: draw a dictionary's codes at random instead of seeking them.
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
    atoms: int = 10
    noise: bool = False

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
        if self.atoms < 1 or (self.noise and self.attack != "dictionary"):
            raise InvalidInput("adversary: needs atoms >= 1, and noise = true belongs to attack = 'dictionary'")

    def as_dict(self) -> dict[str, Any]:
        """Plain values; options of dictionaries are left out where there is none, as recipes had none before they came."""
        values = asdict(self)
        if self.attack != "dictionary":
            del values["atoms"], values["noise"]
        return values

    def begin(self, network: nn.Module, images: Tensor, labels: Tensor, generator: torch.Generator) -> Attacker:
        """What attacks the batches of an epoch: images (B, ...), labels, progress and random numbers to images.

        A dictionary is learned on some of the training images, with the network as it is now.
        """
        if self.attack != "dictionary":
            return lambda x, y, progress, g: self(network, x, y, progress, g)
        shape = images.shape[1:]
        index = torch.randperm(len(images), generator=generator, device=generator.device)[:_LEARN]
        learner = Adil(atoms=self.atoms, steps=_STEPS, eps=self.eps, norm=self.norm)
        coder = Adil(atoms=self.atoms, steps=self.steps, eps=self.eps, norm=self.norm)

        def forward(x: Tensor) -> Tensor:
            logits: Tensor = network(x.unflatten(1, shape))
            return logits

        with _still(network):
            learned = learner.learn(forward, images[index].flatten(1), labels[index], generator)

        def attack(x: Tensor, y: Tensor, progress: float, g: torch.Generator) -> Tensor:
            count = round(self.share * len(x))
            if count == 0:
                return x
            flat = x[:count].flatten(1)
            if self.noise:
                codes = laplace_noise((count, self.atoms), learned.scale, g, flat)
                codes = get_norm("1").project(codes, codes.new_full((count,), self.eps))
            else:
                with _still(network):
                    codes = coder.code(forward, flat, y[:count], learned)
            moved = (flat + self._radius(progress) / self.eps * codes @ learned.atoms.T).clamp(0, 1)
            return torch.cat([moved.detach().unflatten(1, shape), x[count:]])

        return attack

    def _radius(self, progress: float) -> float:
        return self.eps * (min(1.0, progress / self.ramp) if self.ramp else 1.0)

    def __call__(
        self, network: nn.Module, images: Tensor, labels: Tensor, progress: float, generator: torch.Generator
    ) -> Tensor:
        """Adversarial images; dropout and batch statistics stand still while they are sought."""
        count = round(self.share * len(images))
        if count == 0:
            return images
        eps = self._radius(progress)
        shape = images.shape[1:]
        problem = ClassificationProblem.balls(
            lambda x: network(x.unflatten(1, shape)),
            images[:count].flatten(1),
            labels[:count],
            get_norm(self.norm),
            eps,
            self.loss,
        )
        with _still(network):
            if self.attack == "fgsm":
                found = Fgsm(self.random_start)(problem, generator)
            else:
                attack = Pgd(
                    self.steps, 1, self.step, self.step, 0.0, stop_at_success=False, random_start=self.random_start
                )
                found = attack(problem, generator)
        return torch.cat([found.detach().unflatten(1, shape), images[count:]])


_STILL = (nn.BatchNorm1d, nn.BatchNorm2d, nn.Dropout)


@contextmanager
def _still(network: nn.Module) -> Iterator[None]:
    """Dropout and batch statistics stand still."""
    still = [m for m in network.modules() if m.training and isinstance(m, _STILL)]
    for module in still:
        module.eval()
    try:
        yield
    finally:
        for module in still:
            module.train()
