"""Figures of `advverify report`."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .figures import COLOURS, band, largest_finite, pyplot
from .summary import Question, Summary

_POINTS = 2000  # of a curve or a cloud


def _save(figure: Any, folder: Path, name: str, forms: tuple[str, ...]) -> Path:
    for form in forms:
        figure.savefig(folder / f"{name}.{form}", dpi=120)
    pyplot().close(figure)
    return folder / f"{name}.png"


def draw(summary: Summary, folder: Path, forms: tuple[str, ...] = ("png",)) -> list[tuple[Path, str]]:
    """All figures that the answers have something for: (PNG file, caption)."""
    result = []
    distances = [question for question in summary.questions.values() if question.lower]
    if distances:
        caption = (
            "Share of images robust beyond a radius: the line is proved, the band above it ends at what attacks leave."
        )
        result.append((_curves(distances, folder, forms), caption))
    caption = "Queries settled within a time each, by model and question."
    result.append((_cactus(list(summary.questions.values()), folder, forms), caption))
    still = [question for question in distances if question.open_gaps]
    if still:
        result.append((_gaps(still, folder, forms), "Open distances: how far apart the two sides still are."))
    if summary.engines:
        result.append((_engines(summary.engines, folder, forms), "What each engine settled."))
    return result


def _thinned(values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Values in order, no more than a picture can show, and how many are up to each of them."""
    ordered = np.sort(np.asarray(values, dtype=float))
    places = np.arange(len(ordered))
    if len(ordered) > _POINTS:
        places = np.unique(np.linspace(0, len(ordered) - 1, _POINTS).round().astype(int))
    return ordered[places], places + 1


def _curves(questions: list[Question], folder: Path, forms: tuple[str, ...]) -> Path:
    figure, axis = pyplot().subplots(figsize=(7, 4), layout="constrained")
    largest = largest_finite(value for question in questions for value in question.upper)
    for k, question in enumerate(questions):
        lower, upper = _thinned(question.lower)[0], _thinned(question.upper)[0]
        band(axis, lower, upper, largest, COLOURS[k % len(COLOURS)], question.name)
    axis.set(xlabel="radius")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    return _save(figure, folder, "curves", forms)


def _cactus(questions: list[Question], folder: Path, forms: tuple[str, ...]) -> Path:
    figure, axis = pyplot().subplots(figsize=(7, 4), layout="constrained")
    for k, question in enumerate(questions):
        if question.settled:
            seconds, counts = _thinned(question.settled)
            axis.plot(
                counts,
                np.maximum(seconds, 1e-3),
                marker=".",
                markersize=3,
                color=COLOURS[k % len(COLOURS)],
                label=f"{question.name} ({len(question.settled)} of {len(question.seconds)})",
            )
    axis.set(xlabel="queries settled", ylabel="seconds a query", yscale="log")
    axis.grid(alpha=0.3)
    if axis.has_data():
        axis.legend(frameon=False, fontsize=8)
    return _save(figure, folder, "cactus", forms)


def _gaps(questions: list[Question], folder: Path, forms: tuple[str, ...]) -> Path:
    figure, axis = pyplot().subplots(figsize=(7, 4), layout="constrained")
    for k, question in enumerate(questions):
        step = -(-len(question.open_gaps) // _POINTS)  # of very many every so-manieth
        gaps = np.minimum(100.0, 100 * np.asarray(question.open_gaps[::step]))
        seconds = question.open_seconds[::step]
        axis.plot(seconds, gaps, "o", markersize=4, color=COLOURS[k % len(COLOURS)], label=question.name)
    axis.set(xlabel="seconds", ylabel="relative gap, %", ylim=(0, 104))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    return _save(figure, folder, "gaps", forms)


def _engines(engines: list[tuple[str, int, float]], folder: Path, forms: tuple[str, ...]) -> Path:
    found = engines[::-1]
    figure, axis = pyplot().subplots(figsize=(7, 0.6 + 0.4 * len(found)), layout="constrained")
    bars = axis.barh([name for name, _, _ in found], [count for _, count, _ in found], color=COLOURS[0])
    axis.bar_label(bars, [f"{count} in {seconds:.1f} s" for _, count, seconds in found], padding=4, fontsize=8)
    axis.set(xlabel="queries settled")
    axis.margins(x=0.2)
    return _save(figure, folder, "engines", forms)


def thumbnail(image: np.ndarray, shape: tuple[int, ...], signed: bool = False) -> bytes:
    """An image (flat) as a small PNG; `signed` draws differences, white for none."""
    from PIL import Image

    pixels = image.reshape(shape)
    if signed:
        largest = max(float(np.abs(pixels).max()), 1e-12)
        strength = np.clip(np.abs(pixels).max(0) / largest, 0, 1)
        positive = pixels.sum(0) >= 0
        red = np.where(positive, 1.0, 1 - strength)
        blue = np.where(positive, 1 - strength, 1.0)
        pixels = np.stack([red, 1 - strength, blue])
    elif shape[0] not in (1, 3):
        pixels = pixels[:1]
    array = np.clip(pixels * 255, 0, 255).round().astype(np.uint8)
    picture = Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))
    picture = picture.resize((64, 64), Image.Resampling.NEAREST)
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
