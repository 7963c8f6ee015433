"""Retrain the zoo: `python -m advverify.models.zoo [NAME ...]`; networks of MNIST take `NAME=mnist:DIR`."""

from __future__ import annotations

import sys
import time

from ..datasets import load_dataset
from ..produce import produce
from . import FOLDER, RECIPES, recipe_of

if __name__ == "__main__":
    everything = [path.stem for path in sorted(RECIPES.glob("digits-*.toml"))]
    for argument in sys.argv[1:] or everything:
        name, _, place = argument.partition("=")
        began = time.perf_counter()
        recipe = recipe_of(name)
        source = place or recipe.data.name
        training, test = load_dataset(source, "train"), load_dataset(source, "test")
        card = produce(recipe, training, test, FOLDER / f"{name}.onnx").card
        print(f"{name}: test accuracy {card['accuracy']}, {time.perf_counter() - began:.1f} s, {card.get('certified')}")
