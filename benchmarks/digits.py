"""Minimal distortions of digits images on the shipped networks."""

from __future__ import annotations

import time

import click

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.api import Model, distance
from advverify.verifier.engines import Settings
from advverify.verifier.specification import Threat

from .measure import closed, median, table


@click.command("digits")
@click.option("--model", default="digits-mlp", show_default=True, help="A network of the zoo.")
@click.option("--norm", default="inf", show_default=True)
@click.option("--take", default=100, show_default=True, help="First test images.")
@click.option("--gap", default=1e-3, show_default=True, help="Relative gap at which a bracket counts as closed.")
@click.option("--timeout", default=60.0, show_default=True)
def command(model: str, norm: str, take: int, gap: float, timeout: float) -> None:
    """Minimal distortion of the first test images."""
    network, data = Model(path_of(model)), load_dataset("digits")
    settings = Settings(timeout=timeout, gap=gap)
    began = time.perf_counter()
    outcomes = [
        distance(network, data.images[i], int(data.labels[i]), Threat(norm), settings=settings) for i in range(take)
    ]
    total = time.perf_counter() - began
    done = sum(closed(outcome, gap) for outcome in outcomes)
    seconds = [outcome.seconds for outcome in outcomes]
    header = ["network", "norm", "images", f"closed to {gap:g}", "median s", "max s", "total s"]
    row = [model, norm, take, done, median(seconds), f"{max(seconds):.1f}", f"{total:.1f}"]
    click.echo(table(header, [row]))
