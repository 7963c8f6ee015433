"""Time as the work grows: against the number of images, of ReLUs, and eps; a table, and a plot on request."""

from __future__ import annotations

import statistics
from pathlib import Path

import click

from advverify.models.datasets import load_dataset
from advverify.models.export import write_onnx
from advverify.models.recipe import Architecture, Recipe
from advverify.models.train import train
from advverify.models.zoo import path_of
from advverify.verifier.api import Model, certify_all
from advverify.verifier.engines import Settings
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat

from .measure import table


def sweep(network: Model, take: int, eps: float, timeout: float) -> tuple[float, float, int]:
    """Total and median seconds over the first test images, and how many stayed open."""
    data = load_dataset("digits")
    images, labels = data.images[:take], data.labels[:take]
    found = certify_all(network, images, labels, Threat("inf", eps), settings=Settings(timeout=timeout))
    outcomes = [outcome for _, outcome in found]
    seconds = [outcome.seconds for outcome in outcomes]
    return sum(seconds), statistics.median(seconds), sum(o.verdict is Verdict.UNKNOWN for o in outcomes)


@click.command("scaling")
@click.option("--take", default=20, show_default=True)
@click.option("--timeout", default=20.0, show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), default=None, help="Write a PNG (needs matplotlib).")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/scaling"), show_default=True)
def command(take: int, timeout: float, plot: Path | None, work: Path) -> None:
    """Certify digits images; one thing grows at a time."""
    rows: list[list[object]] = []
    series: dict[str, list[tuple[float, float]]] = {"images": [], "ReLUs": [], "eps": []}

    def record(what: str, value: float, network: Model, count: int, eps: float) -> None:
        total, median, left = sweep(network, count, eps, timeout)
        series[what].append((value, total))
        rows.append([what, f"{value:g}", count, f"{median:.3f}", f"{total:.2f}", left])

    base = Model(path_of("digits-mlp"))
    sweep(base, 1, 0.05, timeout)  # what only the first query pays
    for count in (1, 5, 20, 80, 320):
        record("images", count, base, count, 0.05)
    for eps in (0.02, 0.05, 0.08, 0.11, 0.14):
        record("eps", eps, base, take, eps)
    work.mkdir(parents=True, exist_ok=True)
    training = load_dataset("digits", "train")
    for width in (16, 32, 64, 128, 256):
        recipe = Recipe(Architecture("mlp", {"inputs": 64, "hidden": [width, width, width], "outputs": 10}))
        path = work / f"mlp-{width}.onnx"
        write_onnx(train(recipe, training).network, (1, 8, 8), {"data": "digits"}, path)
        record("ReLUs", 3 * width, Model(path), take, 0.05)
    click.echo(table(["grows", "value", "images", "median s", "total s", "open"], rows))
    if plot is not None:
        _draw(series, plot)


def _draw(series: dict[str, list[tuple[float, float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(series), figsize=(12, 3.5), layout="constrained")
    for axis, (name, points) in zip(axes, series.items(), strict=True):
        axis.plot(*zip(*points, strict=True), marker="o")
        axis.set(xlabel=name, ylabel="seconds in total", title=f"time against {name}")
        if name != "eps":
            axis.set(xscale="log", yscale="log")
            axis.set_xticks([value for value, _ in points], [f"{value:g}" for value, _ in points], minor=False)
            axis.set_xticks([], minor=True)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
