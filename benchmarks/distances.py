"""Minimal distortions on any network, by image and then by radius and by the number of unstable ReLUs in the attack's ball.

For networks that are too large for exact answers: what counts is how far brackets close within a time limit.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from advverify.cli.options import data_for, images_from
from advverify.verifier.api import Model, distance
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.engines import Settings
from advverify.verifier.norms import NORMS
from advverify.verifier.outcome import Outcome, Verdict
from advverify.verifier.specification import Threat
from advverify.verifier.specification.robustness import robustness

from .measure import closed, table

_GROUPS = 3  # of equally many images


class Measured:
    """One image: its bracket, and how many ReLUs are unstable in the ball of the upper side (CROWN)."""

    def __init__(self, index: int, outcome: Outcome, unstable: int) -> None:
        """Keep what the tables show."""
        self.index, self.outcome, self.unstable = index, outcome, unstable

    @property
    def gap(self) -> float:
        """Relative."""
        return self.outcome.bracket.gap / self.outcome.bracket.upper


@click.command("distances")
@click.option("--model", type=click.Path(exists=True, path_type=Path), required=True, help="The ONNX file.")
@click.option("--data", required=True, help="mnist:DIR, cifar10:DIR, npz:FILE#NAME, digits.")
@click.option("--images", default="0:20", show_default=True)
@click.option("--norm", type=click.Choice([name for name in NORMS if name != "0"]), default="inf", show_default=True)
@click.option("--timeout", default=60.0, show_default=True, help="Seconds an image.")
@click.option("--gap", default=1e-4, show_default=True, help="Relative, of a closed bracket.")
@click.option("--threads", default=2, show_default=True)
def command(model: Path, data: str, images: str, norm: str, timeout: float, gap: float, threads: int) -> None:
    """Bracket the distances of test images."""
    network = Model(model)
    chosen = data_for(network, data)
    settings = Settings(timeout=timeout, threads=threads, gap=gap)
    found: list[Measured] = []
    began = time.perf_counter()
    for index in images_from(images, len(chosen.images)):
        image, label = chosen.images[index], int(chosen.labels[index])
        outcome = distance(network, image, label, Threat(norm), settings=settings)
        if outcome.verdict is not Verdict.MISCLASSIFIED and outcome.bracket.upper < float("inf"):
            reach = Threat(norm, outcome.bracket.upper)
            region = robustness(image.ravel(), label, reach, network.network.output_size, "").disjuncts[0].region
            bounds = crown(network.network, InputSet.from_regions([region]))
            found.append(Measured(index, outcome, bounds.unstable_count(network.network)))
    total = time.perf_counter() - began
    rows = [
        [
            each.index,
            f"{each.outcome.bracket.lower:.6f}",
            f"{each.outcome.bracket.upper:.6f}",
            f"{100 * each.gap:.2f} %",
            each.unstable,
            f"{each.outcome.seconds:.1f}",
        ]
        for each in found
    ]
    click.echo(table(["image", "lower", "upper", "gap", "unstable ReLUs", "seconds"], rows) + "\n")
    header = ["images", "of them closed", "median gap", "largest gap", "seconds in all"]
    gaps = [each.gap for each in found]
    settled = sum(closed(each.outcome, gap) for each in found)
    row = [len(found), settled, f"{100 * statistics.median(gaps):.1f} %", f"{100 * max(gaps):.1f} %", f"{total:.0f}"]
    click.echo(table(header, [row]) + "\n")
    click.echo(_grouped(found, "radius", lambda each: each.outcome.bracket.upper, ".4f") + "\n")
    click.echo(_grouped(found, "unstable ReLUs", lambda each: each.unstable, ".0f"))


def _grouped(found: Sequence[Measured], what: str, key: Callable[[Measured], float], form: str) -> str:
    """A row for each third of the images, in the order of what may make them hard."""
    ordered = sorted(found, key=key)
    rows: list[list[object]] = []
    for k in range(_GROUPS):
        part = ordered[k * len(ordered) // _GROUPS : (k + 1) * len(ordered) // _GROUPS]
        if part:
            sides = f"{key(part[0]):{form}} to {key(part[-1]):{form}}"
            gaps = [each.gap for each in part]
            seconds = statistics.median(each.outcome.seconds for each in part)
            rows.append([sides, len(part), f"{100 * statistics.median(gaps):.1f} %", f"{seconds:.1f}"])
    return table([what, "images", "median gap", "median s"], rows)
