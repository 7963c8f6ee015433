"""`advverify geometry`: how decision boundaries run, as figures with their data."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import click

from advverify.verifier.errors import InvalidInput

from ..completion import MODEL
from ..help import Command
from ..options import DATA, SEED, note, output_options
from ..places import page_of, writable_page_or_folder
from ..report.figures import require_report
from ..table import Column, console, show

_SPARE = {"h": 1, "largest in profile": 2}  # columns that a narrow screen does without, in this order


@click.command("geometry", cls=Command)
@click.argument("models", nargs=-1, required=True, type=MODEL)
@click.option("--data", default=None, type=DATA, help="Data set [default: the models' own].")
@click.option(
    "--images", default="0:60", show_default=True, metavar="RANGE", help="Images of the test set: 7, 0:100 or 0:100:5."
)
@click.option(
    "--h",
    type=float,
    default=0.5,
    show_default=True,
    help="Step of finite differences, as a share of the median distance.",
)
@click.option(
    "--length",
    type=float,
    default=None,
    help="l2 length of the perturbations that all images share, the same for all networks [default: twice the median distance of "
    "the first].",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of random directions.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR|FILE.html",
    help="Folder for the page, its figures and their data; or the page alone.",
)
@output_options(rows="with all that was measured")
def command(
    models: tuple[str, ...],
    data: str | None,
    images: str,
    h: float,
    length: float | None,
    seed: int,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Curvature, normals, cross-sections and subspaces of the decision boundaries of MODELS (paths or zoo:NAME).

    ReLU networks have no curvature at a point; all curvature is that of finite differences at the step h.
    """
    if not h > 0:
        raise InvalidInput(f"--h must be above 0, got {h:g}")
    if length is not None and not 0 < length < math.inf:
        raise InvalidInput(f"--length must be a number above 0, got {length:g}")
    if out is not None:
        require_report()
        writable_page_or_folder(out, "--out")
    from ..boundaries import Options, run
    from ..report.geometry_page import HEADS, rows
    from ..subjects import Given

    options = Options(h=h, length=length, seed=seed, out=out)
    result = run(Given(models, data=data, images=images), options, partial(note, quiet=quiet), progress=not quiet)
    if as_json:
        click.echo(result.to_json())
    elif not quiet:
        columns = [Column(name, text=name == "network", spare=_SPARE.get(name, 0)) for name in HEADS]
        show(console(), columns, rows(result))
    if out is not None and not quiet:
        click.echo(f"written to {page_of(out)}", err=as_json)
    return 0
