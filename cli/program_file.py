"""The mixed-integer program of one image as a file, for `export-mip` and for `advverify.export_mip`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from advverify.verifier.api import Model
from advverify.verifier.bounds import InputSet, crown
from advverify.verifier.encoding import Formulation, MixedIntegerProgram, encode, fitted
from advverify.verifier.encoding.files import FORMATS, Listing, write_listing
from advverify.verifier.encoding.formulations.partition import most_groups
from advverify.verifier.engines import MilpOptions
from advverify.verifier.engines.milp.root_cuts import strengthened
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.nodes import Network
from advverify.verifier.query import Objective, Query
from advverify.verifier.specification import Disjunct, Threat, robustness
from advverify.verifier.tightening import tighten

_SAYS = {
    "feasibility": "feasible where an adversarial input lies within eps",
    "min_distortion": "the optimum is the distance of the nearest adversarial input within eps",
    "max_margin": "the optimum is the least y_label - y_other, plus the margin asked for, within eps; below 0 is adversarial",
}


@dataclass(frozen=True)
class WrittenProgram:
    """A program that was written.

    Attributes:
        path: of the file.
        rows: of the program, a quadratic one included.
        columns: likewise.
        binaries: integer columns.
        nonzeros: entries of the matrix.
        quadratic: what of it is not linear: "a quadratic row", "a quadratic objective", or both.
        notes: what is odd about the question or the program, in words.
    """

    path: Path
    rows: int
    columns: int
    binaries: int
    nonzeros: int
    quadratic: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the file and its sizes."""
        sizes = f"{self.rows} rows, {self.columns} columns, {self.binaries} binaries, {self.nonzeros} nonzeros"
        return f"{self.path}: {', '.join([sizes, *self.quadratic])}"


def check_file(path: Path) -> None:
    """Refuse a file whose ending names no format.

    Raises:
        InvalidInput: another ending.
    """
    if path.suffix not in FORMATS:
        raise InvalidInput(f"{path}: the file must end in {' or '.join(FORMATS)}")


def write_program(
    model: Model,
    image: np.ndarray,
    label: int,
    threat: Threat,
    objective: Objective,
    options: MilpOptions,
    seconds: float,
    path: Path,
    about: str,
) -> WrittenProgram:
    """Write the program of one image.

    Args:
        model: that is asked about.
        image: its inputs, in any shape.
        label: its class.
        threat: with a radius above 0.
        objective: of the program.
        options: formulation, bounds from solves and cuts.
        seconds: for bounds, and for cuts.
        path: of the file, whose ending names the format.
        about: names of model and image, for the comments of the file; of printable ASCII (see `printable`).

    Raises:
        InvalidInput: cuts where there is no objective, or a file that cannot be written.
    """
    if objective is Objective.FEASIBILITY and options.cuts != "none":
        raise InvalidInput(
            "cuts at the root raise the relaxation of an objective, and the objective feasibility has none: leave cuts out"
        )
    network, flat = model.network, model.flat(image)
    specification = robustness(flat, label, threat, network.output_size, network.ending)
    Query(network, specification, objective)  # looks whether the network may be asked about these inputs
    form = Formulation(options.formulation, options.fix_stable, options.substitute)
    program, form = _program(network, specification.disjuncts[0], objective, form, options, seconds)
    comments = (
        f"{about}, class {label}",
        _words(threat, objective),
        f"ReLUs: {form}; bounds from solves: {options.tighten}; cuts: {options.cuts}",
    )
    write_listing(Listing(program, comments), path)
    rows, columns = program.matrix.shape
    ball, hessian = program.ball is not None, program.hessian is not None
    return WrittenProgram(
        path,
        rows + ball,
        columns,
        program.binaries,
        program.matrix.nnz,
        (*(["a quadratic row"] if ball else []), *(["a quadratic objective"] if hessian else [])),
        tuple(_notes(model, flat, label, threat, program, form)),
    )


def _notes(
    model: Model, image: np.ndarray, label: int, threat: Threat, program: MixedIntegerProgram, form: Formulation
) -> list[str]:
    """What whoever solves the program should know of it."""
    notes, prediction = list[str](), model.predict(image)
    if prediction != label and threat.target in (None, prediction):
        notes.append(
            f"the image is misclassified, as {prediction} instead of {label}: its distance is 0, and it is a point of the program itself"
        )
    groups = most_groups(program)
    if form.name.startswith("partition-") and groups < int(form.name.rpartition("-")[2]):
        notes.append(
            f"no ReLU of this program reads more than {groups} columns: {form.name} is partition-{groups} here"
        )
    return notes


def _program(
    network: Network, disjunct: Disjunct, objective: Objective, form: Formulation, options: MilpOptions, seconds: float
) -> tuple[MixedIntegerProgram, Formulation]:
    """The program, and the formulation that it could be written by."""
    region, unsafe = disjunct.region, disjunct.unsafe
    assert region.ball is not None
    bounds = crown(network, InputSet.from_regions([region]))
    whole = None
    if options.tighten != "none":
        depth = 0.0
        if objective is Objective.MAX_MARGIN:  # inputs less unsafe than the image itself are of no interest
            logits = evaluate(network, torch.tensor(region.ball.center, dtype=network.dtype)[None])[0].double().numpy()
            depth = min(polytope.violation(logits) for polytope in unsafe)
            depth += 1e-6 * (1 + abs(depth))
        whole = bounds
        bounds = tighten(network, bounds, region, unsafe, seconds, options.tighten, depth)
    form = fitted(form, network, bounds)
    program = encode(network, bounds, region, unsafe, objective, form, whole=whole, quadratic=True)
    if options.cuts != "none":
        program = strengthened(program, seconds)
    return program, form


def _words(threat: Threat, objective: Objective) -> str:
    """What is asked."""
    parts = [f"norm {threat.norm}", f"eps {threat.eps:g}"]
    parts += [] if threat.target is None else [f"target {threat.target}"]
    parts += [f"margin {threat.margin:g}"] if threat.margin else []
    says = _SAYS[objective.value]
    if str(threat.norm) == "2" and objective.value == "min_distortion":
        says = (
            "the optimum is the square of that distance; above eps squared nothing is known but that none is within eps"
        )
    return f"{', '.join(parts)}; {objective.value}: {says}"


def printable(text: str) -> str:
    """Nothing but printable ASCII, as the files have it."""
    return "".join(c if " " <= c <= "~" else "?" for c in Path(text).name)
