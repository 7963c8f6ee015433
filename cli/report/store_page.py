"""The page of `advverify report`: what a store's answers come to, and how they were got."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advverify.verifier.errors import InvalidInput

from . import summary
from .page import render
from .store_figures import draw
from .summary import Accidents, Summary
from .thumbnails import difference, is_picture, thumbnail

if TYPE_CHECKING:
    from advverify.models.datasets import Dataset
    from advverify.verifier.convergence.answers import Source
    from advverify.verifier.outcome import Outcome

HARDEST, KEPT = 40, 20_000  # queries that are shown with pictures, and in the table
_QUANTITIES = {"distance": "Distances", "margin": "Margins", "property": "Properties", "attack": "Attacks"}
Row = summary.Row


def page(
    name: str,
    answers: Summary,
    open_count: int,
    accidents: Accidents,
    hardest: Sequence[tuple[Row, Outcome | None]],
    compared: dict[str, Any] | None,
    against: str,
    sources: Sequence[Source],
    folder: Path,
    say: Callable[[str], None],
) -> str:
    """The page as text; its figures are written to a folder.

    Args:
        name: of the store.
        answers: what is counted of answered queries.
        open_count: queries that were not run yet.
        accidents: what is counted of queries that ended in one.
        hardest: rows with their outcomes, hardest first.
        compared: what changed since another store, None where there is none.
        against: its name.
        sources: the stores, for the chapter about gaps.
        folder: for the figures.
        say: hears what the page lacks.
    """
    pictures = _Pictures(say)
    shown = [_hard(row, outcome, pictures) for row, outcome in hardest]
    table = [_table_row(row) for row in answers.hardest(KEPT)]
    shares = answers.shares
    return render(
        "report.html",
        title=f"Report of {name}",
        answer=answers.answer,
        is_open=any(share["closed"] < share["queries"] for share in shares),
        total=answers.count,
        open_count=open_count,
        accidents=[{**row, "name": f"{summary.group_name(row)}, {row['item']}"} for row in accidents.rows],
        accident_count=accidents.count,
        verdicts=[(v, answers.verdicts[v]) for v in summary.VERDICTS if answers.verdicts[v]],
        facts=_facts(answers),
        distances=[share for share in shares if share["quantity"] == "distance"],
        verdict_shares=[share for share in shares if share["quantity"] != "distance"],
        reasons=answers.reasons,
        figures=draw(answers, folder),
        against=compared,
        against_name=against,
        hardest=[(_QUANTITIES[q], [e for e in shown if e["quantity"] == q]) for q in _QUANTITIES],
        table=table,
        left_out=answers.count > len(table),
        **_gaps(sources, folder),
    )


def _facts(answers: Summary) -> dict[str, str]:
    """When, by which version and with which options the answers were got."""
    facts = {}
    if answers.first <= answers.last:
        ends = (answers.first, answers.last)
        first, last = (datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M") for t in ends)
        facts["answered"] = (first if first == last else f"{first} … {last}") + " UTC"
    facts["version"] = "advverify " + ", ".join(sorted(answers.versions))
    facts["machine"] = "a store does not keep where its queries ran; the foot of this page says where it was written"
    seconds = answers.total_seconds
    facts["wall time"] = f"{seconds:.4g} s over all queries, added up; CPU time is not measured"
    return facts | answers.options_in_words


def _table_row(row: Row) -> list[Any]:
    question = summary.group_name(row).removeprefix(row["model"] + ", ")
    reason = summary.reason_in_words(row["reason"] or "")
    known = [row[name] for name in ("item", "verdict")]
    return [row["model"], question, *known, row["lower"], row["upper"], row["engine"], row["seconds"], reason]


def _gaps(sources: Sequence[Source], folder: Path) -> dict[str, Any]:
    """The chapter about gaps; answers without traces have none, and the page says so."""
    from advverify.verifier.convergence.runs import compare

    from .gap_page import chapter

    try:
        comparison = compare(sources, hardest=HARDEST)
    except InvalidInput as error:
        return {"gaps": None, "no_gaps": str(error)}
    if sources[0].every > 1:
        some = f"of so many answers this chapter looks at one in {sources[0].every}; `advverify gap` looks at all"
        comparison.notes.append(some)
    return {"gaps": chapter(comparison, sources, folder), "no_gaps": ""}


def _hard(row: Row, outcome: Outcome | None, pictures: _Pictures) -> dict[str, Any]:
    """One row of a table of the hardest queries."""
    statistics = {} if outcome is None else outcome.statistics
    finite = [] if outcome is None else [e.lower for e in outcome.trace if math.isfinite(e.lower)]
    return {
        "key": row["key"],
        "quantity": summary.quantity(row),
        "name": f"{summary.group_name(row)}, {row['item']}",
        "verdict": row["verdict"],
        "lower": row["lower"],
        "upper": row["upper"],
        "root": finite[0] if finite else None,
        "nodes": statistics.get("nodes", statistics.get("tree_nodes", "–")),
        "unstable": statistics.get("unstable_relus", "–"),
        "engine": row["engine"] or "–",
        "seconds": row["seconds"],
        "reason": row["reason"] or "",
        **pictures.of(row, outcome),
    }


class _Pictures:
    """Images of the data sets that can be loaded here, each set once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._sets: dict[str, Dataset | None] = {}

    def of(self, row: Row, outcome: Outcome | None) -> dict[str, Any]:
        """Image, adversarial example and their difference as data addresses; None for what there is not.

        An open distance has an adversarial example as soon as its upper side is known.
        """
        nothing: dict[str, Any] = {"image": None, "adversarial": None, "difference": None, "largest": None}
        data = None if row["kind"] == "verify" else self._load(row["data"])
        if data is None:
            return nothing
        image, shape = data.images[int(row["item"])].ravel(), data.images.shape[1:]
        if not is_picture(shape):
            return nothing
        labels = {} if outcome is None else outcome.labels
        low, high = labels.get("valid_range", (0.0, 1.0))
        found = nothing | {"image": thumbnail(image, shape, (low, high))}
        witness = None if outcome is None else outcome.bracket.witness
        fools = row["verdict"] == "adversarial" or (row["kind"] == "distance" and row["verdict"] == "unknown")
        if not fools or witness is None or witness.size != image.size or np.array_equal(witness, image):
            return found
        change, largest = difference(witness - image, shape)
        return found | {"adversarial": thumbnail(witness, shape, (low, high)), "difference": change, "largest": largest}

    def _load(self, name: str) -> Dataset | None:
        from advverify.models.datasets import load_dataset

        if name not in self._sets:
            try:
                self._sets[name] = load_dataset(name)
            except InvalidInput as error:
                self._say(f"no pictures of {name}: {error}")
                self._sets[name] = None
        return self._sets[name]
