"""How the answers of `certify` and `distance` are shown: a table, a line below it, and why what is open is open."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .table import Column, number, of, share

if TYPE_CHECKING:
    from rich.text import Text

    from advverify.verifier.outcome import Outcome

_STYLE = {"robust": "green", "adversarial": "red", "misclassified": "magenta", "unknown": "yellow"}
_SPARE = ("label", "seconds", "trust", "engine", "gap")  # columns that a narrow screen does without, in this order


def outcome_table(outcomes: list[Outcome], is_min_distortion: bool) -> tuple[list[Column], list[list[str | Text]]]:
    """Columns and one row an image, for `table.show`."""
    from rich.text import Text

    sides = ("lower", "upper", "gap") if is_min_distortion else ("margin >=", "margin <=")
    names = ("image", "label", "verdict", *sides, "trust", "engine", "seconds")
    columns = [
        Column(name, name in ("verdict", "trust", "engine"), spare=_SPARE.index(name) + 1 if name in _SPARE else 0)
        for name in names
    ]
    rows: list[list[str | Text]] = []
    for outcome in outcomes:
        verdict, known = outcome.verdict.value, outcome.bracket
        cells: list[str | Text] = [str(outcome.labels.get("index", "")), str(outcome.labels.get("label", ""))]
        cells.append(Text(verdict, _STYLE[verdict]))
        if is_min_distortion or verdict != "misclassified":
            cells += [number(known.lower), number(known.upper)]
        else:
            cells += ["-", "-"]
        if is_min_distortion:
            cells.append(share(known.relative_gap, 2))
        rows.append([*cells, outcome.trust.value, outcome.engine, _seconds(outcome.seconds)])
    return columns, rows


def summary(outcomes: list[Outcome], is_min_distortion: bool, gap: float) -> str:
    """One line below the table."""
    counts = Counter(outcome.verdict.value for outcome in outcomes)
    seconds = sorted(outcome.seconds for outcome in outcomes)
    total = len(outcomes)
    parts = [f"{total} image" + ("s" if total != 1 else "")]
    if is_min_distortion:
        closed = sum(outcome.bracket.relative_gap <= gap for outcome in outcomes)
        parts.append(f"{closed} of {total} bracket{'' if total == 1 else 's'} closed to {gap:g}")
    margins = [outcome for outcome in outcomes if outcome.labels.get("objective") == "max_margin"]
    margins = [outcome for outcome in margins if outcome.verdict.value != "misclassified"]
    if margins:
        closed = sum(outcome.bracket.gap <= gap * max(abs(outcome.bracket.upper), 1e-6) for outcome in margins)
        parts.append(f"{closed} of {len(margins)} margin{'' if len(margins) == 1 else 's'} closed to {gap:g}")
    parts += [f"{counts[v]} {v}" for v in ("robust", "adversarial", "misclassified", "unknown") if counts[v]]
    if not is_min_distortion and total:
        parts.append(f"certified accuracy {of(counts['robust'], total)}")
    if seconds:
        parts.append(f"median {_seconds(seconds[total // 2])} s, total {sum(seconds):.1f} s")
    return ", ".join(parts)


def reasons(outcomes: list[Outcome], proofs: bool = False) -> list[str]:
    """Why each unknown is unknown; and where proofs were asked for, why there are none."""
    lines = [f"image {o.labels.get('index')}: {o.reason}" for o in outcomes if o.reason]
    return lines + (_unproved(outcomes) if proofs else [])


def _unproved(outcomes: list[Outcome]) -> list[str]:
    from advverify.verifier.proof.attach import NOTHING

    images: dict[str, list[str]] = {}
    for outcome in outcomes:
        why = outcome.statistics.get("no_proof", NOTHING)
        if why != NOTHING:
            images.setdefault(why, []).append(str(outcome.labels.get("index")))
    return [
        f"no proof for {'image' if len(at) == 1 else 'images'} {', '.join(at)}: {why}" for why, at in images.items()
    ]


def _seconds(value: float) -> str:
    """Hundredths, or thousandths of what is short."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"
