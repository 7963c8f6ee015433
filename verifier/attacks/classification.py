"""Misclassification as a problem for attacks: any class other than the label, or one target class.

Attacks that shrink a perturbation (DeepFool, Carlini-Wagner, ...) get a ball as large as the valid range; those that fill
a ball get its radius.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bounds import InputSet
from ..norms import Norm

LOSSES = ("cross-entropy", "margin", "houdini")


@dataclass(frozen=True)
class ClassificationProblem:
    """A batch of images to be misclassified.

    Attributes:
        forward: points (B, n) to logits (B, classes); differentiable.
        inputs: the region around each image; its center is the image.
        labels: (B,) the classes that must not win.
        loss: what gradients lower: minus the cross-entropy of the label; its margin over the best other class; or Houdini
            (Cisse et al., NeurIPS 2017), the probability that a standard normal variable stays below the margin.
        targets: (B,) the classes that must win, or None for any but the label.
        confidence: by how much more than the others the winning class has to have, in logits (alpha; kappa of Carlini & Wagner).
    """

    forward: Callable[[Tensor], Tensor]
    inputs: InputSet
    labels: Tensor
    loss: str = "margin"
    targets: Tensor | None = None
    confidence: float = 0.0

    @classmethod
    def balls(
        cls,
        forward: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        norm: Norm,
        eps: float,
        loss: str = "margin",
        targets: Tensor | None = None,
    ) -> Self:
        """Balls of one radius around images (B, n), inside [0, 1]."""
        radius = images.new_full((len(images),), eps)
        whole = InputSet(torch.zeros_like(images), torch.ones_like(images), norm, images, radius)
        return cls(forward, whole.with_radius(radius), labels, loss, targets)

    @classmethod
    def unbounded(
        cls,
        forward: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        norm: Norm,
        loss: str = "margin",
        targets: Tensor | None = None,
    ) -> Self:
        """All of [0, 1] around images (B, n)."""
        largest = float(norm.length(torch.ones_like(images[:1]))[0])
        return cls.balls(forward, images, labels, norm, largest, loss, targets)

    def __len__(self) -> int:
        """Batch size."""
        return len(self.inputs)

    @property
    def images(self) -> Tensor:
        """The images (B, n)."""
        assert self.inputs.center is not None
        return self.inputs.center

    def losses(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The loss that descends, and the margin."""
        logits = self.forward(x)
        margin = self.margin(logits)
        if self.loss == "margin":
            return margin, margin
        if self.loss == "houdini":
            return torch.special.ndtr(margin), margin
        if self.targets is not None:
            return F.cross_entropy(logits, self.targets, reduction="none"), margin
        return -F.cross_entropy(logits, self.labels, reduction="none"), margin

    def margin(self, logits: Tensor) -> Tensor:
        """(B,), negative where the attack has succeeded."""
        own = margins(logits, self.labels) if self.targets is None else -margins(logits, self.targets)
        return own + self.confidence

    def violation(self, x: Tensor) -> Tensor:
        """Margins (B,)."""
        return self.margin(self.forward(x))

    def rows_of(self, index: Tensor) -> Self:
        """Some of the batch, repeated or reordered."""
        targets = None if self.targets is None else self.targets[index]
        return replace(self, inputs=self.inputs.rows(index), labels=self.labels[index], targets=targets)

    def with_radius(self, radius: Tensor) -> Self:
        """The same images with smaller balls."""
        return replace(self, inputs=self.inputs.with_radius(radius))

    def confident(self, confidence: float) -> Self:
        """The same images, to be misclassified by so much."""
        return replace(self, confidence=confidence)

    def towards(self, targets: Tensor) -> Self:
        """The same images with target classes."""
        return replace(self, targets=targets)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label minus the largest other one; (B,) from (B, classes)."""
    own = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf).amax(1)
    return own - others


def gradients(problem: ClassificationProblem, x: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, classes) and their gradients (B, classes, n) at points (B, n)."""
    x = x.detach().requires_grad_(True)
    logits = problem.forward(x)
    classes = logits.shape[1]
    rows = [torch.autograd.grad(logits[:, k].sum(), x, retain_graph=k + 1 < classes)[0] for k in range(classes)]
    return logits.detach(), torch.stack(rows, 1)
