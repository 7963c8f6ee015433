"""What l2 balls around the values of nodes buy (`verifier.bounds.activation_balls`): certificates with and without them.

Three networks of `models` that are 1-Lipschitz by construction, trained on digits here, and an ordinary one of the zoo.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import torch

from advverify.models.datasets import load_dataset
from advverify.models.export import write_onnx
from advverify.models.recipe import recipe_from
from advverify.models.train import accuracy, train
from advverify.models.zoo import path_of
from advverify.verifier.api import Model
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.bounds.alpha_crown import AlphaCrown, raise_bounds
from advverify.verifier.bounds.backward import Start
from advverify.verifier.network.evaluate import predict
from advverify.verifier.specification import Threat, robustness

from .measure import table

IMAGE = [1, 8, 8]
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "orthogonal, 4 layers of 64": {"name": "lipschitz-mlp", "hidden": [64] * 4},
    "SLL, 4 blocks of 64": {"name": "sll", "width": 64, "blocks": 4},
    "CPL, 4 blocks of 64": {"name": "cpl", "width": 64, "blocks": 4},
}


def certified(model: Model, data: str, take: int, eps: float, balls: bool) -> int:
    """Images whose class CROWN with optimised slopes certifies at l2 radius eps, without a search."""
    images, network, count = load_dataset(data), model.network, 0
    for index in range(take):
        image, label = images.images[index].ravel(), int(images.labels[index])
        if int(predict(network, torch.from_numpy(image).double()[None])) != label:
            continue
        disjunct = robustness(image, label, Threat("2", eps), network.output_size).disjuncts[0]
        inputs = InputSet.from_regions([disjunct.region])
        inputs = inputs.with_balls(network) if balls else inputs
        matrix = torch.stack([torch.from_numpy(polytope.matrix[0]) for polytope in disjunct.unsafe]).double()
        start = Start.output(network, matrix[None], torch.zeros(1, len(matrix), dtype=torch.float64))
        with torch.no_grad():
            bounds = crown(network, inputs)
        best = raise_bounds(network, inputs, start, bounds, options=AlphaCrown(steps=20), threshold=torch.inf)
        count += bool((best.bound > 0).all())
    return count


@click.command("l2_activation_balls")
@click.option("--take", default=60, show_default=True, help="First test images.")
@click.option("--eps", default="0.2,0.3,0.5", show_default=True, help="l2 radii.")
@click.option("--epochs", default=60, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/l2_activation_balls"), show_default=True)
def command(take: int, eps: str, epochs: int, work: Path) -> None:
    """Images certified at the root in l2, without and with the balls."""
    training, test = load_dataset("digits", "train"), load_dataset("digits", "test")
    work.mkdir(parents=True, exist_ok=True)
    models = {}
    for number, (name, architecture) in enumerate(ARCHITECTURES.items()):
        recipe = recipe_from(
            {"architecture": {**architecture, "image": IMAGE, "outputs": 10}, "training": {"epochs": epochs}}
        )
        network, path = train(recipe, training).network, work / f"{number}.onnx"
        write_onnx(network, (1, 8, 8), {"data": "digits"}, path)
        models[f"{name} ({100 * accuracy(network, test):.1f} %)"] = Model(path)
    models["digits-mlp"] = Model(path_of("digits-mlp"))
    rows = []
    for name, model in models.items():
        for radius in (float(part) for part in eps.split(",")):
            counts = [certified(model, "digits", take, radius, balls) for balls in (False, True)]
            rows.append([name, f"{radius:g}", *counts])
    click.echo(table(["network (accuracy)", "l2 radius", f"certified of {take}", "with balls"], rows))
