"""`advverify compare`: the certified radii of several networks, on the images that all of them classify rightly."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from advverify.verifier.errors import InvalidInput

from ..completion import MODEL
from ..help import Command
from ..options import COUNT, DATA, SEED, norm_option, note, output_options
from ..places import page_of, writable_page_or_folder
from ..report.page import p_range, percent
from ..table import Column, bracket, console, number, show

if TYPE_CHECKING:
    from advverify.models.comparison.compare import Comparison


@click.command("compare", cls=Command)
@click.argument("models", nargs=-1, required=True, type=MODEL)
@norm_option(choices="1|2|inf")
@click.option("--data", default=None, type=DATA, help="Data set [default: the models' own].")
@click.option(
    "--images", default="0:100", show_default=True, metavar="RANGE", help="Images of the test set: 7, 0:100 or 0:100:5."
)
@click.option(
    "--eps-grid",
    default="",
    metavar="EPS,...",
    help="Radii at which accuracies are listed [default: three, from the data].",
)
@click.option("--gap", type=float, default=0.01, show_default=True, help="Relative gap of a closed bracket.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds an image.")
@click.option("--jobs", type=COUNT, default=None, help="Images worked on at the same time [default: one a core].")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of attacks.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR|FILE.html",
    help="Folder for page, pictures, JSON and brackets; or the page alone.",
)
@output_options(rows="with the comparison")
def command(
    models: tuple[str, ...],
    data: str | None,
    images: str,
    eps_grid: str,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Compare the certified radii of MODELS (paths or zoo:NAME).

    With a folder as --out every bracket is kept there, and a comparison that was stopped goes on where it was.
    """
    from ..comparing import Options, run
    from ..subjects import Given

    grid = _grid(eps_grid)
    if out is not None:
        writable_page_or_folder(out, "--out")
    chosen = Options(eps_grid=grid, out=out, **options)
    try:
        result = run(Given(models, data=data, images=images), chosen, partial(note, quiet=quiet), progress=not quiet)
    except KeyboardInterrupt as stop:
        if chosen.folder is None:
            stop.add_note("nothing is kept: with a folder as --out a comparison goes on where it was")
        else:
            stop.add_note(f"{chosen.folder} keeps the brackets, and the same command goes on from there")
        raise
    if as_json:
        click.echo(result.to_json(indent=None))
    elif quiet:
        _show_answer(result)
        _show_conclusions(result)
    else:
        _show(result)
    if out is not None and not quiet:
        click.echo(f"written to {page_of(out)}", err=as_json)
    return 0


def _grid(text: str) -> tuple[float, ...]:
    try:
        grid = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise InvalidInput(f"--eps-grid takes radii like 0.02,0.05,0.1, got '{text}'") from None
    if text and not grid:
        raise InvalidInput(f"--eps-grid '{text}' holds no radius: leave it out for three from the data")
    return grid


_SPARE = {"ReLUs": 1, "median s": 2, "unstable": 3}  # columns that a narrow screen does without, in this order


def _show(result: Comparison) -> None:
    """The answer, then tables, on the terminal."""
    _show_answer(result)
    screen, rows, count = console(), result.rows(), len(result.images)
    title = f"{count} of {result.asked} images of {result.data} (rightly classified by all), norm {result.norm}"
    columns = ["network", "accuracy", "median radius", "closed", "ReLUs", "unstable", "median s"]
    if any(n.certificates for n in result.networks):
        columns.insert(4, "Lipschitz")
    lines = []
    for row in rows:
        cells = [
            row["network"],
            percent(row["clean_accuracy"]),
            bracket(row["median_radius"]),
            f"{row['closed_images']} of {row['of']}",
        ]
        if "Lipschitz" in columns:
            cells.append(number(row.get("median_lipschitz_certificate"), 4))
        cells += [str(row["relus"]), number(row["unstable_relus"], 4), number(row["median_seconds"], 3)]
        lines.append(cells)
    show(screen, [Column(name, text=name == "network", spare=_SPARE.get(name, 0)) for name in columns], lines, title)
    if result.grid:
        title = f"Right under PGD / certified at a radius, of these {count} images"
        lines = [
            [
                row["network"],
                *(f"{percent(c['pgd_accuracy'])} / {percent(c['certified_accuracy'])}" for c in row["at"]),
            ]
            for row in rows
        ]
        show(screen, [Column("network", text=True), *(Column(f"{eps:g}") for eps in result.grid)], lines, title)
    _show_conclusions(result)


def _show_answer(result: Comparison) -> None:
    """What was found, in a sentence."""
    from advverify.models.comparison.contrast import headline

    screen, answer = console(), headline(result)
    if answer is not None:
        screen.print(answer.sentence, style="bold", markup=False)
        screen.print(answer.detail, markup=False)


def _show_conclusions(result: Comparison) -> None:
    """Lines below the tables."""
    screen = console()
    for pair, wilcoxon in zip(result.pairs, result.adjusted, strict=True):
        screen.print(
            f"{pair.first} against {pair.second}: larger on {pair.larger}, smaller on {pair.smaller}, undecided on "
            f"{pair.undecided}; median ratio {bracket(pair.ratio, 3)}; p sign {p_range(pair.sign)}, "
            f"Wilcoxon (Holm) {p_range(wilcoxon)}",
            markup=False,
        )
    for group in result.groups:
        test = "" if group.p_value is None else f", p {p_range(group.p_value)} against the first"
        screen.print(
            f"{group.name}: {len(group.members)} seeds, mean accuracy {percent(float(np.mean(group.accuracy)))}, mean of "
            f"median radii {bracket(group.mean_radius)}{test}",
            markup=False,
        )
    for line in result.findings:
        screen.print(f"sanity: {line}", style="yellow", markup=False)
    if not result.findings:
        screen.print("sanity: nothing is off")
