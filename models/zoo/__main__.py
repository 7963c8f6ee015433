"""Retrain the zoo: `python -m advverify.models.zoo [NAME ...]`."""

from __future__ import annotations

import sys

from ..export import write_onnx
from . import FOLDER, IMAGE, recipes, retrain

if __name__ == "__main__":
    for name in sys.argv[1:] or recipes():
        network, card = retrain(name)
        write_onnx(network, IMAGE, card, FOLDER / f"{name}.onnx")
        print(f"{name}: test accuracy {card['accuracy']}")
