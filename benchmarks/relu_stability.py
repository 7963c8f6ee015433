"""What L1 sparsity and ReLU stability (Xiao et al., ICLR 2019) buy: seconds of exact verification of one architecture.

The paper reports a factor of 4 to 13 for ReLU stability on adversarially trained MNIST networks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from advverify.models.datasets import load_dataset
from advverify.models.export import write_onnx
from advverify.models.recipe import recipe_from
from advverify.models.train import accuracy, train
from advverify.verifier.api import Model, certify
from advverify.verifier.engines import Settings
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat

from .measure import median, table

SPARSE = {"l1": {"weight": 5e-5}}


@click.command("relu_stability")
@click.option("--take", default=15, show_default=True, help="First test images.")
@click.option("--eps", default=0.1, show_default=True)
@click.option("--timeout", default=60.0, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/relu-stability"), show_default=True)
def command(take: int, eps: float, timeout: float, work: Path) -> None:
    """Adversarially trained 64-64-64-64-10 on digits, without and with the two terms."""
    training, test = load_dataset("digits", "train"), load_dataset("digits", "test")
    work.mkdir(parents=True, exist_ok=True)
    both: dict[str, Any] = {**SPARSE, "relu-stability": {"weight": 2e-4, "eps": eps}}
    rows: list[list[object]] = []
    first = 0.0
    for name, defences in (("adversarial training", {}), ("+ L1", SPARSE), ("+ L1 + ReLU stability", both)):
        recipe = recipe_from(
            {
                "architecture": {"name": "mlp", "inputs": 64, "hidden": [64] * 4, "outputs": 10},
                "training": {"epochs": 100},
                "adversary": {"eps": eps, "steps": 5, "step": 0.35, "ramp": 0.3},
                "defences": defences,
            }
        )
        network = train(recipe, training).network
        path = work / f"{len(rows)}.onnx"
        write_onnx(network, (1, 8, 8), {"data": "digits"}, path)
        model, settings = Model(path), Settings(timeout=timeout)
        outcomes = [
            certify(model, test.images[i], int(test.labels[i]), Threat("inf", eps), settings=settings)
            for i in range(take)
        ]
        seconds = [outcome.seconds for outcome in outcomes]
        first = first or sum(seconds)
        count = [sum(o.verdict is verdict for o in outcomes) for verdict in (Verdict.ROBUST, Verdict.UNKNOWN)]
        share = f"{100 * accuracy(network, test):.1f} %"
        rows.append([name, share, *count, median(seconds), f"{sum(seconds):.1f}", f"{first / sum(seconds):.1f}"])
    header = ["training", "accuracy", "robust", "open", "median s", "total s", "times faster"]
    click.echo(table(header, rows))
