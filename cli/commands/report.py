"""`advverify report`: what a store holds, as one page that needs nothing else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advverify.verifier.errors import InvalidInput

from ..help import Command
from ..options import writable_file, writable_folder, write_text
from ..report import summary
from ..report.figures import require_report
from ..report.store_figures import draw
from ..report.store_page import HARDEST, page
from ..table import Column, console, number, show

if TYPE_CHECKING:
    from advverify.verifier.convergence.answers import Source


@click.command("report", cls=Command)
@click.argument("store", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=None, metavar="FILE.html", help="Write a page.")
@click.option("--job", default=None, metavar="NAME", help="Only this job.")
@click.option("--against", type=click.Path(path_type=Path), default=None, help="Another store: what changed since.")
@click.option("--figures", type=click.Path(path_type=Path), default=None, help="Write the figures to this folder too.")
@click.option("--text", is_flag=True, help="A summary on the terminal.")
def command(
    store: Path, out: Path | None, job: str | None, against: Path | None, figures: Path | None, text: bool
) -> int:
    """Report the answers of STORE: shares, curves, cactus plot, gaps, engines, hardest queries, changes."""
    from advverify.verifier.store import Store

    if out is None and not text and figures is None:
        raise InvalidInput("choose what to write: -o FILE.html, --figures DIR or --text")
    if out is not None:
        writable_file(out, "--out")
    if figures is not None:
        writable_folder(figures, "--figures")
    if out is not None or figures is not None:
        require_report()
    with Store(store) as opened:
        if job is not None and job not in {j["name"] for j in opened.jobs()}:
            raise InvalidInput(f"{store}: has no job '{job}'")
        everything = list(opened.rows(job))
        rows = [row for row in everything if row["verdict"] is not None]
        accidents = list(opened.accidents(job))
        if not rows:
            raise InvalidInput("; ".join([f"{store}: holds no answers yet", *_in_words(accidents)]))
        hardest = [(row, opened.outcome(row["key"])) for row in summary.hardest(rows, HARDEST)]
    before = None if against is None else _before(against)
    compared = None if before is None else summary.changes(before, rows)
    if text:
        _text(rows, compared)
        for line in _in_words(accidents):
            console().print(line, markup=False)
    if figures is not None:
        draw(rows, figures, (".png",))
        click.echo(f"figures written to {figures}")
    if out is not None:
        sources = _sources(store, job, against)
        open_count = len(everything) - len(rows) - len(accidents)
        name = "" if against is None else against.name
        with tempfile.TemporaryDirectory() as folder:
            text_of_page = page(store.name, rows, open_count, accidents, hardest, compared, name, sources, Path(folder))
        write_text(out, text_of_page, "--out")
        click.echo(f"written to {out}")
    return 0


def _in_words(accidents: list[dict[str, Any]]) -> list[str]:
    return summary.accidents_in_words((row["accident"], row["message"]) for row in accidents)


def _before(path: Path) -> list[dict[str, Any]]:
    from advverify.verifier.store import Store

    with Store(path) as store:
        return [row for row in store.rows() if row["verdict"] is not None]


def _sources(store: Path, job: str | None, against: Path | None) -> list[Source]:
    """The store, and before it the one that it is compared with."""
    from advverify.verifier.convergence.answers import Source

    if against is None or against == store:
        return [Source(store, job=job)]
    names = ("before", "now") if against.stem == store.stem else (against.stem, store.stem)
    return [Source(against, names[0]), Source(store, names[1], job)]


_ZERO = ("robust", "adversarial", "misclassified", "checked")  # columns that are left out where they count nothing
_SPARE = {"checked": 1, "total s": 2, "median s": 3}  # columns that a narrow screen does without, in this order


def _text(rows: list[dict[str, Any]], compared: dict[str, Any] | None) -> None:
    screen = console()
    screen.print(summary.answer(rows), style="bold", markup=False)
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
    for share in summary.shares(rows):
        cells = [str(share[n]) for n in ("queries", *summary.VERDICTS, "closed", "checked")]
        lines.append([share["name"], *cells, number(share["median_seconds"], 3), number(share["total_seconds"], 4)])
    shown = [k for k, name in enumerate(names) if name not in _ZERO or any(line[k] != "0" for line in lines)]
    columns = [Column(names[k], text=names[k] == "question", spare=_SPARE.get(names[k], 0)) for k in shown]
    show(screen, columns, [[line[k] for k in shown] for line in lines])
    for reason, count, where in summary.reasons(rows):
        screen.print(f"open: {reason}: {count} ({where})", markup=False)
    for name, count, seconds in summary.engines(rows):
        screen.print(f"{name or '-'}: settled {count} in {seconds:.1f} s", markup=False)
    unsettled = [row for row in rows if not summary.settled(row)]
    for row in summary.hardest(unsettled, 10):
        bracket = f"{number(row['lower'], 4)} … {number(row['upper'], 4)}"
        screen.print(f"open: {summary.group_name(row)}, {row['item']}: {bracket}, {row['seconds']:.1f} s", markup=False)
    if compared is not None:
        plain = {key: value for key, value in compared.items() if key != "verdicts"}
        screen.print(f"against the other store: {json.dumps(plain)}", markup=False)
        for change in compared["verdicts"]:
            screen.print(f"changed: {change['query']}: {change['before']} -> {change['after']}", markup=False)
