"""What a term of the loss sees of a training step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """One batch.

    Attributes:
        network: ends in a Linear head; everything before it makes the embedding.
        loss: logits (B, classes) and labels (B,) to a mean loss.
        clean: images (B, channels, height, width) as they are in the data.
        images: what is trained on: the clean ones, or adversarial ones.
        labels: (B,).
        embedding: (B, features) of `images`.
        progress: share of the training that is done, in [0, 1].
    """

    network: nn.Sequential
    loss: Callable[[Tensor, Tensor], Tensor]
    clean: Tensor
    images: Tensor
    labels: Tensor
    embedding: Tensor
    progress: float


class Defence(Protocol):
    """A regulariser; frozen dataclasses whose fields are a recipe's keys."""

    weight: float

    def __call__(self, step: Step) -> Tensor:
        """The term, before it is multiplied by `weight`."""
