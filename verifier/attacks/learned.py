"""Attacks that are learned on some images and measured on others: universal perturbations, generators, dictionaries.

What such an attack does to the images it was learned on says nothing about unseen ones. So learning and measuring are two
calls, what was learned remembers its images, and `measure` refuses them. Beside every measurement stand controls: the same
attack with random signs, which leave every norm as it is.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from ..errors import InvalidInput
from .base import Attack, project, run, seeded
from .classification import ClassificationProblem
from .transfer import Transfer


class Learned(Protocol):
    """What was learned: an attack on any images."""

    def __call__(self, problem: ClassificationProblem, generator: torch.Generator) -> Tensor:
        """Points (B, n) inside the problem's regions."""

    def flipped(self, signs: Tensor) -> Self:
        """The same with the entries of its perturbations (or of what they are made of) multiplied by signs (n,)."""


class Learner(Protocol):
    """A way to learn an attack."""

    def learn(self, problem: ClassificationProblem, generator: torch.Generator) -> Learned:
        """From images whose balls have one radius."""


@dataclass(frozen=True)
class Fitted:
    """A learned attack with what it was learned for and on.

    Attributes:
        name: of the attack.
        norm: of its perturbations.
        eps: their radius.
        learned: what was learned.
        seen: digests of the images that it was learned on.
        seconds: of the learning.
        about: anything else a reader should know, as plain values: network, data, seed.
    """

    name: str
    norm: str
    eps: float
    learned: Learned
    seen: frozenset[str]
    seconds: float = 0.0
    about: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class HeldOut:
    """Points (B, n) of images that nothing was learned on, successes (B,), those of the controls (draws, B), and seconds."""

    points: Tensor
    success: Tensor
    controls: Tensor
    seconds: float


def digests(images: Tensor) -> list[str]:
    """One for each image (N, n), the same for equal images."""
    return [hashlib.sha256(row.tobytes()).hexdigest()[:16] for row in images.detach().cpu().double().numpy()]


def fit(name: str, learner: Learner, problem: ClassificationProblem, seed: int = 0, **about: Any) -> Fitted:
    """Learn on the images of a problem; `about` goes into the result."""
    began = time.perf_counter()
    inputs = problem.inputs
    assert inputs.norm is not None and inputs.radius is not None
    learned = learner.learn(problem, seeded(problem.images.device, seed))
    seconds = time.perf_counter() - began
    seen = frozenset(digests(problem.images))
    return Fitted(name, inputs.norm.name, float(inputs.radius[0]), learned, seen, seconds, {"seed": seed, **about})


def measure(
    fitted: Fitted,
    problem: ClassificationProblem,
    seed: int = 0,
    controls: int = 10,
    source: Callable[[Tensor], Tensor] | None = None,
) -> HeldOut:
    """Try what was learned, and as many controls, on other images.

    Args:
        fitted: what was learned.
        problem: images with balls of the same norm and radius.
        seed: of the signs, and of what the attack draws.
        controls: draws of random signs.
        source: what the attack sees instead of the network, points to logits.

    Raises:
        InvalidInput: an image that it was learned on.
    """
    refuse_seen(fitted, problem.images)
    began = time.perf_counter()

    def tried(learned: Learned) -> tuple[Tensor, Tensor]:
        attack: Attack = learned if source is None else Transfer(source, learned)
        found = run(attack, problem, seed)
        return found.points, found.success

    points, success = tried(fitted.learned)
    seconds = time.perf_counter() - began
    generator, images = seeded(problem.images.device, seed), problem.images
    draws = [random_signs(images.shape[1], generator, images) for _ in range(controls)]
    fooled = [tried(fitted.learned.flipped(signs))[1] for signs in draws]
    return HeldOut(points, success, torch.stack(fooled) if fooled else success.new_zeros(0, len(success)), seconds)


def refuse_seen(fitted: Fitted, images: Tensor) -> None:
    """Refuse images (N, n) that an attack was learned on.

    Raises:
        InvalidInput: says how many they are.
    """
    count = sum(digest in fitted.seen for digest in digests(images))
    if count:
        raise InvalidInput(
            f"{fitted.name} was learned on {count} of the {len(images)} images that it is to be measured on, which says "
            "nothing about unseen ones: choose images of which none is in both sets"
        )


def random_signs(size: int, generator: torch.Generator, like: Tensor) -> Tensor:
    """Independent signs (size,)."""
    return torch.randint(0, 2, (size,), generator=generator, device=generator.device).to(like) * 2 - 1


def best_of(problem: ClassificationProblem, tries: Iterable[Tensor]) -> Tensor:
    """Of several points for each image, each (B, n), those of the smallest violation, inside their regions."""
    best, lowest = problem.images, torch.full_like(problem.images[:, 0], torch.inf)
    for points in tries:
        inside = project(problem.inputs, points)
        with torch.no_grad():
            value = problem.violation(inside)
        better = value < lowest
        best, lowest = torch.where(better.unsqueeze(1), inside, best), torch.where(better, value, lowest)
    return best
