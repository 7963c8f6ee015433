"""The shipped networks: small, trained by the recipes below, with their data cards in the ONNX metadata.

`python -m advverify.models.zoo` retrains all of them into this folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from advverify.verifier.errors import InvalidInput

if TYPE_CHECKING:
    from torch import nn

    from ..train import Recipe

FOLDER = Path(__file__).parent
IMAGE = (1, 8, 8)


def recipes() -> dict[str, Recipe]:
    """Recipe of every shipped network."""
    from ..train import Recipe

    return {
        "digits-mlp": Recipe("mlp", {"inputs": 64, "hidden": [32, 32], "outputs": 10}),
        "digits-deep": Recipe("mlp", {"inputs": 64, "hidden": [64, 64, 64, 64], "outputs": 10}),
        "digits-conv": Recipe("conv", {"image": IMAGE, "channels": [4, 8], "hidden": 16, "outputs": 10}),
        "digits-resnet": Recipe("resnet", {"inputs": 64, "width": 32, "blocks": 2, "hidden": 24, "outputs": 10}),
    }


def names() -> list[str]:
    """Names of the shipped networks."""
    return sorted(path.stem for path in FOLDER.glob("*.onnx"))


def path_of(name: str) -> Path:
    """File of a shipped network.

    Raises:
        InvalidInput: there is none of that name.
    """
    if name not in names():
        raise InvalidInput(f"the zoo has no network '{name}': choose {', '.join(names())}")
    return FOLDER / f"{name}.onnx"


def retrain(name: str) -> tuple[nn.Module, dict[str, Any]]:
    """Train a network by its recipe; returns it with its data card."""
    from ..datasets import load_dataset
    from ..train import accuracy, train

    recipe = recipes()[name]
    training, test = load_dataset(recipe.data, "train"), load_dataset(recipe.data, "test")
    network = train(recipe, training)
    card = {
        "name": name,
        "data": recipe.data,
        "data_sha256": training.sha256,
        "recipe": recipe.as_dict(),
        "accuracy": round(accuracy(network, test), 4),
        "train_accuracy": round(accuracy(network, training), 4),
    }
    return network, card
