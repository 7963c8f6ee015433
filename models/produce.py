"""From a recipe to an ONNX file with its data card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from .card import make_card
from .datasets import Dataset
from .export import write_onnx
from .recipe import Recipe
from .train import Listener, train


def produce(
    recipe: Recipe,
    training: Dataset,
    test: Dataset,
    out: Path,
    *,
    folder: Path | None = None,
    device: str = "cpu",
    listener: Listener | None = None,
) -> tuple[nn.Sequential, dict[str, Any]]:
    """Train, measure and write; returns the network and its card.

    Args:
        recipe: what to do.
        training: training part of its data.
        test: test part, measured after every epoch.
        out: the ONNX file.
        folder: for checkpoint and metrics; None keeps nothing.
        device: "cpu" or "cuda".
        listener: hears the metrics of every epoch.

    Raises:
        InvalidInput: as `train`.
        TrainingDiverged: as `train`.
    """
    network = train(recipe, training, test, folder=folder, device=device, listener=listener).network
    card = make_card(network, recipe, training, test)
    write_onnx(network, test.images.shape[1:], card, out)
    return network, card
