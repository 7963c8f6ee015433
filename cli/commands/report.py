"""`advverify report`: what a store holds, as one page that needs nothing else."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from advverify.verifier.errors import InvalidInput

from ..options import writable_file, writable_folder, write_text
from ..report import summary
from ..report.figures import require_report
from ..report.page import data_address, render
from ..report.store_figures import draw, thumbnail
from ..report.summary import Accidents, Summary
from ..table import Column, console, number, show

if TYPE_CHECKING:
    from advverify.models.datasets import Dataset
    from advverify.verifier.convergence.answers import Source
    from advverify.verifier.outcome import Outcome

_HARDEST, _ROWS = 40, 20_000
_TRACES = 100_000  # answers whose traces are compared


@click.command("report")
@click.argument("store", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=None, help="The HTML file.")
@click.option("--job", default=None, help="Only this job.")
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
    answers, accidents, everything = summary.Summary(_ROWS), summary.Accidents(_ROWS), 0
    with Store(store) as opened:
        if job is not None and job not in {j["name"] for j in opened.jobs()}:
            raise InvalidInput(f"{store}: has no job '{job}'")
        for row in opened.rows(job):
            everything += 1
            if row["verdict"] is not None:
                answers.add(row)
        for row in opened.accidents(job):
            accidents.add(row["accident"], row["message"], row)
        if not answers.count:
            raise InvalidInput("; ".join([f"{store}: holds no answers yet", *accidents.words]))
        hardest = [(row, opened.outcome(row["key"])) for row in answers.hardest(_HARDEST)]
    compared = None if against is None else _changes(against, store, job)
    if text:
        _text(answers, compared)
        for line in accidents.words:
            console().print(line, markup=False)
    if figures is not None:
        draw(answers, figures, ("png", "svg"))
        click.echo(f"figures written to {figures}")
    if out is not None:
        sources = _sources(store, job, against)
        open_count = everything - answers.count - accidents.count
        page = _page(str(store.name), answers, open_count, accidents, hardest, compared, against, sources)
        write_text(out, page, "--out")
        click.echo(f"written to {out}")
    return 0


def _changes(before: Path, after: Path, job: str | None) -> dict[str, Any]:
    """What changed from one store to another."""
    from advverify.verifier.store import Store

    with Store(before) as old, Store(after) as new:
        sides = [(row for row in rows if row["verdict"] is not None) for rows in (old.rows(), new.rows(job))]
        return summary.changes(before=sides[0], after=sides[1], kept=_ROWS)


def _page(
    name: str,
    answers: Summary,
    open_count: int,
    accidents: Accidents,
    hardest: list[tuple[dict[str, Any], Outcome | None]],
    compared: dict[str, Any] | None,
    against: Path | None,
    sources: list[Source],
) -> str:
    pictures = _Pictures()
    shown = [_hard(row, outcome, pictures) for row, outcome in hardest]
    table = [
        [
            row["model"],
            summary.group_name(row).removeprefix(row["model"] + ", "),
            row["item"],
            row["verdict"],
            row["lower"],
            row["upper"],
            row["engine"],
            row["seconds"],
        ]
        for row in answers.hardest(_ROWS)
    ]
    with tempfile.TemporaryDirectory() as folder:
        return render(
            "report.html",
            title=f"Report of {name}",
            count=answers.count,
            open_count=open_count,
            accidents=[{**row, "name": f"{summary.group_name(row)}, {row['item']}"} for row in accidents.rows],
            accident_count=accidents.count,
            total_seconds=answers.total_seconds,
            verdicts=[(v, answers.verdicts[v]) for v in summary.VERDICTS if answers.verdicts[v]],
            shares=answers.shares(),
            figures=draw(answers, Path(folder)),
            against=compared,
            against_name="" if against is None else against.name,
            hardest=shown,
            pictures=any(any(entry["images"]) for entry in shown),
            table=table,
            left_out=answers.count > len(table),
            **_gaps(sources, Path(folder)),
        )


def _sources(store: Path, job: str | None, against: Path | None) -> list[Source]:
    """The store, and before it the one that it is compared with; of very many answers some, since traces take memory."""
    from advverify.verifier.convergence.answers import Source
    from advverify.verifier.store import Store

    most = 0
    for path in (store, *([] if against is None else [against])):
        with Store(path) as opened:
            most = max(most, opened.count())
    every = -(-most // _TRACES)
    if against is None or against == store:
        return [Source(store, job=job, every=every)]
    names = ("before", "now") if against.stem == store.stem else (against.stem, store.stem)
    return [Source(against, names[0], every=every), Source(store, names[1], job, every)]


def _gaps(sources: list[Source], folder: Path) -> dict[str, Any]:
    """The chapter about gaps; answers without traces have none, and the page says so."""
    from advverify.verifier.convergence.runs import compare

    from ..report.gap_page import chapter

    try:
        comparison = compare(sources, hardest=_HARDEST)
    except InvalidInput as error:
        return {"gaps": None, "no_gaps": str(error)}
    if sources[0].every > 1:
        some = f"of so many answers this chapter looks at one in {sources[0].every}; `advverify gap` looks at all"
        comparison.notes.append(some)
    return {"gaps": chapter(comparison, sources, folder), "no_gaps": ""}


def _hard(row: dict[str, Any], outcome: Outcome | None, pictures: _Pictures) -> dict[str, Any]:
    """One row of the table of the hardest queries."""
    statistics = {} if outcome is None else outcome.statistics
    finite = [] if outcome is None else [e.lower for e in outcome.trace if math.isfinite(e.lower)]
    return {
        "key": row["key"],
        "name": f"{summary.group_name(row)}, {row['item']}",
        "verdict": row["verdict"],
        "lower": row["lower"],
        "upper": row["upper"],
        "root": finite[0] if finite else None,
        "nodes": statistics.get("nodes", "–"),
        "unstable": statistics.get("unstable_relus", "–"),
        "engine": row["engine"] or "–",
        "seconds": row["seconds"],
        "images": pictures.of(row, outcome),
    }


class _Pictures:
    """Images of the data sets that can be loaded here, each set once."""

    def __init__(self) -> None:
        self._sets: dict[str, Dataset | None] = {}

    def of(self, row: dict[str, Any], outcome: Outcome | None) -> list[str | None]:
        """Image, adversarial example and their difference as data addresses; None for what there is not."""
        data = None if row["kind"] == "verify" else self._load(row["data"])
        if data is None:
            return [None, None, None]
        image, shape = data.images[int(row["item"])].ravel(), data.images.shape[1:]
        if len(shape) != 3:
            return [None, None, None]
        witness = None if outcome is None else outcome.bracket.witness
        found: list[str | None] = [data_address(thumbnail(image, shape))]
        if (
            row["verdict"] != "adversarial"
            or witness is None
            or witness.size != image.size
            or np.array_equal(witness, image)
        ):
            return [*found, None, None]
        return [
            *found,
            data_address(thumbnail(witness, shape)),
            data_address(thumbnail(witness - image, shape, signed=True)),
        ]

    def _load(self, name: str) -> Dataset | None:
        from advverify.models.datasets import load_dataset

        if name not in self._sets:
            try:
                self._sets[name] = load_dataset(name)
            except InvalidInput as error:
                click.echo(f"note: no pictures of {name}: {error}", err=True)
                self._sets[name] = None
        return self._sets[name]


_SPARE = {"checked": 1, "total s": 2, "median s": 3}  # columns that a narrow screen does without, in this order


def _text(answers: Summary, compared: dict[str, Any] | None) -> None:
    screen = console()
    names = [
        "question",
        "queries",
        "robust",
        "adversarial",
        "misclassified",
        "unknown",
        "checked",
        "median s",
        "total s",
    ]
    lines = []
    for share in answers.shares():
        cells = [str(share[n]) for n in ("queries", *summary.VERDICTS, "checked")]
        lines.append([share["name"], *cells, number(share["median_seconds"], 3), number(share["total_seconds"], 4)])
    show(screen, [Column(name, text=name == "question", spare=_SPARE.get(name, 0)) for name in names], lines)
    for name, count, seconds in answers.engines:
        screen.print(f"{name or '-'}: settled {count} in {seconds:.1f} s", markup=False)
    for row in [row for row in answers.hardest(10) if not summary.settled(row)]:
        bracket = f"{number(row['lower'], 4)} … {number(row['upper'], 4)}"
        screen.print(f"open: {summary.group_name(row)}, {row['item']}: {bracket}, {row['seconds']:.1f} s", markup=False)
    if compared is not None:
        plain = {key: value for key, value in compared.items() if key != "verdicts"}
        screen.print(f"against the other store: {json.dumps(plain)}", markup=False)
        for change in compared["verdicts"]:
            screen.print(f"changed: {change['query']}: {change['before']} -> {change['after']}", markup=False)
