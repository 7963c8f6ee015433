"""The work of `report`: what a store holds as numbers, as figures, and as one page that needs nothing else."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from advverify.models.datasets import Dataset, load_dataset
from advverify.verifier.convergence.answers import Source
from advverify.verifier.convergence.runs import compare
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Outcome, finite, html_table
from advverify.verifier.store import Store

from .jobs import check_job
from .options import write_text
from .report import summary
from .report.gap_page import chapter
from .report.page import data_address, render
from .report.store_figures import draw, thumbnail

_HARDEST, _ROWS = 40, 20_000


@dataclass(frozen=True, repr=False)
class Report:
    """What a store holds.

    Attributes:
        store: its path.
        job: the job that is reported, or None for all.
        rows: one dictionary an answer: model, data, item, norm, eps, verdict, lower, upper, engine, seconds and so on.
        unanswered: queries that have neither an answer nor an accident.
        accidents: one dictionary an accident.
        against: the store that it is compared with, or None.
        changes: verdicts that changed since that one, and what got faster or slower; None without it.
    """

    store: Path
    job: str | None
    rows: list[dict[str, Any]]
    unanswered: int
    accidents: list[dict[str, Any]]
    against: Path | None
    changes: dict[str, Any] | None

    @property
    def shares(self) -> list[dict[str, Any]]:
        """Verdicts and seconds by model and question."""
        return summary.shares(self.rows)

    @property
    def engines(self) -> list[tuple[str, int, float]]:
        """(engine, queries that it settled, seconds of those), most first."""
        return summary.engines(self.rows)

    @property
    def open(self) -> list[dict[str, Any]]:
        """Rows of the queries that are not settled, the slowest first."""
        left = [row for row in self.rows if not summary.settled(row)]
        return summary.hardest(left, len(left))

    @property
    def accidents_in_words(self) -> list[str]:
        """One line a kind of accident."""
        return summary.accidents_in_words((row["accident"], row["message"]) for row in self.accidents)

    def to_json(self) -> str:
        """One line of JSON: shares, engines, open queries, accidents and changes."""
        record = {"schema": 1, "store": str(self.store), "job": self.job, "queries": len(self.rows)}
        record |= {"unanswered": self.unanswered, "shares": self.shares, "accidents": self.accidents_in_words}
        record |= {"engines": [{"engine": n, "settled": c, "seconds": s} for n, c, s in self.engines]}
        names = ("lower", "upper", "seconds")
        record |= {"open": [{"query": query_name(r), **{n: r[n] for n in names}} for r in self.open]}
        return json.dumps(finite(record | {"changes": self.changes}), allow_nan=False)

    def write_figures(self, folder: Path) -> None:
        """Write the figures as PNG and SVG."""
        draw(self.rows, folder, ("png", "svg"))

    def write_page(self, out: Path, say: Callable[[str], None]) -> None:
        """Write the HTML page; `say` hears what it lacks.

        Raises:
            InvalidInput: the file cannot be written.
        """
        with Store(self.store) as opened:
            hardest = [(row, opened.outcome(row["key"])) for row in summary.hardest(self.rows, _HARDEST)]
        sources = _sources(self.store, self.job, self.against)
        parts = self.rows, self.unanswered, self.accidents, hardest, self.changes, self.against, sources
        write_text(out, _page(self.store.name, *parts, say), "--out")

    def __repr__(self) -> str:
        """Return the number of answers of each verdict."""
        counts = ", ".join(
            f"{count} {verdict}"
            for verdict in summary.VERDICTS
            if (count := sum(row["verdict"] == verdict for row in self.rows))
        )
        return f"<Report of {self.store.name}: {len(self.rows)} answers, {counts}>"

    def _repr_html_(self) -> str:
        """Return the table of shares, for notebooks."""
        return html_table(self.shares)


def read(store: Path, job: str | None = None, against: Path | None = None) -> Report:
    """Read a store, and the one that it is compared with.

    Raises:
        InvalidInput: no store, no such job, or no answers yet.
    """
    with Store(store) as opened:
        check_job(opened, job)
        everything = list(opened.rows(job))
        accidents = list(opened.accidents(job))
    rows = [row for row in everything if row["verdict"] is not None]
    if not rows:
        words = summary.accidents_in_words((row["accident"], row["message"]) for row in accidents)
        raise InvalidInput("; ".join([f"{store}: holds no answers yet", *words]))
    changes = None if against is None else summary.changes(_before(against), rows)
    return Report(store, job, rows, len(everything) - len(rows) - len(accidents), accidents, against, changes)


def query_name(row: dict[str, Any]) -> str:
    """A query in words."""
    return f"{summary.group_name(row)}, {row['item']}"


def _before(path: Path) -> list[dict[str, Any]]:
    with Store(path) as store:
        return [row for row in store.rows() if row["verdict"] is not None]


def _page(
    name: str,
    rows: list[dict[str, Any]],
    open_count: int,
    accidents: list[dict[str, Any]],
    hardest: list[tuple[dict[str, Any], Outcome | None]],
    compared: dict[str, Any] | None,
    against: Path | None,
    sources: list[Source],
    say: Callable[[str], None],
) -> str:
    counts = [(v, sum(row["verdict"] == v for row in rows)) for v in summary.VERDICTS]
    pictures = _Pictures(say)
    shown = [_hard(row, outcome, pictures) for row, outcome in hardest]
    held = summary.hardest(rows, _ROWS)
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
        for row in held
    ]
    with tempfile.TemporaryDirectory() as folder:
        return render(
            "report.html",
            title=f"Report of {name}",
            rows=rows,
            open_count=open_count,
            accidents=[{**row, "name": f"{summary.group_name(row)}, {row['item']}"} for row in accidents[:_ROWS]],
            accident_count=len(accidents),
            total_seconds=sum(row["seconds"] for row in rows),
            verdicts=[(v, n) for v, n in counts if n],
            shares=summary.shares(rows),
            figures=draw(rows, Path(folder)),
            against=compared,
            against_name="" if against is None else against.name,
            hardest=shown,
            pictures=any(any(entry["images"]) for entry in shown),
            table=table,
            left_out=len(rows) > len(held),
            **_gaps(sources, Path(folder)),
        )


def _sources(store: Path, job: str | None, against: Path | None) -> list[Source]:
    """The store, and before it the one that it is compared with."""
    if against is None or against == store:
        return [Source(store, job=job)]
    names = ("before", "now") if against.stem == store.stem else (against.stem, store.stem)
    return [Source(against, names[0]), Source(store, names[1], job)]


def _gaps(sources: list[Source], folder: Path) -> dict[str, Any]:
    """The chapter about gaps; answers without traces have none, and the page says so."""
    try:
        comparison = compare(sources, hardest=_HARDEST)
    except InvalidInput as error:
        return {"gaps": None, "no_gaps": str(error)}
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

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
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
        if name not in self._sets:
            try:
                self._sets[name] = load_dataset(name)
            except InvalidInput as error:
                self._say(f"no pictures of {name}: {error}")
                self._sets[name] = None
        return self._sets[name]
