"""The page of `advverify geometry`: what was measured of decision boundaries, and what follows from it and what does not."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from advverify.verifier.outcome import finite

from ..places import write_text
from ..table import number
from . import geometry_figures as figures
from .geometry_figures import Studies
from .page import render


def write_folder(studies: Studies, folder: Path, asked: Mapping[str, str]) -> Path:
    """Page, figures and data; returns the file of the page."""
    write_text(folder / "geometry.json", json.dumps(finite(dict(studies)), allow_nan=False) + "\n", "--out")
    path = folder / "index.html"
    write_text(path, page(studies, folder, asked), "--out")
    return path


def write_page(studies: Studies, path: Path, asked: Mapping[str, str]) -> Path:
    """Write the page alone; returns its file."""
    with tempfile.TemporaryDirectory() as folder:
        write_text(path, page(studies, Path(folder), asked), "--out")
    return path


def page(studies: Studies, folder: Path, asked: Mapping[str, str]) -> str:
    """The page, whose figures are written to a folder."""
    return render(
        "geometry.html",
        title=f"Decision boundaries of {', '.join(studies)}",
        answer=answer(studies),
        names=HEADS,
        rows=rows(studies),
        subspaces=figures.subspace_law(studies, folder / "subspaces.svg"),
        fooling=figures.fooling(studies, folder / "fooling.svg"),
        normals=figures.normals(studies, folder / "normals.svg"),
        profile=figures.profile(studies, folder / "profile.svg"),
        sections=[(name, _sections(study, k, folder)) for k, (name, study) in enumerate(studies.items())],
        length=next(iter(studies.values()))["xi"],
        asked=asked,
    )


def _sections(study: dict[str, Any], position: int, folder: Path) -> list[dict[str, Any]]:
    """Of each image that was cut through its figure, its label and the class on the other side."""
    images: dict[int, list[dict[str, Any]]] = {}
    for each in study["sections"]:
        images.setdefault(each["image"], []).append(each)
    return [
        {
            "image": image,
            "label": pair[0]["label"],
            "other": pair[0]["other"],
            "figure": figures.section(pair, folder / f"sections-{position}-{image}.svg"),
        }
        for image, pair in images.items()
    ]


HEADS = (
    "network",
    "images",
    "median l2 distance",
    "subspace law (m = 8)",
    "random line / distance",
    "curvature: random",
    "other normals",
    "largest in profile",
    "h",
)


def numbers(studies: Studies) -> list[dict[str, Any]]:
    """One row a network, by the names of `HEADS`; None for what is not known."""
    found = []
    for name, study in studies.items():
        values = [name, study["images"], study["median_distance"], _law(study), study["noise_ratio"]]
        values += [study["curvature"]["random"], study["curvature"]["other normals"], max(study["profile"]), study["h"]]
        found.append(dict(zip(HEADS, values, strict=True)))
    return found


def rows(studies: Studies) -> list[list[str]]:
    """The same as the cells of a table."""
    return [
        [row["network"], str(row["images"]), *(number(value, 3) for value in list(row.values())[2:])]
        for row in numbers(studies)
    ]


def _law(study: dict[str, Any]) -> float:
    """The subspace law at dimension 8, or at the largest one."""
    law = study["subspace"]
    place = law["dimensions"].index(8) if 8 in law["dimensions"] else -1
    return float(law["median"][place])


def answer(studies: Studies) -> str:
    """What was found, in a sentence."""
    law = [_law(study) for study in studies.values()]
    noise = [study["noise_ratio"] for study in studies.values() if study["noise_ratio"] is not None]
    parts = [f"random subspaces of dimension 8 meet the boundary {_span(law)} times as far away as a flat one would"]
    if noise:
        parts.insert(
            0, f"a random direction meets the boundary {_span(noise)} times as far away as the nearest point found"
        )
    text = "; ".join(parts) + "."
    return text[0].upper() + text[1:]


def _span(values: list[float]) -> str:
    low, high = number(min(values), 3), number(max(values), 3)
    return low if low == high else f"{low} … {high}"
