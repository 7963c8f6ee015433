"""`advverify geometry`: how decision boundaries run, as figures with their data."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advverify.verifier.errors import InvalidInput

from ..options import SEED, note, output_options, writable_folder
from ..report.figures import require_report
from ..table import Column, console, show

if TYPE_CHECKING:
    from ..boundaries import Geometry


@click.command("geometry")
@click.argument("models", nargs=-1, required=True)
@click.option("--data", default=None, help="digits, mnist:DIR, cifar10:DIR or npz:FILE [default: the models' own].")
@click.option("--images", default="0:60", show_default=True, help="Images of the test set: 0:100 or 0:100:5.")
@click.option("--h", type=float, default=0.5, show_default=True, help="Step, as a share of the median distance.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the figures and their data.")
@output_options(rows="with all that was measured")
def command(
    models: tuple[str, ...], data: str | None, images: str, h: float, seed: int, out: Path, as_json: bool, quiet: bool
) -> int:
    """Curvature, normals, cross-sections and subspaces of the decision boundaries of MODELS (paths or zoo:NAME).

    ReLU networks have no curvature at a point; all curvature is that of finite differences at the step h.
    """
    if not h > 0:
        raise InvalidInput(f"--h must be above 0, got {h:g}")
    require_report()
    writable_folder(out, "--out")
    from ..boundaries import Options, run
    from ..subjects import Given

    options = Options(h=h, seed=seed, out=out)
    result = run(Given(models, data=data, images=images), options, partial(note, quiet=quiet), progress=not quiet)
    if as_json:
        click.echo(result.to_json())
    elif not quiet:
        _show(result)
    if not quiet:
        click.echo(f"written to {out}", err=as_json)
    return 0


_SPARE = {"h": 1, "images": 2}  # columns that a narrow screen does without, in this order


def _show(result: Geometry) -> None:
    rows = result.rows()
    cells = [
        [
            row["network"],
            str(row["images"]),
            *("-" if value is None else f"{value:.3g}" for value in list(row.values())[2:]),
        ]
        for row in rows
    ]
    show(console(), [Column(name, text=name == "network", spare=_SPARE.get(name, 0)) for name in rows[0]], cells)
