"""Figures of `advverify report`. Blue is proved, orange is found, as on the whole page; questions differ in dashes and markers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .figures import DUAL, PRIMAL, drawing, largest_finite, pyplot, radius_axis, short, sides, style
from .summary import Question, Summary

_SIZE = (5.4, 3.0)  # inches
_POINTS = 2000  # of a curve or a cloud
_OPEN = "#d9a514"  # of what is open, as in the stylesheet


def draw(summary: Summary, folder: Path, also: tuple[str, ...] = ()) -> list[tuple[Path, str]]:
    """All figures that the answers have something for: (SVG file, caption); also in formats of other endings."""
    result = []
    questions = list(summary.questions.values())
    distances = [question for question in questions if question.lower]
    for norm in dict.fromkeys(question.norm for question in distances):
        caption = (
            f"Norm {norm}: share of the images robust beyond a radius. It lies between what is proved (blue) and what the inputs "
            "found leave (orange)."
        )
        of_norm = [question for question in distances if question.norm == norm]
        result.append((_curves(of_norm, str(norm), folder / f"curves-norm-{norm}.svg", also), caption))
    caption = "Queries settled within a wall time each, by model and question; how many of all are settled stands in brackets."
    if any(question.settled for question in questions):
        result.append((_cactus(questions, folder / "cactus.svg", also), caption))
    still = [question for question in distances if question.open_gaps]
    if still:
        count = sum(len(question.open_gaps) for question in still)
        caption = f"The {count} open distances: how far apart their two sides still are, as a share of the upper one."
        result.append((_gaps(still, folder / "gaps.svg", also), caption))
    if summary.engines:
        caption = "What each engine settled, in which wall time."
        result.append((_engines(summary.engines, folder / "engines.svg", also), caption))
    return result


def _thinned(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Values in order, no more than a picture can show, and how many are up to each of them."""
    ordered = np.sort(np.asarray(values, dtype=float))
    places = np.arange(len(ordered))
    if len(ordered) > _POINTS:
        places = np.unique(np.linspace(0, len(ordered) - 1, _POINTS).round().astype(int))
    return ordered[places], places + 1


def _curves(questions: list[Question], norm: str, path: Path, also: tuple[str, ...]) -> Path:
    largest = largest_finite(value for question in questions for value in question.upper)
    with drawing(path, size=_SIZE, also=also) as axis:
        axis.plot([], [], color=DUAL, label="proved")
        axis.plot([], [], color=PRIMAL, label="left by inputs found")
        for k, question in enumerate(questions):
            lower, upper = _thinned(question.lower)[0], _thinned(question.upper)[0]
            sides(axis, lower, upper, largest, k)
            if len(questions) > 1:
                name = short(_without(question.name, f"norm {norm}, distance"), 48)
                axis.plot([], [], label=f"{name}, {len(question.lower)} images", **style(k))
        axis.set(xlabel=radius_axis(norm), ylabel="images robust beyond it, %")
    return path


def _without(name: str, words: str) -> str:
    """A question's name without what the figure says already."""
    return name.replace(f", {words}", "")


def _cactus(questions: list[Question], path: Path, also: tuple[str, ...]) -> Path:
    with drawing(path, size=_SIZE, also=also) as axis:
        for k, question in enumerate(questions):
            if question.settled:
                seconds, counts = _thinned(question.settled)
                label = f"{short(question.name, 48)} ({len(question.settled)} of {len(question.seconds)})"
                axis.plot(counts, np.maximum(seconds, 1e-3), label=label, **style(k))
        axis.set(xlabel="queries settled", ylabel="wall time of a query, s", yscale="log")
        axis.xaxis.set_major_locator(pyplot().MaxNLocator(integer=True))
    return path


def _gaps(questions: list[Question], path: Path, also: tuple[str, ...]) -> Path:
    with drawing(path, size=_SIZE, also=also) as axis:
        for k, question in enumerate(questions):
            step = -(-len(question.open_gaps) // _POINTS)  # of very many every so-manieth
            gaps = np.minimum(100.0, 100 * np.asarray(question.open_gaps[::step]))
            marker = "os^Dvph*"[k % 8]
            label = f"{short(question.name, 48)} ({len(question.open_gaps)})"
            places = question.open_seconds[::step]
            axis.plot(places, gaps, marker, markersize=5, color=_OPEN, label=label, markeredgecolor="#333333", mew=0.5)
        axis.set(xlabel="wall time, s", ylabel="relative gap, %", ylim=(0, 104))
        axis.set_xlim(left=0)
    return path


def _engines(engines: list[tuple[str, int, float]], path: Path, also: tuple[str, ...]) -> Path:
    found = engines[::-1]
    with drawing(path, size=(5.4, 0.6 + 0.3 * len(found)), also=also) as axis:
        bars = axis.barh([name or "-" for name, _, _ in found], [count for _, count, _ in found], color="#808080")
        axis.bar_label(bars, [f"{count} in {seconds:.1f} s" for _, count, seconds in found], padding=4, fontsize=8)
        axis.set(xlabel="queries settled")
        axis.margins(x=0.25)
        axis.grid(visible=False, axis="y")
    return path
