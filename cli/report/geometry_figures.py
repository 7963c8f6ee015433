"""Figures of `advverify geometry`, as SVG files; colour says which network a curve is of, in cross-sections which class a point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from .figures import COLOURS, drawing, panels, short, style

Studies = Mapping[str, dict[str, Any]]

_SIZE = (5.4, 3.2)  # inches


def _looks(studies: Studies) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, study, and how its curves look; colours come again with other dashes."""
    for k, (name, study) in enumerate(studies.items()):
        yield name, study, style(k // len(COLOURS), COLOURS[k % len(COLOURS)])


def subspace_law(studies: Studies, path: Path) -> Path:
    """sqrt(m / d) r_S / r* against the dimension of random subspaces."""
    with drawing(path, size=_SIZE) as axis:
        axis.axhline(1, color="#888888", linewidth=1)
        dimensions = next(iter(studies.values()))["subspace"]["dimensions"]
        for name, study, look in _looks(studies):
            law = study["subspace"]
            low, high = np.array(law["quartiles"]).T
            axis.fill_between(law["dimensions"], low, high, color=look["color"], alpha=0.12, linewidth=0)
            axis.plot(law["dimensions"], law["median"], label=short(name, 44), **look | {"marker": "o", "markevery": 1})
        axis.set(
            xscale="log", xlabel="dimension m of a random subspace", ylabel="√(m/d) · l2 distance in it / l2 distance"
        )
        axis.set_xticks(dimensions, [str(m) for m in dimensions])
        axis.minorticks_off()
    return path


def normals(studies: Studies, path: Path) -> Path:
    """Singular values of the normals, beside those of random directions."""
    with drawing(path, size=_SIZE) as axis:
        for name, study, look in _looks(studies):
            axis.plot(range(1, 1 + len(study["singular"])), study["singular"], label=short(name, 44), **look)
        random = next(iter(studies.values()))["singular_random"]
        axis.plot(range(1, 1 + len(random)), random, "--", color="#888888", label="random directions")
        axis.set(xlabel="index of the singular value", ylabel="singular value of the unit normals")
    return path


def profile(studies: Studies, path: Path) -> Path:
    """Eigenvalues of the mean curvature at the boundary."""
    with drawing(path, size=_SIZE) as axis:
        axis.axhline(0, color="#888888", linewidth=1)
        for name, study, look in _looks(studies):
            axis.plot(sorted(study["profile"]), label=f"{short(name, 34)}, step h = {study['h']:.2g}", **look)
        axis.set(xlabel="eigenvalue, sorted", ylabel="curvature, 1 / l2 length of inputs")
    return path


def fooling(studies: Studies, path: Path) -> Path:
    """What single perturbations of one length fool, by where they are drawn from."""
    kinds = list(next(iter(studies.values()))["fooling"])
    with drawing(path, size=(5.4, 3.0)) as axis:
        width = 0.8 / len(studies)
        for k, (name, study, look) in enumerate(_looks(studies)):
            places = np.arange(len(kinds)) + (k - (len(studies) - 1) / 2) * width
            heights = [100 * study["fooling"][kind] for kind in kinds]
            axis.bar(places, heights, width * 0.92, color=look["color"], label=short(name, 44))
        axis.set_xticks(np.arange(len(kinds)), [fill(kind, 13) for kind in kinds])
        length = next(iter(studies.values()))["xi"]
        axis.set(ylabel=f"fooled images, %, at l2 length {length:.2g}")
        axis.grid(visible=False, axis="x")
    return path


def section(pair: list[dict[str, Any]], path: Path) -> Path:
    """The boundary near one image in two planes: the normal across, another direction up; the image is marked."""
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    present = sorted({c for each in pair for row in each["classes"] for c in row})
    colours = _class_colours(present)
    with panels(path, len(pair), columns=4, size=(5.4, 2.9)) as axes:
        for axis, each in zip(axes, pair, strict=True):
            reach = each["reach"]
            axis.imshow(
                np.searchsorted(present, each["classes"]),
                origin="lower",
                extent=(-reach, reach, -reach, reach),
                cmap=ListedColormap(colours),
                norm=BoundaryNorm(np.arange(-0.5, len(present)), len(present)),
                interpolation="nearest",
            )
            axis.grid(visible=False)
            for at, marker, size in (((0, 0), "o", 4), (each["at"], "*", 11)):
                axis.plot(*at, marker, color="#000000", markeredgecolor="#ffffff", markersize=size, mew=0.8)
            axis.set(xlabel="along the normal, l2", ylabel=f"along {each['second']}, l2")
        handles: list[Any] = [
            Patch(color=colour, label=f"class {c}" + (" (the label)" if c == pair[0]["label"] else ""))
            for c, colour in zip(present, colours, strict=True)
        ]
        for marker, size, label in (("*", 11, "image"), ("o", 4, "boundary point")):
            mark: dict[str, Any] = {
                "color": "#000000",
                "markeredgecolor": "#ffffff",
                "linestyle": "",
                "markersize": size,
            }
            handles.append(Line2D([], [], marker=marker, label=label, **mark))
        figure = axes[0].figure
        rows = math.ceil(len(handles) / 4)
        figure.set_figheight(2.9 + 0.18 * rows)
        figure.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, handlelength=1.2)
    return path


def _class_colours(present: list[int]) -> list[Any]:
    """A colour a class, the same in every figure as long as there are no more than twenty classes."""
    import matplotlib

    wheel = [matplotlib.colormaps["tab20"](k) for k in range(20)]  # dark ones first, then the light ones
    ordered = [*wheel[::2], *wheel[1::2]]
    return [ordered[c % len(ordered)] for c in present]
