"""Misclassification as a problem for attacks: any class other than the label, by cross-entropy or by the margin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from ..bounds import InputSet
from ..norms import Norm

LOSSES = ("cross-entropy", "margin")


@dataclass(frozen=True)
class ClassificationProblem:
    """A batch of images to be misclassified.

    Attributes:
        forward: points (B, n) to logits (B, classes); differentiable.
        inputs: the region around each image.
        labels: (B,) the classes that must not win.
        loss: what gradients lower: minus the cross-entropy of the label, or its margin over the best other class.
    """

    forward: Callable[[Tensor], Tensor]
    inputs: InputSet
    labels: Tensor
    loss: str = "margin"

    @classmethod
    def balls(
        cls,
        forward: Callable[[Tensor], Tensor],
        images: Tensor,
        labels: Tensor,
        norm: Norm,
        eps: float,
        loss: str = "margin",
    ) -> Self:
        """Balls of one radius around images (B, n), inside [0, 1]."""
        radius = images.new_full((len(images),), eps)
        whole = InputSet(torch.zeros_like(images), torch.ones_like(images), norm, images, radius)
        return cls(forward, whole.with_radius(radius), labels, loss)

    def __len__(self) -> int:
        """Batch size."""
        return len(self.inputs)

    def losses(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The loss that descends, and the margin."""
        logits = self.forward(x)
        margin = margins(logits, self.labels)
        if self.loss == "margin":
            return margin, margin
        return -F.cross_entropy(logits, self.labels, reduction="none"), margin

    def violation(self, x: Tensor) -> Tensor:
        """Margins (B,)."""
        return margins(self.forward(x), self.labels)

    def rows_of(self, index: Tensor) -> Self:
        """Some of the batch, repeated or reordered."""
        return replace(self, inputs=self.inputs.rows(index), labels=self.labels[index])


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Logit of the label minus the largest other one; (B,) from (B, classes)."""
    own = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
    others = logits.scatter(1, labels.unsqueeze(1), -torch.inf).amax(1)
    return own - others
