"""Figures of learned attacks: perturbations and atoms with both signs, and how a dictionary was learned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .figures import COLOURS, pyplot

if TYPE_CHECKING:
    from advverify.verifier.attacks.learned import Fitted

_MOST = 10  # perturbations in a picture


def draw(fitted: Fitted, shape: tuple[int, ...], folder: Path, stem: str) -> None:
    """Draw what can be drawn of a learned attack: nothing of networks that make perturbations of images."""
    from advverify.verifier.attacks.dictionary import Coder
    from advverify.verifier.attacks.universal import Perturbation
    from advverify.verifier.attacks.upset import PerTarget

    learned = fitted.learned
    if len(shape) != 3:
        return
    if isinstance(learned, Perturbation):
        signed([learned.delta[0].numpy()], ["perturbation"], shape, folder / f"{stem}.png")
    elif isinstance(learned, PerTarget):
        rows = [learned.deltas[t].numpy() for t in learned.targets]
        signed(rows, [f"to class {t}" for t in learned.targets], shape, folder / f"{stem}.png")
    elif isinstance(learned, Coder):
        atoms = list(learned.atoms.T.numpy())
        signed(atoms, [f"atom {k + 1}" for k in range(len(atoms))], shape, folder / f"{stem}.png")
        progress(learned.objective, learned.residual, folder / f"{stem}-learning.png")


def signed(rows: Sequence[np.ndarray], names: Sequence[str], shape: tuple[int, ...], path: Path) -> None:
    """Perturbations (n,) above, the same with the other sign below; each scaled by its own largest entry.

    One channel is drawn from blue (negative) over white to red; three are added to a grey of one half.
    """
    plt = pyplot()
    count = min(len(rows), _MOST)
    figure, axes = plt.subplots(
        2,
        count,
        figsize=(max(1.1 * count, 2.2), 2.9),
        layout="constrained",
        squeeze=False,
        gridspec_kw={"hspace": 0.02},
    )
    for k in range(count):
        image = np.moveaxis(rows[k].reshape(shape), 0, -1) / max(float(np.abs(rows[k]).max()), 1e-12)
        for row, sign in enumerate((1, -1)):
            axis = axes[row, k]
            if shape[0] == 3:
                axis.imshow((1 + sign * image) / 2)
            else:
                axis.imshow(sign * image[..., 0], cmap="RdBu_r", vmin=-1, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[0, k].set_title(names[k], fontsize=8)
    for row, word in enumerate("+−"):
        axes[row, 0].set_ylabel(word, rotation=0, labelpad=8, va="center", fontsize=12)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def progress(objective: Sequence[float], residual: Sequence[float], path: Path) -> None:
    """Objective and residual of stationarity over the iterations of a dictionary."""
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.4), layout="constrained")
    left.plot(objective, color=COLOURS[0])
    left.set(xlabel="iteration", ylabel="objective")
    right.plot(residual, color=COLOURS[1])
    right.set(xlabel="iteration", ylabel="residual of stationarity", yscale="log")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def curves(series: dict[str, dict[str, Any]], path: Path) -> None:
    """Held-out fooling rate with intervals, and rMSE, against the number of atoms.

    Args:
        series: name to `atoms`, `rate`, `low`, `high`, `control` and `rmse`, each a list.
        path: of the picture.
    """
    plt = pyplot()
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
    for colour, (name, each) in zip(COLOURS, series.items(), strict=False):
        rate, low, high = (100 * np.array(each[key]) for key in ("rate", "low", "high"))
        left.errorbar(each["atoms"], rate, (rate - low, high - rate), fmt="o-", color=colour, capsize=3, label=name)
        left.plot(each["atoms"], 100 * np.array(each["control"]), ":", color=colour)
        right.plot(each["atoms"], each["rmse"], "o-", color=colour, label=name)
    left.set(xlabel="atoms", ylabel="fooled, % of unseen images", ylim=(0, None))
    right.set(xlabel="atoms", ylabel="rMSE", ylim=(0, None))
    left.plot([], [], ":", color="#666666", label="control: random signs")
    ticks = sorted({m for each in series.values() for m in each["atoms"]})
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_xticks(ticks, [str(m) for m in ticks])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)
    plt.close(figure)
