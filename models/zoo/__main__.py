"""Retrain the zoo: `python -m advverify.models.zoo [NAME ...]`; networks of MNIST take `NAME=mnist:DIR`."""

from __future__ import annotations

import sys
import time

from ..export import write_onnx
from . import FOLDER, RECIPES, retrain

if __name__ == "__main__":
    everything = [path.stem for path in sorted(RECIPES.glob("digits-*.toml"))]
    for argument in sys.argv[1:] or everything:
        name, _, place = argument.partition("=")
        began = time.perf_counter()
        network, card = retrain(name, place or None)
        image = (1, 28, 28) if place else (1, 8, 8)
        write_onnx(network, image, card, FOLDER / f"{name}.onnx")
        print(f"{name}: test accuracy {card['accuracy']}, {time.perf_counter() - began:.1f} s, {card.get('certified')}")
