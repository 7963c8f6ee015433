"""`advverify report`: what a store holds, as one page that needs nothing else."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advverify.verifier.errors import InvalidInput

from ..help import Command
from ..options import note, output_options
from ..places import writable_file, writable_folder
from ..report import summary
from ..report.figures import require_report
from ..table import Column, console, number, show

if TYPE_CHECKING:
    from ..reporting import Report


@click.command("report", cls=Command)
@click.argument("store", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=None, metavar="FILE.html", help="Write a page.")
@click.option("--job", default=None, metavar="NAME", help="Only this job.")
@click.option("--against", type=click.Path(path_type=Path), default=None, help="Another store: what changed since.")
@click.option("--figures", type=click.Path(path_type=Path), default=None, help="Write the figures to this folder too.")
@click.option("--text", is_flag=True, help="A summary on the terminal.")
@output_options(rows="with the numbers")
def command(
    store: Path,
    out: Path | None,
    job: str | None,
    against: Path | None,
    figures: Path | None,
    text: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Report the answers of STORE: shares, curves, cactus plot, gaps, engines, hardest queries, changes."""
    if out is None and not text and not as_json and figures is None:
        raise InvalidInput("choose what to write: -o FILE.html, --figures DIR, --text or --json")
    if out is not None:
        writable_file(out, "--out")
    if figures is not None:
        writable_folder(figures, "--figures")
    if out is not None or figures is not None:
        require_report()
    from ..reporting import read

    report = read(store, job, against)
    if as_json:
        click.echo(report.to_json())
    elif text:
        _text(report)
    if figures is not None:
        report.write_figures(figures)
    if out is not None:
        report.write_page(out, partial(note, quiet=quiet))
    for what, where in (("figures written", figures), ("written", out)):
        if where is not None and not quiet:
            click.echo(f"{what} to {where}", err=as_json)
    return 0


_ZERO = ("robust", "adversarial", "misclassified", "checked")  # columns that are left out where they count nothing
_SPARE = {"checked": 1, "total s": 2, "median s": 3}  # columns that a narrow screen does without, in this order


def _text(report: Report) -> None:
    screen, compared = console(), report.changes
    screen.print(report.answer, style="bold", markup=False)
    names = [
        "question",
        "queries",
        "robust",
        "adversarial",
        "misclassified",
        "unknown",
        "closed",
        "checked",
        "median s",
        "total s",
    ]
    lines = []
    for share in report.shares:
        cells = [str(share[n]) for n in ("queries", *summary.VERDICTS, "closed", "checked")]
        lines.append([share["name"], *cells, number(share["median_seconds"], 3), number(share["total_seconds"], 4)])
    shown = [k for k, name in enumerate(names) if name not in _ZERO or any(line[k] != "0" for line in lines)]
    columns = [Column(names[k], text=names[k] == "question", spare=_SPARE.get(names[k], 0)) for k in shown]
    show(screen, columns, [[line[k] for k in shown] for line in lines])
    for reason, count, where in report.reasons:
        screen.print(f"open: {reason}: {count} ({where})", markup=False)
    for name, count, seconds in report.engines:
        screen.print(f"{name or '-'}: settled {count} in {seconds:.1f} s", markup=False)
    for row in report.open[:10]:
        bracket = f"{number(row['lower'], 4)} … {number(row['upper'], 4)}"
        screen.print(f"open: {summary.group_name(row)}, {row['item']}: {bracket}, {row['seconds']:.1f} s", markup=False)
    if compared is not None:
        plain = {key: value for key, value in compared.items() if key != "verdicts"}
        screen.print(f"against the other store: {json.dumps(plain)}", markup=False)
        for change in compared["verdicts"]:
            screen.print(f"changed: {change['query']}: {change['before']} -> {change['after']}", markup=False)
    for line in report.accidents_in_words:
        screen.print(line, markup=False)
