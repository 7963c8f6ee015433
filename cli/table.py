"""How results look on a terminal."""

from __future__ import annotations

import math
import os
from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Console

from .fitting import FittingTable

if TYPE_CHECKING:
    from advverify.verifier.outcome import Outcome

_STYLE = {"robust": "green", "adversarial": "red", "misclassified": "magenta", "unknown": "yellow"}


def number(value: float | None, digits: int = 6) -> str:
    """So many significant digits; a dash for what is not known."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}g}"


def share(value: float | None, digits: int = 3) -> str:
    """A share as per cent, in so many significant digits; what is too near to 0 or 1 for them is said to be."""
    if value is None or not math.isfinite(value):
        return "-"
    if 0 < value < 1e-4:
        return "< 0.01 %"
    if 0.9995 <= value < 1:
        return "> 99.9 %"
    return f"{100 * value:.0f} %" if value >= 1 else f"{100 * value:.{digits}g} %"


def bracket(sides: tuple[float, float], digits: int = 4) -> str:
    """Both sides of a range; a side without end is shown as infinite, and not as unknown."""
    low, high = ("∞" if side == math.inf else number(side, digits) for side in sides)
    return f"{low} … {high}"


def of(count: int, total: int) -> str:
    """A share and what it is a share of."""
    return f"{100 * count / total:.1f} % ({count} of {total})" if total else "- (0 of 0)"


def outcome_table(outcomes: list[Outcome], title: str, is_min_distortion: bool) -> FittingTable:
    """One row an image."""
    table = FittingTable(title=title, title_justify="left", header_style="bold")
    names = ("lower", "upper", "gap") if is_min_distortion else ("margin >=", "margin <=")
    for name in ("image", "label", "verdict", *names, "trust", "engine", "seconds"):
        left = name in ("verdict", "trust", "engine")
        table.add_column(name, justify="left" if left else "right", no_wrap=True)
    for outcome in outcomes:
        verdict, known = outcome.verdict.value, outcome.bracket
        cells = [str(outcome.labels.get("index", "")), str(outcome.labels.get("label", ""))]
        cells.append(f"[{_STYLE[verdict]}]{verdict}[/]")
        if is_min_distortion or verdict != "misclassified":
            cells += [number(known.lower), number(known.upper)]
        else:
            cells += ["-", "-"]
        if is_min_distortion:
            gap = known.relative_gap
            cells.append(share(gap, 2))
        cells += [outcome.trust.value, outcome.engine, _seconds(outcome.seconds)]
        table.add_row(*cells)
    return table


def summary(outcomes: list[Outcome], is_min_distortion: bool, gap: float) -> str:
    """One line below the table."""
    counts = Counter(outcome.verdict.value for outcome in outcomes)
    seconds = sorted(outcome.seconds for outcome in outcomes)
    total = len(outcomes)
    parts = [f"{total} image" + ("s" if total != 1 else "")]
    if is_min_distortion:
        closed = sum(outcome.bracket.relative_gap <= gap for outcome in outcomes)
        parts.append(f"{closed} of {total} brackets closed to {gap:g}")
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


def console(stderr: bool = False, width: int = 120) -> Console:
    """A console as wide as the terminal; in a pipe as wide as COLUMNS says, or `width` characters where it says nothing."""
    plain = Console(stderr=stderr, highlight=False)
    asked = os.environ.get("COLUMNS", "").isdigit()
    return plain if plain.is_terminal or asked else Console(stderr=stderr, highlight=False, width=width)


def _seconds(value: float) -> str:
    """Hundredths, or thousandths of what is short."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"
