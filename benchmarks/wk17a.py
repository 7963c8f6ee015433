"""The convolutional MNIST network of Wong & Kolter (2017), 4,804 ReLUs, on the first MNIST test images.

MIPVerify.jl 0.8 with HiGHS publishes 950 s for 500 images at linf 0.1, and leaves 2 open.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from pathlib import Path

import click

from advverify.models.datasets import Dataset, load_dataset
from advverify.verifier.api import Model, certify_all, distance
from advverify.verifier.engines import Settings
from advverify.verifier.outcome import Outcome, Verdict
from advverify.verifier.specification import Threat

from .measure import closed, median, table

_ROUNDED = 5e-7  # how far rounding has moved a published distance


@click.command("wk17a")
@click.option("--model", type=click.Path(exists=True, path_type=Path), required=True, help="The ONNX file.")
@click.option("--mnist", type=click.Path(exists=True, path_type=Path), required=True, help="Folder of the idx files.")
@click.option("--take", default=500, show_default=True, help="First test images.")
@click.option("--eps", default=0.1, show_default=True)
@click.option("--distances", is_flag=True, help="Minimal linf distortion to a relative gap of 1e-3 instead.")
@click.option(
    "--published",
    type=click.Path(exists=True, path_type=Path),
    help="CSV with columns index and d_star: brackets of those distances to a relative gap of 1e-4 instead.",
)
@click.option("--threads", default=2, show_default=True)
@click.option("--timeout", default=60.0, show_default=True)
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda, for attacks and bound propagation.")
def command(
    model: Path,
    mnist: Path,
    take: int,
    eps: float,
    distances: bool,
    published: Path | None,
    threads: int,
    timeout: float,
    device: str,
) -> None:
    """Certify (or measure) the first MNIST test images."""
    network, data = Model(model), load_dataset(f"mnist:{mnist}")
    settings = Settings(timeout=timeout, threads=threads, gap=1e-3 if distances else 1e-4, device=device)
    if published is not None:
        click.echo(_beside(network, data, published, settings))
        return
    began = time.perf_counter()
    outcomes: list[Outcome] = []
    images, labels = data.images[:take], [int(label) for label in data.labels[:take]]
    found: Iterator[tuple[int, Outcome]]
    if distances:
        found = ((k, distance(network, images[k], labels[k], Threat("inf"), settings=settings)) for k in range(take))
    else:
        found = certify_all(network, images, labels, Threat("inf", eps), settings=settings)
    for index, outcome in found:
        outcomes.append(outcome)
        if outcome.verdict is Verdict.UNKNOWN:
            click.echo(f"image {index}: {outcome.bracket.lower:.6f} {outcome.bracket.upper:.6f}", err=True)
    total = time.perf_counter() - began
    seconds = [outcome.seconds for outcome in outcomes]
    if distances:
        done = sum(closed(outcome, 1e-3) for outcome in outcomes)
        row = [take, done, median(seconds), f"{max(seconds):.1f}", f"{total:.1f}"]
        click.echo(table(["images", "closed to 1e-3", "median s", "max s", "total s"], [row]))
        return
    engines: dict[str, int] = {}
    for outcome in outcomes:
        engines[outcome.engine] = engines.get(outcome.engine, 0) + 1
    counts = [sum(o.verdict is v for o in outcomes) for v in Verdict]
    header = ["images", *(v.value for v in Verdict), "median s", "max s", "total s", "settled by"]
    by = ", ".join(f"{name} {count}" for name, count in sorted(engines.items(), key=lambda item: -item[1]))
    click.echo(table(header, [[take, *counts, median(seconds), f"{max(seconds):.1f}", f"{total:.1f}", by]]))


def _beside(network: Model, data: Dataset, published: Path, settings: Settings) -> str:
    """Our brackets beside published distances, which are rounded to six places."""
    rows: list[list[object]] = []
    with published.open(encoding="utf-8") as stream:
        for line in csv.DictReader(stream):
            index, known = int(line["index"]), float(line["d_star"])
            outcome = distance(network, data.images[index], int(data.labels[index]), Threat("inf"), settings=settings)
            lower, upper = outcome.bracket.lower, outcome.bracket.upper
            inside = lower <= known + _ROUNDED and known - _ROUNDED <= upper
            sides = [f"{lower:.7f}", f"{upper:.7f}", f"{upper - known:+.1e}", "yes" if inside else "no"]
            rows.append([index, line["d_star"], *sides, closed(outcome, 1e-4), f"{outcome.seconds:.1f}"])
    return table(
        ["image", "published", "lower", "upper", "upper - published", "inside", "closed to 1e-4", "seconds"], rows
    )
