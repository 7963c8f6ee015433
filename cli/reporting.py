"""The work of `report`: what a store holds as numbers, as figures, and as one page that needs nothing else."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advverify.verifier.convergence.answers import Source
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import finite, html_table
from advverify.verifier.store import Store

from .jobs import check_job
from .options import write_text
from .report import summary
from .report.store_figures import draw
from .report.store_page import HARDEST, page


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
    def answer(self) -> str:
        """What the answers come to, in a sentence."""
        return summary.answer(self.rows)

    @property
    def reasons(self) -> list[tuple[str, int, str]]:
        """(why queries are open, how many, which), most first."""
        return summary.reasons(self.rows)

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
        record |= {
            "answer": self.answer,
            "unanswered": self.unanswered,
            "shares": self.shares,
            "accidents": self.accidents_in_words,
        }
        record |= {"engines": [{"engine": n, "settled": c, "seconds": s} for n, c, s in self.engines]}
        record |= {"reasons": [{"reason": r, "queries": c, "where": w} for r, c, w in self.reasons]}
        names = ("lower", "upper", "seconds")
        record |= {"open": [{"query": query_name(r), **{n: r[n] for n in names}} for r in self.open]}
        return json.dumps(finite(record | {"changes": self.changes}), allow_nan=False)

    def write_figures(self, folder: Path) -> None:
        """Write the figures as SVG and PNG."""
        draw(self.rows, folder, (".png",))

    def write_page(self, out: Path, say: Callable[[str], None]) -> None:
        """Write the HTML page; `say` hears what it lacks.

        Raises:
            InvalidInput: the file cannot be written.
        """
        with Store(self.store) as opened:
            hardest = [(row, opened.outcome(row["key"])) for row in summary.hardest(self.rows, HARDEST)]
        sources = _sources(self.store, self.job, self.against)
        against = "" if self.against is None else self.against.name
        parts = self.rows, self.unanswered, self.accidents, hardest, self.changes, against, sources
        with tempfile.TemporaryDirectory() as folder:
            text = page(self.store.name, *parts, Path(folder), say)
        write_text(out, text, "--out")

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


def _sources(store: Path, job: str | None, against: Path | None) -> list[Source]:
    """The store, and before it the one that it is compared with."""
    if against is None or against == store:
        return [Source(store, job=job)]
    names = ("before", "now") if against.stem == store.stem else (against.stem, store.stem)
    return [Source(against, names[0]), Source(store, names[1], job)]
