"""Figures of `advverify report`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from .figures import COLOURS, band, largest_finite, pyplot
from .summary import Row, by_question, engines, relative_gap, settled


def _save(figure: Any, folder: Path, name: str, forms: tuple[str, ...]) -> Path:
    for form in forms:
        figure.savefig(folder / f"{name}.{form}", dpi=120)
    pyplot().close(figure)
    return folder / f"{name}.png"


def draw(rows: list[Row], folder: Path, forms: tuple[str, ...] = ("png",)) -> list[tuple[Path, str]]:
    """All figures that the rows have something for: (PNG file, caption)."""
    result = []
    if any(row["kind"] == "distance" for row in rows):
        caption = (
            "Share of images robust beyond a radius: the line is proved, the band above it ends at what attacks leave."
        )
        result.append((_curves(rows, folder, forms), caption))
    result.append((_cactus(rows, folder, forms), "Queries settled within a time each, by model and question."))
    still = [row for row in rows if row["kind"] == "distance" and not settled(row)]
    if still:
        result.append((_gaps(still, folder, forms), "Open distances: how far apart the two sides still are."))
    if engines(rows):
        result.append((_engines(rows, folder, forms), "What each engine settled."))
    return result


def _curves(rows: list[Row], folder: Path, forms: tuple[str, ...]) -> Path:
    figure, axis = pyplot().subplots(figsize=(7, 4), layout="constrained")
    distances = [row for row in rows if row["kind"] == "distance"]
    largest = largest_finite(row["upper"] for row in distances if row["upper"] is not None)
    for k, (name, members) in enumerate(by_question(distances).items()):
        lower = [row["lower"] or 0.0 for row in members]
        upper = [np.inf if row["upper"] is None else row["upper"] for row in members]
        band(axis, lower, upper, largest, COLOURS[k % len(COLOURS)], name)
    axis.set(xlabel="radius")
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    return _save(figure, folder, "curves", forms)


def _cactus(rows: list[Row], folder: Path, forms: tuple[str, ...]) -> Path:
    figure, axis = pyplot().subplots(figsize=(7, 4), layout="constrained")
    for k, (name, members) in enumerate(by_question(rows).items()):
        seconds = sorted(max(row["seconds"], 1e-3) for row in members if settled(row))
        if seconds:
            label = f"{name} ({len(seconds)} of {len(members)})"
            axis.plot(
                range(1, len(seconds) + 1),
                seconds,
                marker=".",
                markersize=3,
                color=COLOURS[k % len(COLOURS)],
                label=label,
            )
    axis.set(xlabel="queries settled", ylabel="seconds a query", yscale="log")
    axis.grid(alpha=0.3)
    if axis.has_data():
        axis.legend(frameon=False, fontsize=8)
    return _save(figure, folder, "cactus", forms)


def _gaps(rows: list[Row], folder: Path, forms: tuple[str, ...]) -> Path:
    figure, axis = pyplot().subplots(figsize=(7, 4), layout="constrained")
    for k, (name, members) in enumerate(by_question(rows).items()):
        gaps = [min(100.0, 100 * (relative_gap(row) or 0.0)) for row in members]
        axis.plot(
            [row["seconds"] for row in members], gaps, "o", markersize=4, color=COLOURS[k % len(COLOURS)], label=name
        )
    axis.set(xlabel="seconds", ylabel="relative gap, %", ylim=(0, 104))
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, fontsize=8)
    return _save(figure, folder, "gaps", forms)


def _engines(rows: list[Row], folder: Path, forms: tuple[str, ...]) -> Path:
    found = engines(rows)[::-1]
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
