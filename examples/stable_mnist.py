"""Are stable ResNets more robust, on MNIST? Convolutional families of equal parameters, crossed with losses, at several depths.

    python -m examples.stable_mnist --data mnist:DIR --minutes 110      # again and again, until nothing is left
    python -m examples.stable_mnist --data mnist:DIR --depths 2 --seeds 1 --images 0:5 --timeout 5       # a first look

Every network is trained once, every bracket and every number is kept as it is known (--work). The seed is the unit of what is claimed; a
family is compared with the plain one of the same loss and depth, by permutation tests that open brackets leave undecided where
they must. A table of families that differ in their loss as well says nothing about families.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from advverify.cli.brackets import brackets_of
from advverify.cli.options import images_from
from advverify.cli.report.figures import COLOURS, pyplot, require_report
from advverify.cli.results import ResultFile
from advverify.models.build import build_once
from advverify.models.comparison.attacks import attacked
from advverify.models.comparison.permutations import permutation_test
from advverify.models.comparison.statistics import Range, decision, mean_bracket, median_bracket, t_interval
from advverify.models.datasets import Dataset, load_dataset
from advverify.models.recipe import Recipe, recipe_from
from advverify.verifier.engines import Settings
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.onnx_reader import read_onnx

from .evaluation import Rows, keep, markdown

# Kernels of every block have about 9 channels^2 parameters. A Hamiltonian step has two of half the width.
FAMILIES: dict[str, dict[str, Any]] = {
    "plain": {"name": "resnet"},
    "plain, two matrices": {"name": "resnet", "halved": True},
    "antisymmetric": {"name": "antisymmetric"},
    "Hamiltonian": {"name": "hamiltonian", "full": True},
    "leapfrog": {"name": "leapfrog", "doubled": True},
    "convex potential": {"name": "cpl"},
    "SLL": {"name": "sll"},
}
LOSSES: dict[str, dict[str, Any]] = {
    "cross-entropy": {"training": {"loss": "cross-entropy"}},
    "margin": {"training": {"loss": "multi-margin", "margin": 0.7}},
    "adversarial": {
        "training": {"loss": "cross-entropy"},
        "adversary": {"eps": 0.1, "attack": "pgd", "steps": 5, "step": 0.35, "ramp": 0.3},
    },
}
RADII = {"inf": (0.05, 0.1, 0.2), "2": (0.5, 1.0, 2.0)}


@dataclass(frozen=True)
class Study:
    """What the command says."""

    training: Dataset
    test: Dataset
    images: range
    timeout: float
    gap: float
    work: Path
    rows: Rows
    epochs: int
    limit: int
    channels: int
    stride: int
    by_bounds: int
    jobs: int
    device: str

    def recipe(self, family: str, loss: str, depth: int, seed: int) -> Recipe:
        """Of one network."""
        options = dict(FAMILIES[family])
        c = self.channels
        if options.pop("halved", False):  # K and W of half the hidden channels each
            options["hidden"] = c // 2
        if options.pop("full", False):  # K1 and K2 from c / 2 to c
            options["hidden"] = c
        if options.pop("doubled", False):  # K from c / 2 to 2 c
            options["hidden"] = 2 * c
        shape = list(self.test.images.shape[1:])
        architecture = {**options, "image": shape, "channels": c, "stride": self.stride, "blocks": depth, "outputs": 10}
        architecture["lift"] = 5
        more = LOSSES[loss]
        training = {"epochs": self.epochs, "batch": 128, "learning_rate": 5e-3, "seed": seed, **more["training"]}
        table = {
            "name": f"{family}, {loss}, {depth} blocks",
            "architecture": architecture,
            "data": {"name": self.test.name.partition(":")[0], "limit": self.limit},
            "training": training,
            "card": {"images": 0},
            **{key: value for key, value in more.items() if key != "training"},
        }
        return recipe_from(table)

    def network(self, recipe: Recipe) -> Path:
        """Trained, unless it was."""
        path = self.work / "networks" / f"{recipe.fingerprint}.onnx"
        if build_once(recipe, self.training, self.test, path, device=self.device):
            print(f"trained {recipe.name}, seed {recipe.training.seed}", flush=True)
        return path

    def measured(self, recipe: Recipe, path: Path, norm: str, sink: ResultFile) -> dict[str, Any]:
        """Everything about one network in one norm, as plain numbers; images that are misclassified have the radius 0."""
        network = read_onnx(path)
        blocks = int(recipe.architecture.options["blocks"])
        bounds = blocks >= self.by_bounds
        engines = ("crown", "falsify", "propagate") if bounds else ()
        settings = Settings(timeout=self.timeout, gap=self.gap, threads=1)
        found = brackets_of(path, self.test, self.images, norm, settings, sink, engines=engines, jobs=self.jobs)
        lower = [max(0.0, o.bracket.lower) if np.isfinite(o.bracket.lower) else 0.0 for o in found]
        upper = [o.bracket.upper if np.isfinite(o.bracket.upper) else None for o in found]
        images, labels = self.test.images[list(self.images)], self.test.labels[list(self.images)]
        everything = torch.from_numpy(self.test.images.reshape(len(self.test), -1))
        right = predict(network, everything).numpy() == self.test.labels
        own = right[list(self.images)]
        return {
            "accuracy": float(right.mean()),
            "parameters": _parameters(recipe),
            "relus": network.relu_count,
            "lower": lower,
            "upper": upper,
            "seconds": [o.seconds for o in found],
            "by": "bounds" if bounds else "search",
            "attacked": {
                str(eps): float((own & attacked(network, images, labels, norm, eps, "pgd").robust).mean())
                for eps in RADII[norm]
            },
        }


def _parameters(recipe: Recipe) -> int:
    from advverify.models.architectures import build

    network = build(recipe.architecture.name, **recipe.architecture.options)
    return sum(p.numel() for p in {id(p): p for p in network.parameters()}.values())


@dataclass(frozen=True)
class Cell:
    """The networks of one family, loss and depth in one norm, a record a seed."""

    family: str
    loss: str
    depth: int
    norm: str
    seeds: list[dict[str, Any]]

    @property
    def radii(self) -> list[Range]:
        """Range of each network's median radius."""
        return [median_bracket(s["lower"], [np.inf if u is None else u for u in s["upper"]]) for s in self.seeds]

    @property
    def accuracy(self) -> float:
        """Mean over the seeds."""
        return float(np.mean([s["accuracy"] for s in self.seeds]))

    def share(self, eps: float, side: str) -> float:
        """Mean share of images whose lower (certified) or upper side (not attacked by anything) is above a radius."""
        values = [[np.inf if v is None else v for v in s[side]] for s in self.seeds]
        return float(np.mean([np.mean(np.array(v) > eps) for v in values]))

    def pgd(self, eps: float) -> float:
        """Mean share of images that are right under PGD."""
        return float(np.mean([s["attacked"][str(eps)] for s in self.seeds]))

    def closed(self, gap: float) -> float:
        """Share of brackets that are closed to a relative gap."""
        low = np.concatenate([s["lower"] for s in self.seeds])
        high = np.array([np.inf if u is None else u for s in self.seeds for u in s["upper"]], dtype=np.float64)
        return float((high - low <= gap * high * (1 + 1e-9)).mean())


def collect(
    study: Study,
    families: list[str],
    losses: list[str],
    depths: list[int],
    seeds: int,
    norms: list[str],
    late: Callable[[], bool],
) -> tuple[list[Cell], int]:
    """All cells that are there, in the order of the seeds so that a part of the study has something of everything; and what is left."""
    records: dict[tuple[str, str, int, str], list[dict[str, Any]]] = {}
    left = 0
    sink = ResultFile(study.work / "brackets.jsonl")
    try:
        for seed in range(seeds):
            for depth in depths:
                for loss in losses:
                    for family in families:
                        recipe = study.recipe(family, loss, depth, seed)
                        for norm in norms:
                            key = [
                                recipe.fingerprint,
                                norm,
                                str(study.images),
                                study.timeout,
                                study.gap,
                                study.by_bounds,
                            ]
                            key += [study.training.sha256[:12], study.test.sha256[:12]]
                            if not study.rows.has(key) and late():
                                left += 1
                                continue
                            make = partial(_made, study, recipe, norm, sink)
                            records.setdefault((family, loss, depth, norm), []).append(study.rows.get(key, make))
    finally:
        sink.close()
    return [Cell(*place, found) for place, found in records.items()], left


def _made(study: Study, recipe: Recipe, norm: str, sink: ResultFile) -> dict[str, Any]:
    return study.measured(recipe, study.network(recipe), norm, sink)


def tables(cells: list[Cell], norm: str, gap: float) -> tuple[list[str], list[dict[str, Any]]]:
    """Lines of Markdown, and the same as records."""
    own = [c for c in cells if c.norm == norm]
    plain = {(c.loss, c.depth): c for c in own if c.family == "plain"}
    text, records = [], []
    head = [
        "family",
        "loss",
        "blocks",
        "parameters",
        "ReLUs",
        "seeds",
        "accuracy",
        "median radius, mean",
        "95 %",
        "p against plain",
    ]
    for depth in sorted({c.depth for c in own}):
        rows = []
        for c in [c for c in own if c.depth == depth]:
            mean, (low, high) = mean_bracket(c.radii), t_interval(c.radii)
            interval = (max(low, 0.0) if np.isfinite(low) else low, high)  # no radius is below 0
            base, test = plain.get((c.loss, depth)), None
            if base is not None and base is not c and min(len(c.seeds), len(base.seeds)) > 1:
                test = permutation_test(c.radii, base.radii)
            said = "" if test is None else f"{test[0]:.3g} … {test[1]:.3g} ({decision(test)})"
            apart = base is not None and abs(c.accuracy - base.accuracy) > 0.01
            accuracy = f"{100 * c.accuracy:.1f} %" + (" *" if apart else "")
            shown = "-" if not np.isfinite(interval).all() else f"{interval[0]:.4f} … {interval[1]:.4f}"
            first = c.seeds[0]
            cells_of = [c.family, c.loss, depth, first["parameters"], first["relus"], len(c.seeds), accuracy]
            rows.append([*cells_of, f"{mean[0]:.4f} … {mean[1]:.4f}", shown, said])
            records.append({"family": c.family, "loss": c.loss, "depth": depth, "norm": norm, "accuracy": c.accuracy, "radii": c.radii,
                            "mean": mean, "interval": interval, "p": test, "closed": c.closed(gap)})  # fmt: skip
        text += [f"Blocks: {depth}, norm {norm}:", "", *markdown(head, rows)]
    head = ["family", "loss", "blocks", *(f"{eps:g}: certified / PGD" for eps in RADII[norm])]
    head += ["median s", f"closed to {100 * gap:g} %", "by"]
    rows = []
    for c in own:
        shares = [f"{100 * c.share(eps, 'lower'):.0f} / {100 * c.pgd(eps):.0f} %" for eps in RADII[norm]]
        seconds = float(np.median([v for s in c.seeds for v in s["seconds"]]))
        rows.append(
            [c.family, c.loss, c.depth, *shares, f"{seconds:.1f}", f"{100 * c.closed(gap):.0f} %", c.seeds[0]["by"]]
        )
    return [
        *text,
        f"Shares of all images that are proved, and that stay right under PGD, norm {norm}:",
        "",
        *markdown(head, rows),
    ], records


def picture(cells: list[Cell], norm: str, path: Path) -> None:
    """Median radii of single networks, a panel a depth, families across, a colour a loss."""
    plt = pyplot()
    own = [c for c in cells if c.norm == norm]
    depths, families = sorted({c.depth for c in own}), list(dict.fromkeys(c.family for c in own))
    losses = list(dict.fromkeys(c.loss for c in own))
    size = (max(4.5, (1.0 + 0.75 * len(families)) * len(depths)), 4.6)
    figure, axes = plt.subplots(1, len(depths), figsize=size, layout="constrained", sharey=True, squeeze=False)
    for axis, depth in zip(axes[0], depths, strict=True):
        for c in [c for c in own if c.depth == depth]:
            k = losses.index(c.loss)
            x = families.index(c.family) + 0.22 * (k - (len(losses) - 1) / 2)
            for j, (low, high) in enumerate(c.radii):
                at = x + 0.025 * (j - (len(c.radii) - 1) / 2)
                axis.plot([at] * 2, [low, high if np.isfinite(high) else low], color=COLOURS[k], linewidth=2, alpha=0.7)
                axis.plot([at], [low], "_", color=COLOURS[k], markersize=5)
        axis.set_xticks(range(len(families)), families, rotation=45, ha="right")
        axis.set_title(f"{depth} blocks", fontsize=10)
        axis.grid(alpha=0.3, axis="y")
        axis.set_xlim(-0.6, len(families) - 0.4)
    for k, loss in enumerate(losses):
        axes[0, 0].plot([], [], color=COLOURS[k], linewidth=3, label=loss)
    axes[0, 0].legend(frameon=False, fontsize=8)
    axes[0, 0].set_ylabel(f"median radius of each network, norm {norm}")
    axes[0, 0].set_ylim(bottom=0)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _names(text: str, known: dict[str, Any], option: str) -> list[str]:
    chosen = list(known) if text == "all" else [part.strip() for part in text.split(",")]
    for name in chosen:
        if name not in known:
            raise click.BadParameter(f"{name}: choose all or some of {', '.join(known)}", param_hint=option)
    return chosen


@click.command()
@click.option("--data", required=True, help="mnist:DIR or another data set of ten classes.")
@click.option("--families", default="all", show_default=True)
@click.option("--losses", default="all", show_default=True)
@click.option("--depths", default="2,4,8", show_default=True)
@click.option(
    "--by-bounds", default=16, show_default=True, help="From so many blocks on bounds and attacks alone are asked."
)
@click.option("--seeds", default=5, show_default=True)
@click.option("--norms", default="inf,2", show_default=True)
@click.option("--images", default="0:40", show_default=True)
@click.option("--timeout", default=60.0, show_default=True, help="Seconds an image.")
@click.option("--gap", default=0.05, show_default=True)
@click.option("--epochs", default=6, show_default=True)
@click.option("--limit", default=0, show_default=True, help="Training images; 0 for all.")
@click.option("--channels", default=4, show_default=True)
@click.option("--stride", default=4, show_default=True)
@click.option("--jobs", default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--minutes", default=float("inf"), help="Begin nothing new after so many.")
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/stable-mnist"), show_default=True)
def main(families: str, losses: str, depths: str, seeds: int, norms: str, minutes: float, **options: Any) -> None:
    """Train and measure what is not there yet, then tables, numbers and, last, pictures."""
    require_report()
    torch.set_num_threads(1)
    chosen, crossed = _names(families, FAMILIES, "--families"), _names(losses, LOSSES, "--losses")
    source, began = options.pop("data"), time.monotonic()
    training, test = load_dataset(source, "train"), load_dataset(source, "test")
    images, work = images_from(options.pop("images"), len(test)), options["work"]
    (work / "networks").mkdir(parents=True, exist_ok=True)
    study = Study(training, test, images, rows=Rows(work / "rows.jsonl"), **options)
    counts, several = [int(d) for d in depths.split(",")], [n.strip() for n in norms.split(",")]
    cells, left = collect(
        study, chosen, crossed, counts, seeds, several, lambda: time.monotonic() - began > 60 * minutes
    )
    if not cells:
        print(f"nothing is measured yet, {left} measurements are left")
        return
    kind = source.partition(":")[0]
    text = [f"# Stable against plain on {kind}, losses crossed with families", ""]
    text += [
        f"Medians over {len(images)} test images ({images.start}:{images.stop}), 0 where one is misclassified; a range is what open "
        f"brackets leave open after {study.timeout:g} s an image; intervals (Student, over seeds) and p values (permutations "
        "of seeds against the plain networks of the same loss and depth) hold for all radii that the brackets allow. * accuracy is more than one "
        "point from the plain one's, so that the radii are not those of equally good networks.",
        "",
    ]
    if left:
        text += [f"Unfinished: {left} measurements are left.", ""]
    record: dict[str, Any] = {"cells": [], "left": left}
    for norm in several:
        lines, records = tables(cells, norm, study.gap)
        text += [*lines, f"![median radii, norm {norm}](radii-{norm}.png)", ""]
        record["cells"] += records
    place = keep(f"stable-{kind}", text, record)
    for norm in several:
        picture(cells, norm, place / f"radii-{norm}.png")


if __name__ == "__main__":
    main()
