"""Data cards: what a shipped network is, how it was made, and what can be said of it; kept in the ONNX metadata."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from advverify.verifier.api import Model, certify
from advverify.verifier.engines import Settings
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat

from .architectures import linear_maps, stability
from .datasets import Dataset
from .export import write_onnx
from .folding import fold
from .lipschitz import lipschitz_bound, pair_constants
from .recipe import Card, Recipe
from .train import accuracy


def make_card(network: nn.Module, recipe: Recipe, training: Dataset, test: Dataset) -> dict[str, Any]:
    """Everything a reader should know.

    `lipschitz_l2` bounds the network before its head, and `pair_lipschitz_l2` the differences of two logits, so that
    margins divided by it are certificates; both only for networks that are 1-Lipschitz by construction.
    """
    folded = fold(network)
    assert isinstance(folded, nn.Sequential)
    layers = [m for m in folded.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    card: dict[str, Any] = {
        "name": recipe.name,
        "data": recipe.data.name,
        "data_sha256": training.sha256,
        "recipe": recipe.as_dict(),
        "seed": recipe.training.seed,
        "accuracy": round(accuracy(network, test), 4),
        "train_accuracy": round(accuracy(network, training), 4),
        "stability": stability(recipe.architecture.name),
        "spectral_norms": [float(f"{linear_maps.spectral_bound(layer.weight):.4g}") for layer in layers],
    }
    constant = lipschitz_bound(folded[:-1])
    pairs = pair_constants(folded)
    if constant is not None and pairs is not None and constant < 1 + 1e-3:
        card["lipschitz_l2"] = constant
        card["pair_lipschitz_l2"] = [[float(f"{value * (1 + 1e-7):.8g}") for value in row] for row in pairs]
    if recipe.card.images:
        card["certified"] = _certified(network, recipe.card, test)
    return card


def _certified(network: nn.Module, query: Card, test: Dataset) -> dict[str, Any]:
    """Share of the first test images that bound propagation alone certifies."""
    count = min(query.images, len(test))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        write_onnx(network, test.images.shape[1:], {}, path)
        model = Model(path)
    robust = 0
    for index in range(count):
        image, label = test.images[index], int(test.labels[index])
        outcome = certify(
            model, image, label, Threat(query.norm, query.eps), engines=("propagate",), settings=Settings(timeout=20)
        )
        robust += outcome.verdict is Verdict.ROBUST
    return {"norm": query.norm, "eps": query.eps, "images": count, "share": round(robust / count, 4)}


def pairs_of(metadata: dict[str, str]) -> np.ndarray | None:
    """The pair constants of a card, (classes, classes); None where it has none."""
    text = metadata.get("pair_lipschitz_l2")
    return None if text is None else np.array(json.loads(text), dtype=np.float64)
