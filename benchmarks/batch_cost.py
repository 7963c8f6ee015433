"""What a batch costs beside `certify`: the same images, whole processes, in turn.

Both get the machine's cores: `certify` as threads of its queries, `batch` as workers. Seconds are of the wall and of all
processors together, least and median of the repeats.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from .measure import table


@click.command("batch_cost")
@click.option("--model", default="zoo:digits-conv", show_default=True, help="A path, or zoo:NAME.")
@click.option("--data", default="digits", show_default=True)
@click.option("--images", default="0:200", show_default=True)
@click.option("--eps", default=0.03, show_default=True)
@click.option("--timeout", default=60.0, show_default=True)
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Workers of the batch.")
@click.option("--repeats", default=3, show_default=True)
def command(model: str, data: str, images: str, eps: float, timeout: float, jobs: int, repeats: int) -> None:
    """Certify images by `certify` and by `batch run`, and compare."""
    place = model if model.startswith("zoo:") else str(Path(model).absolute())
    kind, _, folder = data.partition(":")
    data = f"{kind}:{Path(folder).absolute()}" if folder else data
    seconds: dict[str, list[tuple[float, float]]] = {"certify": [], "batch": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as scratch:
            job = Path(scratch) / "job.toml"
            job.write_text(
                f"timeout = {timeout}\n[[queries]]\nmodels = ['{place}']\ndata = '{data}'\n"
                f"images = '{images}'\neps = [{eps}]\n"
            )
            limits = ["--eps", str(eps), "--timeout", str(timeout)]
            seconds["certify"].append(_run("certify", place, "--data", data, "--images", images, *limits))
            store = str(Path(scratch) / "s.sqlite")
            seconds["batch"].append(_run("batch", "run", str(job), "--store", store, "--jobs", str(jobs)))
    rows = []
    for name, runs in seconds.items():
        walls, processors = [wall for wall, _ in runs], [processor for _, processor in runs]
        cells = [min(walls), statistics.median(walls), min(processors), statistics.median(processors)]
        rows.append([name, *(f"{value:.2f}" for value in cells)])
    ratios = [float(b) / float(a) for a, b in zip(rows[0][1:], rows[1][1:], strict=True)]
    rows.append(["batch / certify", *(f"{ratio:.2f}" for ratio in ratios)])
    click.echo(table([f"{place}, {images}, eps {eps:g}", "wall, least", "median", "CPU, least", "median"], rows))


def _run(*arguments: str) -> tuple[float, float]:
    """Seconds of the wall and of the processors that a command takes, with all that it starts."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "advverify", *arguments], check=True, capture_output=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
