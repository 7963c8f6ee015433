"""Figures of `advverify report`. Blue is proved, orange is found, as on the whole page; questions differ in dashes and markers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .figures import DUAL, PRIMAL, drawing, largest_finite, pyplot, radius_axis, short, sides, style
from .summary import Row, by_question, engines, relative_gap, settled

_SIZE = (5.4, 3.0)  # inches
_OPEN = "#d9a514"  # of what is open, as in the stylesheet


def draw(rows: list[Row], folder: Path, also: tuple[str, ...] = ()) -> list[tuple[Path, str]]:
    """All figures that the rows have something for: (SVG file, caption); also in formats of other endings."""
    result = []
    distances = [row for row in rows if row["kind"] == "distance"]
    for norm in dict.fromkeys(row["norm"] for row in distances):
        caption = (
            f"Norm {norm}: share of the images robust beyond a radius. It lies between what is proved (blue) and what the inputs "
            "found leave (orange)."
        )
        of_norm = [row for row in distances if row["norm"] == norm]
        result.append((_curves(of_norm, norm, folder / f"curves-norm-{norm}.svg", also), caption))
    caption = "Queries settled within a wall time each, by model and question; how many of all are settled stands in brackets."
    if any(settled(row) for row in rows):
        result.append((_cactus(rows, folder / "cactus.svg", also), caption))
    still = [row for row in distances if not settled(row)]
    if still:
        caption = (
            f"The {len(still)} open distances: how far apart their two sides still are, as a share of the upper one."
        )
        result.append((_gaps(still, folder / "gaps.svg", also), caption))
    if engines(rows):
        result.append((_engines(rows, folder / "engines.svg", also), "What each engine settled, in which wall time."))
    return result


def _curves(rows: list[Row], norm: str, path: Path, also: tuple[str, ...]) -> Path:
    largest = largest_finite(row["upper"] for row in rows if row["upper"] is not None)
    questions = by_question(rows)
    with drawing(path, size=_SIZE, also=also) as axis:
        axis.plot([], [], color=DUAL, label="proved")
        axis.plot([], [], color=PRIMAL, label="left by inputs found")
        for k, (name, members) in enumerate(questions.items()):
            lower = [row["lower"] or 0.0 for row in members]
            upper = [np.inf if row["upper"] is None else row["upper"] for row in members]
            sides(axis, lower, upper, largest, k)
            if len(questions) > 1:
                label = f"{short(_without(name, f'norm {norm}, distance'), 48)}, {len(members)} images"
                axis.plot([], [], label=label, **style(k))
        axis.set(xlabel=radius_axis(norm), ylabel="images robust beyond it, %")
    return path


def _without(name: str, words: str) -> str:
    """A question's name without what the figure says already."""
    return name.replace(f", {words}", "")


def _cactus(rows: list[Row], path: Path, also: tuple[str, ...]) -> Path:
    with drawing(path, size=_SIZE, also=also) as axis:
        for k, (name, members) in enumerate(by_question(rows).items()):
            seconds = sorted(max(row["seconds"], 1e-3) for row in members if settled(row))
            if seconds:
                label = f"{short(name, 48)} ({len(seconds)} of {len(members)})"
                axis.plot(range(1, len(seconds) + 1), seconds, label=label, **style(k))
        axis.set(xlabel="queries settled", ylabel="wall time of a query, s", yscale="log")
        axis.xaxis.set_major_locator(pyplot().MaxNLocator(integer=True))
    return path


def _gaps(rows: list[Row], path: Path, also: tuple[str, ...]) -> Path:
    questions = by_question(rows)
    with drawing(path, size=_SIZE, also=also) as axis:
        for k, (name, members) in enumerate(questions.items()):
            gaps = [min(100.0, 100 * (relative_gap(row) or 0.0)) for row in members]
            marker = "os^Dvph*"[k % 8]
            label = f"{short(name, 48)} ({len(members)})"
            places = [row["seconds"] for row in members]
            axis.plot(places, gaps, marker, markersize=5, color=_OPEN, label=label, markeredgecolor="#333333", mew=0.5)
        axis.set(xlabel="wall time, s", ylabel="relative gap, %", ylim=(0, 104))
        axis.set_xlim(left=0)
    return path


def _engines(rows: list[Row], path: Path, also: tuple[str, ...]) -> Path:
    found = engines(rows)[::-1]
    with drawing(path, size=(5.4, 0.6 + 0.3 * len(found)), also=also) as axis:
        bars = axis.barh([name or "-" for name, _, _ in found], [count for _, count, _ in found], color="#808080")
        axis.bar_label(bars, [f"{count} in {seconds:.1f} s" for _, count, seconds in found], padding=4, fontsize=8)
        axis.set(xlabel="queries settled")
        axis.margins(x=0.25)
        axis.grid(visible=False, axis="y")
    return path
