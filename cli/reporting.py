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
from .places import write_text
from .report import summary
from .report.store_figures import draw
from .report.store_page import HARDEST, KEPT, page
from .report.summary import Accidents, Summary

_TRACES = 100_000  # answers whose traces are compared


@dataclass(frozen=True, repr=False)
class Report:
    """What a store holds.

    Attributes:
        store: its path.
        job: the job that is reported, or None for all.
        answers: what is counted of its answers.
        unanswered: queries that have neither an answer nor an accident.
        failed: what is counted of its accidents.
        against: the store that it is compared with, or None.
        changes: verdicts that changed since that one, and what got faster or slower; None without it.
    """

    store: Path
    job: str | None
    answers: Summary
    unanswered: int
    failed: Accidents
    against: Path | None
    changes: dict[str, Any] | None

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One dictionary an answer, read afresh: model, data, item, norm, eps, verdict, lower, upper, engine, seconds and so on."""
        with Store(self.store) as opened:
            return [row for row in opened.rows(self.job) if row["verdict"] is not None]

    @property
    def accidents(self) -> list[dict[str, Any]]:
        """One dictionary an accident; of very many the first ones."""
        return self.failed.rows

    @property
    def answer(self) -> str:
        """What the answers come to, in a sentence."""
        return self.answers.answer

    @property
    def reasons(self) -> list[tuple[str, int, str]]:
        """(why queries are open, how many, which), most first."""
        return self.answers.reasons

    @property
    def shares(self) -> list[dict[str, Any]]:
        """Verdicts and seconds by model and question."""
        return self.answers.shares

    @property
    def engines(self) -> list[tuple[str, int, float]]:
        """(engine, queries that it settled, seconds of those), most first."""
        return self.answers.engines

    @property
    def open(self) -> list[dict[str, Any]]:
        """Rows of the queries that are not settled, the slowest first; of very many the first ones."""
        return [row for row in self.answers.hardest(KEPT) if not summary.settled(row)]

    @property
    def accidents_in_words(self) -> list[str]:
        """One line a kind of accident."""
        return self.failed.words

    def to_json(self) -> str:
        """One line of JSON: shares, engines, open queries, accidents and changes."""
        record = {"schema": 1, "store": str(self.store), "job": self.job, "queries": self.answers.count}
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
        draw(self.answers, folder, (".png",))

    def write_page(self, out: Path, say: Callable[[str], None]) -> None:
        """Write the HTML page; `say` hears what it lacks.

        Raises:
            InvalidInput: the file cannot be written.
        """
        with Store(self.store) as opened:
            hardest = [(row, opened.outcome(row["key"])) for row in self.answers.hardest(HARDEST)]
        sources = _sources(self.store, self.job, self.against)
        against = "" if self.against is None else self.against.name
        parts = self.answers, self.unanswered, self.failed, hardest, self.changes, against, sources
        with tempfile.TemporaryDirectory() as folder:
            text = page(self.store.name, *parts, Path(folder), say)
        write_text(out, text, "--out")

    def __repr__(self) -> str:
        """Return the number of answers of each verdict."""
        known = self.answers.verdicts
        counts = ", ".join(f"{known[verdict]} {verdict}" for verdict in summary.VERDICTS if known[verdict])
        return f"<Report of {self.store.name}: {self.answers.count} answers, {counts}>"

    def _repr_html_(self) -> str:
        """Return the table of shares, for notebooks."""
        return html_table(self.shares)


def read(store: Path, job: str | None = None, against: Path | None = None) -> Report:
    """Read a store, and the one that it is compared with.

    Raises:
        InvalidInput: no store, no such job, or no answers yet.
    """
    answers, accidents, everything = Summary(KEPT), Accidents(KEPT), 0
    with Store(store) as opened:
        check_job(opened, job)
        for row in opened.rows(job):
            everything += 1
            if row["verdict"] is not None:
                answers.add(row)
        for row in opened.accidents(job):
            accidents.add(row["accident"], row["message"], row)
    if not answers.count:
        raise InvalidInput("; ".join([f"{store}: holds no answers yet", *accidents.words]))
    changes = None if against is None else _changes(against, store, job)
    return Report(store, job, answers, everything - answers.count - accidents.count, accidents, against, changes)


def query_name(row: dict[str, Any]) -> str:
    """A query in words."""
    return f"{summary.group_name(row)}, {row['item']}"


def _changes(before: Path, after: Path, job: str | None) -> dict[str, Any]:
    """What changed from one store to another."""
    with Store(before) as old, Store(after) as new:
        sides = [(row for row in rows if row["verdict"] is not None) for rows in (old.rows(), new.rows(job))]
        return summary.changes(before=sides[0], after=sides[1], kept=KEPT)


def _sources(store: Path, job: str | None, against: Path | None) -> list[Source]:
    """The store, and before it the one that it is compared with; of very many answers some, since traces take memory."""
    most = 0
    for path in (store, *([] if against is None else [against])):
        with Store(path) as opened:
            most = max(most, opened.count())
    every = -(-most // _TRACES)
    if against is None or against == store:
        return [Source(store, job=job, every=every)]
    names = ("before", "now") if against.stem == store.stem else (against.stem, store.stem)
    return [Source(against, names[0], every=every), Source(store, names[1], job, every)]
