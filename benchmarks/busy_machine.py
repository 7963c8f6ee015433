"""What other programs on the same processors cost: the same queries alone and beside busy processes, in turns.

Two processes that compute without end on two cores leave a program about half of the time, so twice its quiet time is what nobody can
avoid; what comes on top is threads that spin while they wait for each other, and copies of the process that do.
"""

from __future__ import annotations

import statistics
import time

import click
import numpy as np

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.api import Model, certify, distance
from advverify.verifier.engines import Settings
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat

from .measure import table
from .overruns import busy

_MODELS = ("digits-mlp", "digits-conv", "digits-resnet-cpl")
_EPS = 0.05


@click.command("busy-machine")
@click.option("--images", default=6, show_default=True, help="First test images of each network.")
@click.option("--busy", "others", default=2, show_default=True, help="Busy processes.")
@click.option("--turns", default=3, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--timeout", default=60.0, show_default=True, help="Seconds a query.")
def command(images: int, others: int, turns: int, threads: int, timeout: float) -> None:
    """Ask distances and verdicts alone and beside OTHERS busy processes."""
    data = load_dataset("digits")
    settings = Settings(timeout=timeout, threads=threads)
    rows: list[list[object]] = []
    worst = 0.0
    for name in _MODELS:
        model = Model(path_of(name))
        for kind in ("distance", "certify"):
            seconds: dict[int, list[list[float]]] = {0: [], others: []}
            for _ in range(turns):
                for count, found in seconds.items():
                    with busy(count):
                        found.append(
                            [_ask(kind, model, data.images[k], int(data.labels[k]), settings) for k in range(images)]
                        )
            quiet, loud = (
                [statistics.median(turn[k] for turn in found) for k in range(images)] for found in seconds.values()
            )
            ratios = [b / a for a, b in zip(quiet, loud, strict=True) if a > 0]
            worst = max([worst, *ratios])
            cells = [f"{statistics.median(quiet):.3f}", f"{statistics.median(loud):.3f}"]
            rows.append([name, kind, images, *cells, f"{statistics.median(ratios):.1f}", f"{max(ratios):.1f}"])
    header = ["network", "query", "images", "alone, median s", f"beside {others}, median s", "ratio, median", "largest"]
    click.echo(table(header, rows))
    click.echo(f"\nLargest ratio: {worst:.1f}.")


def _ask(kind: str, model: Model, image: np.ndarray, label: int, settings: Settings) -> float:
    """Seconds of a query as a caller sees them; 0 where there is nothing to be searched."""
    began = time.perf_counter()
    if kind == "distance":
        outcome = distance(model, image, label, Threat("inf"), settings=settings)
    else:
        outcome = certify(model, image, label, Threat("inf", _EPS), settings=settings)
    return 0.0 if outcome.verdict is Verdict.MISCLASSIFIED else time.perf_counter() - began
