"""A hundred thousand real queries about small networks in one store: throughput, memory of the driver, size of the file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from advverify.verifier.store import Store

from .measure import table

_INPUTS, _HIDDEN, _CLASSES = 8, 16, 4
_NETWORKS, _RADII = 2, (0.01, 0.03, 0.05, 0.1, 0.2)


def write_network(path: Path, seed: int) -> None:
    """A network of one hidden layer with random weights."""
    rng = np.random.default_rng(seed)
    sizes = {"a": (_HIDDEN, _INPUTS), "b": (_HIDDEN,), "c": (_CLASSES, _HIDDEN), "d": (_CLASSES,)}
    weights = [numpy_helper.from_array(rng.normal(size=s).astype(np.float32), name) for name, s in sizes.items()]
    nodes = [
        helper.make_node("Gemm", ["x", "a", "b"], ["h"], transB=1),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Gemm", ["r", "c", "d"], ["y"], transB=1),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, k]) for n, k in (("x", _INPUTS), ("y", _CLASSES))]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))


def write_job(folder: Path, queries: int) -> Path:
    """Networks, images under the labels that the first network gives them, and the job."""
    from advverify.verifier.api import Model

    for seed in range(_NETWORKS):
        write_network(folder / f"n{seed}.onnx", seed)
    images = max(1, queries // (_NETWORKS * len(_RADII)))
    values = np.random.default_rng(7).random((images, _INPUTS))
    model = Model(folder / "n0.onnx")
    np.savez(folder / "images.npz", images=values, labels=np.array([model.predict(v) for v in values]))
    models = [f"n{seed}.onnx" for seed in range(_NETWORKS)]
    job = folder / "job.toml"
    job.write_text(
        f"timeout = 20\n[[queries]]\nmodels = {models}\ndata = 'npz:{folder / 'images.npz'}'\neps = {list(_RADII)}\n"
    )
    return job


@click.command("many_queries")
@click.option("--queries", default=100_000, show_default=True, help="About so many.")
@click.option("--jobs", default=os.cpu_count() or 1, show_default=True, help="Worker processes.")
@click.option("--scheduler", default=None, help="Address of a Dask scheduler, in the place of worker processes.")
def command(queries: int, jobs: int, scheduler: str | None) -> None:
    """Settle very many small queries in one store, and look at it: `batch run`, once more, `status` and `report`."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        job, store = write_job(folder, queries), folder / "s.sqlite"
        workers = ["--jobs", str(jobs)] if scheduler is None else ["--scheduler", scheduler]
        rows, count = [], 0
        for name, arguments in (
            ("batch run", ["batch", "run", str(job), "--store", str(store), *workers]),
            ("batch run, all answered", ["batch", "run", str(job), "--store", str(store), *workers]),
            ("batch status", ["batch", "status", str(store)]),
            ("report -o", ["report", str(store), "-o", str(folder / "page.html")]),
        ):
            seconds, peak = _measured(arguments)
            with Store(store) as opened:
                count = opened.count()
            rate = f"{count / seconds:.0f}" if name == "batch run" else "-"
            rows.append((name, count, f"{seconds:.0f}", rate, f"{peak:.0f}", f"{store.stat().st_size / 1e6:.0f}"))
            click.echo(rows[-1], err=True)
    header = ("command", "answers", "seconds", "a second", "peak of the process itself, MiB", "store, MB")
    click.echo(table(header, rows))


def _measured(arguments: list[str]) -> tuple[float, float]:
    """Seconds of a command, and the peak memory of its own process in MiB, without that of workers.

    Raises:
        ClickException: it failed.
    """
    began, peak = time.perf_counter(), 0.0
    process = subprocess.Popen([sys.executable, "-m", "advverify", *arguments], stdout=subprocess.DEVNULL)
    while process.poll() is None:
        peak = max(peak, _peak(process.pid))
        time.sleep(0.05)
    if process.returncode:
        raise click.ClickException(f"advverify {' '.join(arguments)} ended with {process.returncode}")
    return time.perf_counter() - began, peak


def _peak(pid: int) -> float:
    """The most memory that a process has held so far, in MiB; 0 where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
