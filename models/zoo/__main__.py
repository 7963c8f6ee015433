"""Retrain the zoo: `python -m advverify.models.zoo [NAME ...]`; networks of MNIST take `NAME=mnist:DIR`."""

from __future__ import annotations

import sys
import time

import click

from advverify.verifier.errors import AdvverifyError

from ..build import build_model
from ..datasets import load_dataset
from . import FOLDER, RECIPES, recipe_of


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME | NAME=mnist:DIR]...")
def command(names: tuple[str, ...]) -> None:
    """Train shipped networks anew by their recipes, all networks of digits by default, and overwrite their files."""
    for argument in names or [path.stem for path in sorted(RECIPES.glob("digits-*.toml"))]:
        name, _, place = argument.partition("=")
        began = time.perf_counter()
        recipe = recipe_of(name)
        source = place or recipe.data.name
        training, test = load_dataset(source, "train"), load_dataset(source, "test")
        card = build_model(recipe, training, test, FOLDER / f"{name}.onnx").card
        print(f"{name}: test accuracy {card['accuracy']}, {time.perf_counter() - began:.1f} s, {card.get('certified')}")


if __name__ == "__main__":
    try:
        command()
    except AdvverifyError as error:
        sys.exit(f"advverify: {error}")
