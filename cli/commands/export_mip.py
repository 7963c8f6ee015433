"""`advverify export-mip`: a query as a file for any MIP solver."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from advverify.verifier.errors import InvalidInput

from ..completion import MODEL
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
from ..search import cuts_option, formulation_options, milp_from, tighten_option

_OBJECTIVES = ("feasibility", "min_distortion", "max_margin")


@click.command("export-mip", cls=Command)
@click.argument("model", type=MODEL)
@click.argument("output", type=click.Path(path_type=Path))
@apply(
    norm_option(),
    click.option("--eps", type=float, required=True, help="Radius of the ball that the program is about."),
    click.option(
        "--objective",
        type=click.Choice(_OBJECTIVES),
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
    click.option("--data", default=None, type=DATA, help="Data set [default: the model's own]."),
    click.option("--images", default="0", show_default=True, metavar="INDEX", help="One image of the test set."),
    threat_options(),
)
def command(model: str, output: Path, **options: Any) -> int:
    """Write the mixed-integer program of one image of MODEL to OUTPUT (.mps or .lp).

    Norm 2 makes the objective of a distance quadratic, its square, and brings a quadratic row into the other programs.
    """
    from advverify.verifier.api import Model
    from advverify.verifier.query import Objective

    from ..program_file import check_file, printable, write_program

    check_file(output)
    if not (options["timeout"] > 0):
        raise InvalidInput(f"--timeout must be a number of seconds above 0, got {options['timeout']:g}")
    objective = Objective(options["objective"])
    if objective is Objective.FEASIBILITY and options["cuts"] != "none":
        raise InvalidInput(
            "--cuts root raises the relaxation of an objective, and --objective feasibility has none: leave --cuts out"
        )
    milp = milp_from({"solver": "highs", "targets": "joint", **options})
    threat = threat_from({**options, "float32": False})
    if options["eps"] == 0:
        raise InvalidInput("--eps 0 leaves nothing but the image itself, which needs no program: give a radius above 0")
    opened = Model(model_path(model))
    if options["tie_channels"]:
        threat = replace(threat, channels=opened.channels())
    images = data_for(opened, options["data"], threat.valid_range, options["bytes_as"])
    chosen = images_from(options["images"], len(images))
    if len(chosen) != 1:
        raise InvalidInput(f"--images {options['images']}: a program is of one image, such as --images {chosen[0]}")
    index = chosen[0]
    images.check_range([index], threat.valid_range, option=True)
    label = int(images.labels[index])
    written = write_program(
        opened,
        images.images[index],
        label,
        threat,
        objective,
        milp,
        options["timeout"],
        output,
        f"{printable(model)}, image {index} of {printable(images.name)}",
    )
    for note in written.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(str(written))
    return 0
