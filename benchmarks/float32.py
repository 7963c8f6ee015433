"""What the promise to hold under float32 rounding costs, and how far real executions are from its error bound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from onnx import load

from advverify.models.datasets import load_dataset
from advverify.models.zoo import names, path_of
from advverify.verifier.api import Model, certify
from advverify.verifier.checker.arithmetic import Relaxation
from advverify.verifier.checker.execution import execution_error
from advverify.verifier.checker.network import Network
from advverify.verifier.checker.region import Region
from advverify.verifier.engines import Settings
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat

from .executions import ORDERS, SINGLE, execute
from .measure import table


@dataclass
class Subject:
    """A network with images."""

    name: str
    path: Path
    data: str
    eps: float


@click.command("float32")
@click.option("--wk17a", type=click.Path(exists=True, path_type=Path), default=None, help="The ONNX file.")
@click.option("--mnist", type=click.Path(exists=True, path_type=Path), default=None, help="Folder of the idx files.")
@click.option("--take", default=20, show_default=True, help="First test images.")
@click.option("--points", default=3, show_default=True, help="Executed inputs of each ball.")
@click.option("--timeout", default=20.0, show_default=True)
def command(wk17a: Path | None, mnist: Path | None, take: int, points: int, timeout: float) -> None:
    """Robust in exact arithmetic against robust in any execution, on the zoo (linf 0.05) and WK17a (linf 0.1)."""
    subjects = [Subject(name, path_of(name), "digits", 0.05) for name in names()]
    if wk17a is not None and mnist is not None:
        subjects.append(Subject("WK17a", wk17a, f"mnist:{mnist}", 0.1))
    rows = []
    for subject in subjects:
        exact = executed = 0
        largest, closest = 0.0, 0.0
        model, data, settings = Model(subject.path), load_dataset(subject.data), Settings(timeout=timeout)
        for i in range(take):
            image, label = data.images[i].ravel(), int(data.labels[i])
            exact += (
                certify(model, image, label, Threat("inf", subject.eps), settings=settings).verdict is Verdict.ROBUST
            )
            outcome = certify(model, image, label, Threat("inf", subject.eps, float32=True), settings=settings)
            executed += outcome.verdict is Verdict.ROBUST
            largest = max(largest, float(outcome.statistics.get("execution_error", 0.0)))
            if i < 5:
                closest = max(closest, share_of_bound(model, image, subject.eps, points))
        rows.append([subject.name, take, exact, executed, f"{largest:.2g}", f"{closest:.3f}"])
        click.echo(rows[-1], err=True)
    header = [
        "network",
        "images",
        "robust",
        "robust in any execution",
        "largest error bound",
        "largest share of it seen",
    ]
    click.echo(table(header, rows))


def share_of_bound(model: Model, image: np.ndarray, eps: float, points: int) -> float:
    """Largest |executed - exact| / bound over executions in onnxruntime, torch and numpy of random inputs of a ball.

    Raises:
        AssertionError: an execution left the bound.
    """
    assert model.path is not None
    network = Network(load(str(model.path)))
    relaxation = Relaxation(network, Region(np.maximum(image - eps, 0), np.minimum(image + eps, 1)))
    bound = execution_error(relaxation, relaxation.crown(relaxation.start()), np.eye(network.nodes[-1].size))
    rng = np.random.default_rng(0)
    x = np.clip(image + 0.99 * eps * rng.choice([-1.0, 0.0, 1.0], (points, image.size)), 0, 1)
    x = x.astype(SINGLE).astype(np.float64)
    true = evaluate(model.network, torch.from_numpy(x)).numpy()
    single = evaluate(model.network.to(torch.float32), torch.from_numpy(x.astype(SINGLE)))
    runs = [model.executor.run(x), single.double().numpy()]
    runs += [np.stack([execute(network, row, order) for row in x]) for order in ORDERS.values()]
    share = max(float((np.abs(run - true) / bound).max()) for run in runs)
    assert share <= 1, "an execution left the stated error bound"
    return share
