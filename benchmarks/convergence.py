"""The picture of how bounds converge: both sides of brackets over time, median and quartiles over the queries of each file.

Files are what `advverify distance --out` or `batch run` kept; each is a panel. Gaps are to the best value known of a query in any of
the files, so that panels of the same queries can be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from advverify.cli.report.figures import require_report
from advverify.cli.report.gap_figures import convergences
from advverify.verifier.convergence.answers import Source
from advverify.verifier.convergence.runs import compare

from .measure import table


@click.command("convergence")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--name", "names", multiple=True, help="Title of a file's panel, one a file in order [default: its name]."
)
@click.option("--limit", type=float, default=None, help="Seconds at which the axes end [default: the time limit].")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("docs/convergence.svg"), show_default=True)
def command(files: tuple[Path, ...], names: Sequence[str], limit: float | None, out: Path) -> None:
    """Draw FILES beside each other as one SVG file, and print what the panels end with."""
    require_report()
    if names and (len(names) != len(files) or len(set(names)) < len(names)):
        raise click.ClickException("--name: give every file one, all of them different")
    titles = names or [path.stem for path in files]
    sources = [Source(path, name) for path, name in zip(files, titles, strict=True)]
    comparison = compare(sources, limit=limit)
    for note in comparison.notes:
        click.echo(f"note: {note}", err=True)
    runs = [replace(run, name=f"{run.name}, {run.queries} queries") for run in comparison.runs]
    open_ = [run.name for run in runs if run.primal is None]
    if open_:
        raise click.ClickException(f"{open_[0]}: holds verdicts alone; draw distances or exact margins")
    convergences(runs, out)
    rows = [
        [
            run.name,
            f"{100 * run.closed:.0f} %",
            *(f"{100 * share:.0f} %" for share in run.below),
            f"{run.mean_seconds:.2f}",
        ]
        for run in runs
    ]
    click.echo(table(["run", "closed", "gap <= 1 %", "<= 5 %", "<= 10 %", "shifted geometric mean s"], rows))
    click.echo(f"written to {out}")
