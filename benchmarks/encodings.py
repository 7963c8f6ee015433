"""What each part of the MILP encoding buys, and what the formulations of the ReLU do.

The same minimal-distortion queries (norm inf, digits-mlp, one target: the runner-up) in one run, each row adding one
thing to the row before: symmetric M -> asymmetric M -> binaries of stable ReLUs fixed -> CROWN bounds -> the box of a
PGD upper bound -> rows of ideal formulations (Anderson et al.) separated at the root -> bounds from LPs over what is
unsafe before that. Ratios are of total times with
time-outs counted at the limit, so they are lower estimates.

With `--formulations` the table is of `encoding.FORMULATIONS` instead, in the box of the PGD upper bound: sizes, the LP relaxation, how
much of the gap it leaves to the best known distance, and the MILP.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass

import click
import numpy as np
import torch

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.attacks import AttackProblem
from advverify.verifier.attacks.minimal import minimal
from advverify.verifier.bounds import InputSet, crown, ibp
from advverify.verifier.encoding import Formulation, MixedIntegerProgram, encode
from advverify.verifier.engines.milp.root_cuts import strengthened
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.nodes import Network
from advverify.verifier.network.onnx_reader import read_onnx
from advverify.verifier.query import Objective
from advverify.verifier.solvers import SolveOptions, SolveResult, SolverStatus
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.specification import Disjunct, Threat, robustness
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
    tighten: bool = False


STEPS = (
    Step("symmetric M", Formulation("symmetric", fix_stable=False), False, False),
    Step("+ asymmetric M", Formulation("asymmetric", fix_stable=False), False, False),
    Step("+ stable binaries fixed", Formulation(), False, False),
    Step("+ CROWN bounds", Formulation(), True, False),
    Step("+ PGD-sized box", Formulation(), True, True),
    Step("+ ideal rows at the root", Formulation(), True, True, True),
    Step("+ bounds from LPs", Formulation(), True, True, True, True),
)


FORMS = ("symmetric", "asymmetric", "partition-2", "partition-4", "partition-8", "extended")


@click.command("encodings")
@click.option("--images", default=3, show_default=True)
@click.option("--timeout", default=60.0, show_default=True)
@click.option("--model", default="digits-mlp", show_default=True)
@click.option("--formulations", is_flag=True, help="The table of formulations instead.")
def command(images: int, timeout: float, model: str, formulations: bool) -> None:
    """Solve the same programs with more and more of the encoding, or by every formulation."""
    queries = list(_queries(model, images))
    click.echo(_formulations(queries, timeout) if formulations else _steps(queries, timeout))


@dataclass(frozen=True)
class _Query:
    """An image and its runner-up."""

    network: Network
    image: np.ndarray
    label: int
    target: int

    def disjunct(self, radius: float) -> Disjunct:
        """The other class on top within a radius."""
        threat = Threat("inf", radius, target=self.target)
        return robustness(self.image, self.label, threat, self.network.output_size).disjuncts[0]

    def attacked(self) -> float:
        """A radius that holds an adversarial input."""
        wide = self.disjunct(1.0)
        found = minimal(AttackProblem.build(self.network, [(wide.region, wide.unsafe[0])]))
        return min(1.0, float(found.distance[0]))


def _queries(model: str, images: int) -> Iterator[_Query]:
    network, data = read_onnx(path_of(model)), load_dataset("digits")
    for index in range(images):
        image, label = data.images[index].ravel(), int(data.labels[index])
        logits = evaluate(network, torch.tensor(image)[None])[0].numpy()
        target = int(np.argsort(np.where(np.arange(len(logits)) == label, -np.inf, logits))[-1])
        yield _Query(network, image, label, target)


def _steps(queries: list[_Query], timeout: float) -> str:
    """One row a step of the encoding."""
    times: dict[str, list[float]] = {step.name: [] for step in STEPS}
    solved: dict[str, int] = {step.name: 0 for step in STEPS}
    binaries: dict[str, list[int]] = {step.name: [] for step in STEPS}
    for query in queries:
        for step in STEPS:
            disjunct = query.disjunct(query.attacked() if step.box else 1.0)
            inputs = InputSet.from_regions([disjunct.region])
            bounds = crown(query.network, inputs) if step.crown else ibp(query.network, inputs)
            began = time.perf_counter()
            if step.tighten:
                bounds = tighten(query.network, bounds, disjunct.region, disjunct.unsafe, timeout)
            program = encode(
                query.network, bounds, disjunct.region, disjunct.unsafe, Objective.MIN_DISTORTION, step.formulation
            )
            if step.cuts:
                program = strengthened(program, timeout)
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
        done = f"{solved[step.name]}/{len(queries)}"
        rows.append([step.name, done, median(times[step.name]), f"{total:.1f}", count, ratio])
        before = total
    header = ["encoding", "solved", "median s", "total s", "binaries (median)", "ratio to row above"]
    return table(header, rows)


@dataclass(frozen=True)
class _Trial:
    """One program by one formulation."""

    program: MixedIntegerProgram
    relaxed: SolveResult
    solved: SolveResult


def _formulations(queries: list[_Query], timeout: float) -> str:
    """One row a formulation; medians, and totals of seconds with time-outs at the limit."""
    trials: dict[str, list[_Trial]] = {name: [] for name in FORMS}
    for query in queries:
        disjunct = query.disjunct(query.attacked())
        bounds = crown(query.network, InputSet.from_regions([disjunct.region]))
        for name in FORMS:
            program = encode(
                query.network,
                bounds,
                disjunct.region,
                disjunct.unsafe,
                Objective.MIN_DISTORTION,
                Formulation(name),
            )
            relaxed = Highs().solve(program.relaxed(), SolveOptions(time_limit=timeout))
            solved = Highs().solve(program, SolveOptions(time_limit=timeout, relative_gap=1e-4, threads=2))
            trials[name].append(_Trial(program, relaxed, solved))
    best = [min(trials[name][i].solved.objective for name in FORMS) for i in range(len(queries))]
    rows = []
    for name in FORMS:
        of = trials[name]
        gaps = [1 - trial.relaxed.dual_bound / known for trial, known in zip(of, best, strict=True)]
        sizes = [(*trial.program.matrix.shape, trial.program.matrix.nnz) for trial in of]
        seconds = [min(trial.solved.seconds, timeout) for trial in of]
        rows.append(
            [
                name,
                *(f"{statistics.median(size):.0f}" for size in zip(*sizes, strict=True)),
                f"{statistics.median(trial.relaxed.dual_bound for trial in of):.5f}",
                f"{100 * statistics.median(gaps):.1f} %",
                f"{statistics.median(trial.relaxed.seconds for trial in of):.3f}",
                f"{sum(trial.solved.status is SolverStatus.OPTIMAL for trial in of)}/{len(of)}",
                median(seconds),
                f"{sum(seconds):.1f}",
            ]
        )
    header = ["formulation", "rows", "columns", "nonzeros", "LP bound", "root gap", "LP s"]
    return table([*header, "solved", "median s", "total s"], rows)
