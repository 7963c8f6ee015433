"""`advverify export-mip`: a query as a file for any MIP solver."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advverify.verifier.errors import InvalidInput

from ..help import Command
from ..options import (
    DATA,
    apply,
    data_for,
    images_from,
    model_path,
    norm_option,
    threat_from,
    threat_options,
)
from ..search import cuts_option, formulation_options, tighten_option

if TYPE_CHECKING:
    from advverify.verifier.encoding import Formulation, MixedIntegerProgram
    from advverify.verifier.network.nodes import Network
    from advverify.verifier.query import Objective
    from advverify.verifier.specification import Disjunct, Threat

_SAYS = {
    "feasibility": "feasible where an adversarial input lies within eps",
    "min_distortion": "the optimum is the distance of the nearest adversarial input within eps",
    "max_margin": "the optimum is the least y_label - y_other, plus the margin asked for, within eps; below 0 is adversarial",
}


@click.command("export-mip", cls=Command)
@click.argument("model")
@click.argument("output", type=click.Path(path_type=Path))
@apply(
    norm_option(),
    click.option("--eps", type=float, required=True, help="Radius of the ball that the program is about."),
    click.option(
        "--objective",
        type=click.Choice(list(_SAYS)),
        default="min_distortion",
        show_default=True,
        help="Is there an adversarial input within eps, how near is the nearest, or what is the least margin "
        "y_label - y_other?",
    ),
    formulation_options(),
    tighten_option("none"),
    cuts_option("none"),
    click.option(
        "--timeout", type=float, default=60.0, show_default=True, help="Seconds for --tighten, and for --cuts."
    ),
    click.option("--data", default=None, metavar=DATA, help="Data set [default: the model's own]."),
    click.option("--images", default="0", show_default=True, metavar="INDEX", help="One image of the test set."),
    threat_options(),
)
def command(model: str, output: Path, **options: Any) -> int:
    """Write the mixed-integer program of one image of MODEL to OUTPUT (.mps or .lp).

    Norm 2 makes the objective of a distance quadratic, its square, and brings a quadratic row into the other programs.
    """
    from advverify.verifier.api import Model
    from advverify.verifier.encoding import Formulation
    from advverify.verifier.encoding.files import FORMATS, Listing, write_listing
    from advverify.verifier.encoding.formulations.partition import most_groups
    from advverify.verifier.query import Objective
    from advverify.verifier.specification import robustness

    if output.suffix not in FORMATS:
        raise InvalidInput(f"{output}: the file must end in {' or '.join(FORMATS)}")
    if not (options["timeout"] > 0):
        raise InvalidInput(f"--timeout must be a number of seconds above 0, got {options['timeout']:g}")
    objective = Objective(options["objective"])
    form = Formulation(options["formulation"], options["fix_stable"], options["substitute"])
    if objective is Objective.FEASIBILITY and options["cuts"] != "none":
        raise InvalidInput("--cuts root raises the relaxation of an objective, and --objective feasibility has none")
    threat = threat_from({**options, "float32": False})
    if options["eps"] == 0:
        raise InvalidInput("--eps 0 leaves nothing but the image itself, which needs no program: give a radius above 0")
    opened = Model(model_path(model))
    network = opened.network
    if options["tie_channels"]:
        threat = replace(threat, channels=opened.channels())
    images = data_for(opened, options["data"], threat.valid_range, options["bytes_as"])
    chosen = images_from(options["images"], len(images))
    if len(chosen) != 1:
        raise InvalidInput(f"--images {options['images']}: a program is of one image, such as --images {chosen[0]}")
    index = chosen[0]
    images.check_range([index], threat.valid_range, option=True)
    label = int(images.labels[index])
    specification = robustness(images.images[index], label, threat, network.output_size, network.ending)
    program, form = _program(network, specification.disjuncts[0], objective, form, options)
    comments = (
        f"{_printable(model)}, image {index} of {_printable(images.name)}, class {label}",
        _words(threat, objective),
        f"ReLUs: {form}; bounds from solves: {options['tighten']}; cuts: {options['cuts']}",
    )
    write_listing(Listing(program, comments), output)
    groups = most_groups(program)
    if form.name.startswith("partition-") and groups < int(form.name.rpartition("-")[2]):
        click.echo(
            f"note: no ReLU of this program reads more than {groups} columns: {form.name} is partition-{groups} here",
            err=True,
        )
    rows, columns = program.matrix.shape
    rows += program.ball is not None
    quadratic = "" if program.ball is None else ", a quadratic row"
    quadratic += "" if program.hessian is None else ", a quadratic objective"
    sizes = f"{rows} rows, {columns} columns, {program.binaries} binaries, {program.matrix.nnz} nonzeros"
    click.echo(f"{output}: {sizes}{quadratic}")
    return 0


def _program(
    network: Network, disjunct: Disjunct, objective: Objective, form: Formulation, options: dict[str, Any]
) -> tuple[MixedIntegerProgram, Formulation]:
    """The program, and the formulation that it could be written by."""
    import torch

    from advverify.verifier.bounds import InputSet, crown
    from advverify.verifier.encoding import encode, fitted
    from advverify.verifier.engines.milp.root_cuts import strengthened
    from advverify.verifier.network.evaluate import evaluate
    from advverify.verifier.query import Objective
    from advverify.verifier.tightening import tighten

    region, unsafe = disjunct.region, disjunct.unsafe
    assert region.ball is not None
    bounds = crown(network, InputSet.from_regions([region]))
    whole = None
    if options["tighten"] != "none":
        depth = 0.0
        if objective is Objective.MAX_MARGIN:  # inputs less unsafe than the image itself are of no interest
            logits = evaluate(network, torch.tensor(region.ball.center, dtype=network.dtype)[None])[0].double().numpy()
            depth = min(polytope.violation(logits) for polytope in unsafe)
            depth += 1e-6 * (1 + abs(depth))
        whole = bounds
        bounds = tighten(network, bounds, region, unsafe, options["timeout"], options["tighten"], depth)
    form = fitted(form, network, bounds)
    program = encode(network, bounds, region, unsafe, objective, form, whole=whole, quadratic=True)
    if options["cuts"] != "none":
        program = strengthened(program, options["timeout"])
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


def _printable(text: str) -> str:
    """Nothing but printable ASCII, as the files have it."""
    return "".join(c if " " <= c <= "~" else "?" for c in Path(text).name)
