"""Do time limits hold, also while other processes keep the processor busy? Whole processes, measured from outside.

Each query cannot be settled within its limit, or only just: many boxes, a long property file, distances and verdicts on
networks too large for them. A limit counts from the start of `verify`, of `certify` and `distance` from the moment when the
image is asked about; what a process spends on importing and on reading the model is measured on a radius of 0.
"""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .measure import table

_RELATIVE, _ABSOLUTE = 1.05, 1.0  # what a limit may become
_BOXES, _INPUTS, _DISJUNCTS = 2_000, 24_576, 300
_BALLS = (("inf", "0.1"), ("2", "1.5"), ("1", "8"), ("0", "6"))  # norms, and radii for verdicts


def many_boxes(folder: Path) -> tuple[Path, Path]:
    """Three ReLUs and a property of many boxes, each of which is almost unsafe."""
    rng = np.random.default_rng(0)
    model, spec = folder / "boxes.onnx", folder / "boxes.vnnlib"
    write_network(model, [rng.normal(size=(3, 2)), rng.normal(size=(1, 3))])
    lines = ["(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)", "(assert (or"]
    for low in rng.uniform(-1, 1, (_BOXES, 2)):
        sides = " ".join(f"(>= X_{k} {low[k]:.6f}) (<= X_{k} {low[k] + 0.01:.6f})" for k in (0, 1))
        lines.append(f"(and {sides} (>= Y_0 50))")
    spec.write_text("\n".join([*lines, "))"]))
    return model, spec


def long_file(folder: Path) -> tuple[Path, Path]:
    """A property with many inputs and many disjuncts that name all of them."""
    rng = np.random.default_rng(1)
    model, spec = folder / "long.onnx", folder / "long.vnnlib"
    write_network(model, [rng.normal(size=(4, _INPUTS)) / 100, rng.normal(size=(2, 4))])
    with spec.open("w") as file:
        file.writelines(f"(declare-const X_{k} Real)\n" for k in range(_INPUTS))
        file.write("(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n(assert (or\n")
        for number in range(_DISJUNCTS):
            sides = (f"(>= X_{k} {number / 1000}) (<= X_{k} {number / 1000 + 0.1})" for k in range(_INPUTS))
            file.write(f"(and {' '.join(sides)} (>= Y_0 1000))\n")
        file.write("))\n")
    return model, spec


def write_network(path: Path, weights: list[np.ndarray]) -> None:
    """Matrices with ReLUs between them."""
    nodes, constants, value = [], [], "x"
    for k, weight in enumerate(weights):
        constants.append(numpy_helper.from_array(weight.T.astype(np.float32), f"w{k}"))
        nodes.append(helper.make_node("MatMul", [value, f"w{k}"], [f"h{k}"]))
        value = f"h{k}"
        if k < len(weights) - 1:
            nodes.append(helper.make_node("Relu", [value], [f"r{k}"]))
            value = f"r{k}"
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, weights[0].shape[1]])
    y = helper.make_tensor_value_info(value, TensorProto.FLOAT, [1, len(weights[-1])])
    graph = helper.make_graph(nodes, "network", [x], [y], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Other processes that compute without end."""
    others = [multiprocessing.get_context("spawn").Process(target=_burn, daemon=True) for _ in range(count)]
    for other in others:
        other.start()
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.join()


def _burn() -> None:
    while True:
        sum(range(1 << 16))


def measured(arguments: list[str]) -> float:
    """Seconds of a whole process."""
    since = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "advverify.cli", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise click.ClickException(f"{' '.join(arguments)}: {done.stderr.strip().splitlines()[-1:]}")
    return time.perf_counter() - since


def queries(folder: Path, limit: float, mnist: Path | None) -> Iterator[tuple[list[str], list[str] | None]]:
    """Arguments of a command, and those that measure what it spends before the limit counts."""
    for model, spec in (many_boxes(folder), long_file(folder)):
        yield ["verify", str(model), str(spec), "--timeout", f"{limit:g}"], None
    networks = [["zoo:digits-deep"], ["zoo:digits-resnet-plain"]]
    networks += [] if mnist is None else [["zoo:mnist-resnet-plain", "--data", f"mnist:{mnist}"]]
    for network in networks:
        for norm, eps in _BALLS:
            common = [*network, "--norm", norm, "--images", "3", "--timeout", f"{limit:g}"]
            before = ["certify", *common, "--eps", "0"]
            yield ["distance", *common], before
            yield ["certify", *common, "--eps", eps], before


@click.command("overruns")
@click.option("--timeout", "limit", default=10.0, show_default=True, help="Seconds a query.")
@click.option("--load", default=2, show_default=True, help="Other processes that keep the processor busy.")
@click.option("--mnist", type=click.Path(path_type=Path), default=None, help="Folder of MNIST, for larger networks.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/overruns"), show_default=True)
def command(limit: float, load: int, mnist: Path | None, work: Path) -> None:
    """Seconds by which time limits are overrun."""
    work.mkdir(parents=True, exist_ok=True)
    rows, worst = [], 0.0
    with busy(load):
        for arguments, before in queries(work, limit, mnist):
            start = 0.0 if before is None else measured(before)
            seconds = measured(arguments) - start
            over = seconds - (_RELATIVE * limit + _ABSOLUTE)
            worst = max(worst, over)
            shown = [Path(part).name if "/" in part else part for part in arguments[: -2 if before is None else None]]
            rows.append(
                [" ".join(shown), f"{start:.1f}", f"{seconds:.1f}", "yes" if over <= 0 else f"no, by {over:.1f} s"]
            )
            click.echo(" | ".join(map(str, rows[-1])), err=True)
    click.echo(f"\nlimit {limit:g} s, {load} busy processes beside it\n")
    click.echo(table(["query", "before it counts, s", "then, s", "within 5 % and 1 s"], rows))
    raise SystemExit(int(worst > 0))
