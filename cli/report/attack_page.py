"""The page of `advverify attack`: all attacks at equal budgets, norm by norm, and what they make of the first images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..table import number
from .figures import COLOURS, DUAL, drawing, largest_finite, radius_axis, short, style
from .page import render
from .thumbnails import Shape, difference, is_picture, thumbnail

Row = dict[str, Any]

_PICTURES = 2  # images that are shown
_LEVEL = 0.01  # medians that differ by no more, relatively, are level
_KINDS = {
    "ball": "fills a ball",
    "minimal": "seeks the nearest",
    "universal": "one for all images",
    "learned": "learned on other images",
    "spatial": "moves pixels",
}


@dataclass(frozen=True, eq=False)
class Tried:
    """What an attack found in a norm.

    Attributes:
        row: its line of the table, with `distances` in its own norm, inf where it failed, one an image.
        points: (images, n) what it ended at.
        classes: (images,) what the network gives there.
        kind: of the attack, as `verifier.attacks.Entry` has it.
        knowledge: "white" or "black" box.
        paper: where it comes from.
    """

    row: Row
    points: np.ndarray
    classes: np.ndarray
    kind: str
    knowledge: str
    paper: str

    @property
    def distances(self) -> np.ndarray:
        """As in the row."""
        return np.array(self.row["distances"])

    @property
    def median(self) -> float:
        """The radius within which half of all images are fooled; inf where fewer are at all."""
        return float(np.median(self.distances))

    def success(self, radius: float) -> float:
        """Share of all images that it fools within a radius."""
        return float(np.mean(self.distances <= radius * (1 + 1e-9)))


@dataclass(frozen=True, eq=False)
class Attacked:
    """What was attacked.

    Attributes:
        model: its name.
        data: name of the data set.
        indices: images, in its test set.
        images: (images, n).
        labels: (images,).
        shape: of an image.
        brackets: (index, norm) to what is known of the exact distance.
        eps: the radius that was asked for, None where the nearest example was.
    """

    model: str
    data: str
    indices: Sequence[int]
    images: np.ndarray
    labels: np.ndarray
    shape: Shape
    brackets: Mapping[tuple[int, str], tuple[float, float]]
    eps: float | None


def page(attacked: Attacked, tried: Sequence[Tried], folder: Path, asked: Mapping[str, str]) -> str:
    """The page, whose figures are written to a folder."""
    norms = [_norm(attacked, norm, [t for t in tried if t.row["norm"] == norm and t.kind != "spatial"], folder)
             for norm in dict.fromkeys(t.row["norm"] for t in tried if t.kind != "spatial")]  # fmt: skip
    spatial = [_line(t, []) for t in tried if t.kind == "spatial"]
    return render(
        "attack.html",
        title=f"Attacks on {attacked.model}",
        answer=answer(attacked, tried),
        count=len(attacked.indices),
        attacked=attacked,
        exact=bool(attacked.brackets),
        norms=norms,
        spatial=spatial,
        pictures=_pictures(attacked, tried),
        asked=asked,
    )


def answer(attacked: Attacked, tried: Sequence[Tried]) -> str:
    """The strongest attack of each norm, in a sentence."""
    parts = []
    for norm in dict.fromkeys(t.row["norm"] for t in tried if t.kind != "spatial"):
        of_norm = [t for t in tried if t.row["norm"] == norm and t.kind != "spatial"]
        if attacked.eps is not None:
            most = max(t.success(attacked.eps) for t in of_norm)
            names = [t.row["attack"] for t in of_norm if t.success(attacked.eps) == most]
            fools = f"{' and '.join(names)} fool{'s' if len(names) == 1 else ''} most images"
            parts.append(f"in norm {norm} within {attacked.eps:g} {fools}, {100 * most:.0f} %")
            continue
        best = min(of_norm, key=lambda t: (t.median, -t.success(math.inf)))
        if math.isinf(best.median):
            parts.append(f"in norm {norm} no attack fools half of the images")
        else:
            level = [t.row["attack"] for t in of_norm if t.median <= best.median * (1 + _LEVEL)]
            who = f"{', '.join(level[:-1])} and {level[-1]} come" if level[1:] else f"{level[0]} comes"
            parts.append(f"in norm {norm} {who} closest: half of the images within {number(best.median, 3)}")
    if not parts:
        parts.append(f"{len(tried)} attacks that move pixels were tried")
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]


def _norm(attacked: Attacked, norm: str, tried: Sequence[Tried], folder: Path) -> dict[str, Any]:
    """Table and figure of a norm."""
    known = [attacked.brackets[index, norm][0] for index in attacked.indices if (index, norm) in attacked.brackets]
    proved = np.sort(known) if len(known) == len(attacked.indices) else None
    radii = [attacked.eps] if attacked.eps is not None else budgets(tried, whole=norm == "0")
    if attacked.eps is None:
        ranked = sorted(tried, key=lambda t: (t.median, -t.success(math.inf)))
    else:
        ranked = sorted(tried, key=lambda t: -t.success(radii[0]))
    return {
        "norm": norm,
        "radii": radii,
        "proved": proved is not None,
        "rows": [_line(t, radii) for t in ranked],
        "figure": None
        if attacked.eps is not None
        else _curves(proved, norm, tried, folder / f"attacks-norm-{norm}.svg"),
    }


def budgets(tried: Sequence[Tried], whole: bool = False) -> list[float]:
    """Up to three round radii (whole ones, of counts), the same for all attacks, from a quarter to three quarters of the images."""
    best = np.min([t.distances for t in tried], axis=0)
    found = best[np.isfinite(best) & (best > 0)]
    if not len(found):
        return []
    return sorted({float(round(q) if whole else f"{q:.2g}") for q in np.quantile(found, [0.25, 0.5, 0.75])})


def _line(tried: Tried, radii: Sequence[float]) -> dict[str, Any]:
    return {
        "attack": tried.row["attack"],
        "kind": _KINDS[tried.kind],
        "knowledge": f"{tried.knowledge} box",
        "paper": tried.paper,
        "success": [tried.success(radius) for radius in radii],
        "any": float(np.mean(np.isfinite(tried.distances))),
        "median": tried.median,
        "ratio": tried.row["ratio"],
        "seconds": tried.row["seconds"],
    }


def _curves(proved: np.ndarray | None, norm: str, tried: Sequence[Tried], path: Path) -> Path:
    """Images that withstand each attack within every radius; below, where it is known, how many are proved to."""
    largest = 1.05 * largest_finite(min(v, 4 * _typical(tried)) for t in tried for v in t.distances if math.isfinite(v))
    with drawing(path, columns=3, size=(5.8, 3.2)) as axis:
        if proved is not None:
            shown = _withstanding(proved, largest)
            axis.fill_between(*shown, step="post", color=DUAL, alpha=0.25, linewidth=0, label="proved")
        for k, each in enumerate(tried):
            look = style(k // len(COLOURS), COLOURS[k % len(COLOURS)]) | {"linewidth": 1.2}
            axis.plot(
                *_withstanding(np.sort(each.distances), largest),
                drawstyle="steps-post",
                label=short(each.row["attack"], 20),
                **look,
            )
        axis.set(xlabel=radius_axis(norm), ylabel=f"withstand it, % of {len(tried[0].distances)} images")
        axis.set(xlim=(0, largest), ylim=(-2, 102))
    return path


def _typical(tried: Sequence[Tried]) -> float:
    """A radius at which many attacks succeed: curves of the weakest need not be shown to their end."""
    return largest_finite([float(np.median(v)) for t in tried if len(v := t.distances[np.isfinite(t.distances)])])


def _withstanding(distances: np.ndarray, largest: float) -> tuple[np.ndarray, np.ndarray]:
    """Radii, and the share of images (sorted distances) that are farther."""
    radii = np.concatenate([[0.0], distances[distances <= largest], [largest]])
    return radii, np.array([100 * np.mean(distances > r) for r in radii])


def _pictures(attacked: Attacked, tried: Sequence[Tried]) -> list[dict[str, Any]]:
    """The first images, and what each attack made of them."""
    if not is_picture(attacked.shape):
        return []
    shown = []
    for k in range(min(_PICTURES, len(attacked.indices))):
        entries = []
        for each in tried:
            if not math.isfinite(each.distances[k]):
                continue
            change, largest = difference(each.points[k] - attacked.images[k], attacked.shape)
            entries.append(
                {
                    "attack": each.row["attack"],
                    "norm": "pixels moved" if each.kind == "spatial" else f"norm {each.row['norm']}",
                    "distance": each.distances[k],
                    "class": int(each.classes[k]),
                    "image": thumbnail(each.points[k], attacked.shape),
                    "change": change,
                    "largest": largest,
                }
            )
        shown.append(
            {
                "index": attacked.indices[k],
                "label": int(attacked.labels[k]),
                "image": thumbnail(attacked.images[k], attacked.shape),
                "entries": entries,
                "failed": len(tried) - len(entries),
            }
        )
    return shown
