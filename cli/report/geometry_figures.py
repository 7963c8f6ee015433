"""Figures of `advverify geometry`; one function a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .figures import COLOURS, pyplot

Studies = dict[str, dict[str, Any]]


def subspace_law(studies: Studies, path: Path) -> None:
    """sqrt(m / d) r_S / r* against the dimension of random subspaces."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(5.5, 4), layout="constrained")
    axis.axhline(1, color="#888888", linewidth=1)
    for colour, (name, study) in zip(COLOURS, studies.items(), strict=False):
        law = study["subspace"]
        low, high = np.array(law["quartiles"]).T
        axis.fill_between(law["dimensions"], low, high, color=colour, alpha=0.12, linewidth=0)
        axis.plot(law["dimensions"], law["median"], "o-", color=colour, label=name)
    axis.set(xscale="log", xlabel="dimension m of a random subspace", ylabel="sqrt(m/d) · distance / whole distance")
    axis.set_xticks(law["dimensions"], [str(m) for m in law["dimensions"]])
    axis.minorticks_off()
    axis.legend(frameon=False)
    axis.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def spectra(studies: Studies, path: Path) -> None:
    """Singular values of the normals, and the curvature profile."""
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4), layout="constrained")
    for colour, (name, study) in zip(COLOURS, studies.items(), strict=False):
        left.plot(range(1, 1 + len(study["singular"])), study["singular"], color=colour, label=name)
        right.plot(sorted(study["profile"]), color=colour, label=f"{name}, h = {study['h']:.2g}")
    left.plot(
        range(1, 1 + len(study["singular_random"])), study["singular_random"], "--", color="#888888", label="random"
    )
    left.set(xlabel="index", ylabel="singular value", title="Normals of the boundary")
    right.set(xlabel="eigenvalue, sorted", ylabel="curvature", title="Curvature profile at the boundary")
    for axis in (left, right):
        axis.legend(frameon=False)
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def fooling(studies: Studies, path: Path) -> None:
    """What single perturbations of one length fool, by where they are drawn from."""
    plt = pyplot()
    figure, axis = plt.subplots(figsize=(7.5, 4), layout="constrained")
    kinds = list(next(iter(studies.values()))["fooling"])
    width = 0.8 / len(studies)
    for k, (colour, (name, study)) in enumerate(zip(COLOURS, studies.items(), strict=False)):
        places = np.arange(len(kinds)) + (k - (len(studies) - 1) / 2) * width
        label = f"{name}, length {study['xi']:.2g}"
        axis.bar(places, [100 * study["fooling"][kind] for kind in kinds], width * 0.92, color=colour, label=label)
    axis.set_xticks(
        np.arange(len(kinds)), [kind.replace(" of ", "\nof ", 1).replace("shared ", "shared\n") for kind in kinds]
    )
    axis.set(ylabel="fooled images, %")
    axis.legend(frameon=False)
    axis.grid(alpha=0.3, axis="y")
    figure.savefig(path, dpi=130)
    plt.close(figure)


def sections(study: dict[str, Any], title: str, path: Path) -> None:
    """Cross-sections of the boundary: the normal across, another direction up."""
    plt = pyplot()
    from matplotlib.colors import BoundaryNorm

    drawn = study["sections"]
    columns = 2
    rows = len(drawn) // columns
    figure, axes = plt.subplots(rows, columns, figsize=(6.4, 3.1 * rows), layout="constrained", squeeze=False)
    for axis, section in zip(axes.ravel(), drawn, strict=True):
        reach = section["reach"]
        axis.imshow(
            section["classes"],
            origin="lower",
            extent=(-reach, reach, -reach, reach),
            cmap="tab10",
            norm=BoundaryNorm(np.arange(-0.5, 10), 10),
            interpolation="nearest",
            alpha=0.75,
        )
        axis.plot(0, 0, "ko", markersize=4)
        axis.set(title=f"image {section['image']}", xlabel="normal", ylabel=section["second"])
    figure.suptitle(title)
    figure.savefig(path, dpi=130)
    plt.close(figure)
