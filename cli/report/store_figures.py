"""Figures of `advverify report`. Blue is proved, orange is found, as on the whole page; questions differ in dashes and markers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .figures import DUAL, PRIMAL, drawing, largest_finite, pyplot, radius_axis, short, sides, style
from .summary import Question, Summary

_SIZE = (5.4, 3.0)  # inches
_POINTS = 2000  # of a curve or a cloud
_RADII = 3  # at least, of a curve of shares by radius
_MANY = 8  # curves that can be told apart
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
    for norm, families in _by_radius(questions).items():
        caption = (
            f"Norm {norm}: share of the images robust at each radius that was asked about. It lies between what is proved (blue) and what "
            "the inputs found leave (orange)."
        )
        result.append((_accuracies(families, norm, folder / f"accuracy-norm-{norm}.svg", also), caption))
    timed: Mapping[str, tuple[Sequence[float], int]] = {
        question.name: (question.settled, len(question.seconds)) for question in questions if question.settled
    }
    asked = "model and question"
    if len(timed) > _MANY:
        timed, asked = _by_model(questions), "model"
    caption = f"Queries settled within a wall time each, by {asked}; how many of all are settled stands in brackets."
    if timed:
        result.append((_cactus(timed, folder / "cactus.svg", also), caption))
    still = [question for question in distances if question.open_gaps]
    if still:
        count = sum(len(question.open_gaps) for question in still)
        caption = f"The {count} open distances: how far apart their two sides still are, as a share of the upper one."
        result.append((_gaps(still, folder / "gaps.svg", also), caption))
    if summary.engines:
        caption = "What each engine settled, in which wall time."
        result.append((_engines(summary.engines, folder / "engines.svg", also), caption))
    return result


def _by_radius(questions: list[Question]) -> dict[str, dict[str, list[Question]]]:
    """By norm and by what is asked but for the radius, verdicts at several radii, the smallest first."""
    found: dict[str, dict[str, list[Question]]] = {}
    for question in sorted(questions, key=lambda each: each.eps or 0.0):
        if question.quantity == "margin" and question.eps is not None:
            found.setdefault(str(question.norm), {}).setdefault(question.family, []).append(question)
    several = {norm: {f: each for f, each in of.items() if len(each) >= _RADII} for norm, of in found.items()}
    return {norm: families for norm, families in several.items() if families}


def _by_model(questions: list[Question]) -> dict[str, tuple[Sequence[float], int]]:
    """Wall times of what is settled, and how many queries there are, of each model."""
    found: dict[str, tuple[list[float], int]] = {}
    for question in questions:
        seconds, count = found.get(question.model, ([], 0))
        found[question.model] = [*seconds, *question.settled], count + len(question.seconds)
    return {name: (seconds, count) for name, (seconds, count) in found.items() if seconds}


def _accuracies(families: dict[str, list[Question]], norm: str, path: Path, also: tuple[str, ...]) -> Path:
    with drawing(path, size=_SIZE, also=also) as axis:
        axis.plot([], [], color=DUAL, label="proved")
        axis.plot([], [], color=PRIMAL, label="left by inputs found")
        for k, (family, members) in enumerate(families.items()):
            radii = [question.eps for question in members]
            proved, left = (100 * np.array(side) for side in zip(*(each.accuracy for each in members), strict=True))
            axis.fill_between(radii, proved, left, color="#808080", alpha=0.15, linewidth=0)
            axis.plot(radii, left, **style(k, PRIMAL) | {"linewidth": 1.0, "markevery": 1})
            axis.plot(radii, proved, **style(k, DUAL) | {"markevery": 1})
            if len(families) > 1:
                name = short(_without(family, f"norm {norm}"), 48)
                axis.plot([], [], label=f"{name}, {len(members[0].seconds)} images", **style(k))
        axis.set(xlabel=radius_axis(norm), ylabel="images robust at it, %", ylim=(-2, 102), xlim=(0, None))
    return path


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


def _cactus(timed: Mapping[str, tuple[Sequence[float], int]], path: Path, also: tuple[str, ...]) -> Path:
    with drawing(path, size=_SIZE, also=also) as axis:
        for k, (name, (settled, total)) in enumerate(timed.items()):
            seconds, counts = _thinned(settled)
            label = f"{short(name, 48)} ({len(settled)} of {total})"
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
            looks = {"markersize": 5, "color": _OPEN, "markeredgecolor": "#333333", "mew": 0.5, "clip_on": False}
            axis.plot(places, gaps, marker, label=label, **looks)
        axis.set(xlabel="wall time, s", ylabel="relative gap, %", ylim=(0, 104))
        axis.set_xlim(left=0)
    return path


def _engines(engines: list[tuple[str, int, float]], path: Path, also: tuple[str, ...]) -> Path:
    found = engines[::-1]
    with drawing(path, size=(5.4, 0.6 + 0.3 * len(found)), also=also) as axis:
        bars = axis.barh([name or "-" for name, _, _ in found], [count for _, count, _ in found], color="#808080")
        axis.bar_label(bars, [f"{count} in {seconds:.1f} s" for _, count, seconds in found], padding=4, fontsize=8)
        axis.set(xlabel="queries settled")
        axis.xaxis.set_major_locator(pyplot().MaxNLocator(integer=True))
        axis.margins(x=0.25)
        axis.grid(visible=False, axis="y")
    return path
