"""A plain trainer: cross-entropy, Adam with a one-cycle schedule, one seed, one thread - the same weights every time."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from .architectures import build
from .datasets import Dataset


@dataclass(frozen=True)
class Recipe:
    """All that determines a network.

    Attributes:
        architecture: name in `architectures.ARCHITECTURES`.
        options: of the architecture.
        data: name of the data set.
        epochs: passes over the training part.
        batch: batch size.
        learning_rate: peak of the one-cycle schedule.
        seed: of initialisation and data order.
    """

    architecture: str
    options: dict[str, Any] = field(default_factory=dict)
    data: str = "digits"
    epochs: int = 40
    batch: int = 64
    learning_rate: float = 5e-3
    seed: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for data cards."""
        return asdict(self)


def train(recipe: Recipe, data: Dataset) -> nn.Module:
    """Train from scratch; leaves torch's global random state and thread count as they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order: the zoo is reproduced bit for bit on one platform
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            return _fit(recipe, data)
    finally:
        torch.set_num_threads(threads)


def _fit(recipe: Recipe, data: Dataset) -> nn.Module:
    network = build(recipe.architecture, **recipe.options)
    images = torch.from_numpy(data.images).float()
    labels = torch.from_numpy(data.labels)
    steps = -(-len(data) // recipe.batch) * recipe.epochs
    optimiser = torch.optim.Adam(network.parameters(), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=steps)
    loss = nn.CrossEntropyLoss()
    network.train()
    for _ in range(recipe.epochs):
        for index in torch.randperm(len(data)).split(recipe.batch):
            optimiser.zero_grad()
            loss(network(images[index]), labels[index]).backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def accuracy(network: nn.Module, data: Dataset) -> float:
    """Share of correctly classified images."""
    with torch.no_grad():
        predicted = network(torch.from_numpy(data.images).float()).argmax(-1)
    return float((predicted.numpy() == data.labels).mean())
