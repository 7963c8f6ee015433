"""What each part of the MILP encoding buys.

The same minimal-distortion queries (norm inf, digits-mlp, one target: the runner-up) in one run, each row adding one
thing to the row before: symmetric M -> asymmetric M -> binaries of stable ReLUs fixed -> CROWN bounds -> the box of a
PGD upper bound -> rows of ideal formulations (Anderson et al.) separated at the root -> bounds from LPs over what is
unsafe before that. Ratios are of total times with
time-outs counted at the limit, so they are lower estimates.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import click
import numpy as np
import torch

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.attacks import AttackProblem
from advverify.verifier.attacks.minimal import minimal
from advverify.verifier.bounds import InputSet, crown, ibp
from advverify.verifier.encoding import Formulation, encode
from advverify.verifier.engines.root_cuts import strengthened
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.onnx_reader import read_onnx
from advverify.verifier.query import Objective
from advverify.verifier.solvers import SolveOptions, SolverStatus
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.specification import Threat, robustness
from advverify.verifier.tightening import tighten

from .measure import median, table


@dataclass(frozen=True)
class Step:
    """One row of the ablation."""

    name: str
    formulation: Formulation
    crown: bool
    box: bool
    cuts: bool = False
    obbt: bool = False


STEPS = (
    Step("symmetric M", Formulation(symmetric=True, fix_stable=False), False, False),
    Step("+ asymmetric M", Formulation(symmetric=False, fix_stable=False), False, False),
    Step("+ stable binaries fixed", Formulation(), False, False),
    Step("+ CROWN bounds", Formulation(), True, False),
    Step("+ PGD-sized box", Formulation(), True, True),
    Step("+ ideal rows at the root", Formulation(), True, True, True),
    Step("+ bounds from LPs", Formulation(), True, True, True, True),
)


@click.command("encodings")
@click.option("--images", default=3, show_default=True)
@click.option("--timeout", default=60.0, show_default=True)
@click.option("--model", default="digits-mlp", show_default=True)
def command(images: int, timeout: float, model: str) -> None:
    """Solve the same programs with more and more of the encoding."""
    network, data = read_onnx(path_of(model)), load_dataset("digits")
    times: dict[str, list[float]] = {step.name: [] for step in STEPS}
    solved: dict[str, int] = {step.name: 0 for step in STEPS}
    binaries: dict[str, list[int]] = {step.name: [] for step in STEPS}
    for index in range(images):
        image, label = data.images[index].ravel(), int(data.labels[index])
        logits = evaluate(network, torch.tensor(image)[None])[0].numpy()
        target = int(np.argsort(np.where(np.arange(len(logits)) == label, -np.inf, logits))[-1])
        for step in STEPS:
            radius = 1.0
            if step.box:
                wide = robustness(image, label, Threat("inf", 1.0, target=target), len(logits)).disjuncts[0]
                found = minimal(AttackProblem.build(network, [(wide.region, wide.unsafe[0])]))
                radius = min(1.0, float(found.distance[0]))
            disjunct = robustness(image, label, Threat("inf", radius, target=target), len(logits)).disjuncts[0]
            inputs = InputSet.from_regions([disjunct.region])
            bounds = crown(network, inputs) if step.crown else ibp(network, inputs)
            began = time.perf_counter()
            if step.obbt:
                bounds = tighten(network, bounds, disjunct.region, disjunct.unsafe, timeout)
            program = encode(
                network, bounds, disjunct.region, disjunct.unsafe, Objective.MIN_DISTORTION, step.formulation
            )
            if step.cuts:
                program = strengthened(network, program, timeout)
            result = Highs().solve(program, SolveOptions(time_limit=timeout, relative_gap=1e-4, threads=2))
            times[step.name].append(min(time.perf_counter() - began, timeout))
            solved[step.name] += result.status is SolverStatus.OPTIMAL
            binaries[step.name].append(program.binaries)
    rows = []
    before = None
    for step in STEPS:
        total = sum(times[step.name])
        ratio = "-" if before is None else f"{before / total:.1f}"
        count = f"{statistics.median(binaries[step.name]):.0f}"
        rows.append(
            [step.name, f"{solved[step.name]}/{images}", median(times[step.name]), f"{total:.1f}", count, ratio]
        )
        before = total
    header = ["encoding", "solved", "median s", "total s", "binaries (median)", "ratio to row above"]
    click.echo(table(header, rows))
