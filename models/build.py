"""From a recipe to an ONNX file with its data card."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from .card import make_card
from .datasets import Dataset
from .export import write_onnx
from .recipe import Recipe
from .train import Listener, train


@dataclass(frozen=True)
class BuiltModel:
    """A trained network, its card, and the seconds of the training alone."""

    network: nn.Sequential
    card: dict[str, Any]
    seconds: float


def build_model(
    recipe: Recipe,
    training: Dataset,
    test: Dataset,
    out: Path,
    *,
    folder: Path | None = None,
    device: str = "cpu",
    listener: Listener | None = None,
) -> BuiltModel:
    """Train, measure and write.

    Args:
        recipe: what to do.
        training: training part of its data.
        test: test part; measured after every epoch where that is kept or heard.
        out: the ONNX file.
        folder: for checkpoint and metrics; None keeps nothing.
        device: "cpu" or "cuda".
        listener: hears the metrics of every epoch.

    Raises:
        InvalidInput: as `train`.
        TrainingDiverged: as `train`.
    """
    began = time.perf_counter()
    watched = None if folder is None and listener is None else test
    network = train(recipe, training, watched, folder=folder, device=device, listener=listener).network
    seconds = time.perf_counter() - began
    card = make_card(network, recipe, training, test)
    write_onnx(network, test.images.shape[1:], card, out)
    return BuiltModel(network, card, seconds)


def build_once(recipe: Recipe, training: Dataset, test: Dataset, out: Path, *, device: str = "cpu") -> bool:
    """Train and write a network, unless the file is there; True where it was trained now.

    A training that was stopped goes on from its checkpoint, which lies beside the file, and the file appears in one piece.

    Raises:
        InvalidInput: as `train`.
        TrainingDiverged: as `train`.
    """
    if out.is_file():
        return False
    part = out.with_suffix(".part")
    build_model(recipe, training, test, part, folder=out.with_suffix(".training"), device=device)
    part.replace(out)
    return True
