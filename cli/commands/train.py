"""`advverify train`: a network from a recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from advverify.verifier.errors import InvalidInput

from ..completion import MODEL
from ..help import Command
from ..options import DATA, SEED, device_from, note, output_options
from ..progress import Progress
from ..table import console


@click.command("train", cls=Command)
@click.argument("recipe", type=MODEL)
@click.option(
    "-o", "--out", metavar="FILE.onnx", type=click.Path(path_type=Path), required=True, help="The ONNX file to write."
)
@click.option("--data", default=None, type=DATA, help="Where the recipe's data are [default: its name].")
@click.option("--seed", type=SEED, default=None, help="Another seed than the recipe's.")
@click.option(
    "--work", type=click.Path(path_type=Path), default=None, help="Checkpoint and metrics [default: OUT.training]."
)
@click.option(
    "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="cpu", show_default=True, help="Where it computes."
)
@output_options(rows="with the data card")
def command(
    recipe: str,
    out: Path,
    data: str | None,
    seed: int | None,
    work: Path | None,
    device: str,
    as_json: bool,
    quiet: bool,
) -> int:
    """Train the network of RECIPE (a TOML file or zoo:NAME) and write it with its data card.

    A training that was stopped goes on from its last checkpoint when it is started again.
    """
    from advverify.models.build import build_model
    from advverify.models.datasets import load_dataset
    from advverify.models.recipe import read_recipe
    from advverify.models.zoo import recipe_of

    chosen = recipe_of(recipe.removeprefix("zoo:")) if recipe.startswith("zoo:") else read_recipe(recipe)
    if seed is not None:
        chosen = replace(chosen, training=replace(chosen.training, seed=seed))
    source = data or chosen.data.name
    if source.partition(":")[0] != chosen.data.name:
        raise InvalidInput(f"--data {source}: the recipe trains on {chosen.data.name}")
    if not out.absolute().parent.is_dir():
        raise InvalidInput(f"--out {out}: there is no folder {out.absolute().parent}; create it first")
    folder = work or out.with_name(out.name + ".training")
    images, test = load_dataset(source, "train"), load_dataset(source, "test")
    if images.note:
        note(images.note, quiet)
    epochs = chosen.training.epochs
    with Progress(epochs, "epochs", quiet=quiet) as progress:

        def show(record: dict[str, Any]) -> None:
            progress.doing(f"loss {record['loss']:.3f}")
            while progress.settled < record["epoch"]:
                progress.settle(progress.settled)

        try:
            card = build_model(chosen, images, test, out, folder=folder, device=device_from(device), listener=show).card
        except KeyboardInterrupt as stop:
            stop.add_note(f"{folder} keeps what was trained, and the same command goes on from there")
            raise
    if as_json:
        from advverify.verifier.outcome import finite

        click.echo(json.dumps(finite({"schema": 1, "model": str(out), "card": card}), allow_nan=False))
    if as_json or quiet:
        return 0
    screen = console()
    certified = card.get("certified")
    screen.print(f"{out}: test accuracy {card['accuracy']}, training {card['train_accuracy']}", markup=False)
    if certified is not None:
        screen.print(
            f"bound propagation alone certifies {100 * certified['share']:.0f} % of {certified['images']} test images "
            f"at norm {certified['norm']}, eps {certified['eps']:g}",
            markup=False,
        )
    if "lipschitz_l2" in card:
        screen.print(f"l2 Lipschitz constant before the head: {card['lipschitz_l2']:.7f}", markup=False)
    return 0
