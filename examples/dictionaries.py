"""What dictionaries of perturbations do to unseen images: against the number of atoms, from network to network, and exactly.

    python -m examples.dictionaries                                     # digits, some ten minutes on two cores
    python -m examples.dictionaries --networks a.onnx,b.onnx --data mnist:DIR --images 0:500

ADiL and SADiL are learned on training images, every number is of test images, with random signs of the atoms as controls. The
certified radius is exact or bracketed: below it no combination D v with ||v||_1 fools the network on that image, whoever
chooses v. Numbers are kept as they come (--work), and a study that was stopped goes on where it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor

from advverify.cli.options import images_from, model_path
from advverify.cli.report.figures import require_report
from advverify.cli.report.learned_figures import curves, progress, signed
from advverify.models.comparison.statistics import median_bracket, wilson
from advverify.models.datasets import load_dataset
from advverify.verifier.api import Model
from advverify.verifier.attacks import make_attack
from advverify.verifier.attacks.adil import relative_mse
from advverify.verifier.attacks.classification import ClassificationProblem
from advverify.verifier.attacks.dictionary import Coder
from advverify.verifier.attacks.learned import Fitted, fit, measure
from advverify.verifier.attacks.learned_file import load, save
from advverify.verifier.engines import Settings
from advverify.verifier.network.evaluate import evaluate, predict
from advverify.verifier.norms import get_norm
from advverify.verifier.subspace import subspace_distance

from .evaluation import Rows, keep, markdown

ATTACKS = ("adil", "sadil")
NETWORKS = "zoo:digits-mlp,zoo:digits-resnet-plain,zoo:digits-resnet-cpl,zoo:digits-resnet-plain-adv"


@dataclass(frozen=True)
class Study:
    """Networks by name, images to learn on and to measure on (N, n) with labels, the ball, and where numbers are kept."""

    models: dict[str, Model]
    shape: tuple[int, ...]
    seen: tuple[Tensor, Tensor]
    unseen: tuple[Tensor, Tensor]
    norm: str
    eps: float
    seeds: int
    work: Path
    rows: Rows

    def problem(self, name: str, images: tuple[Tensor, Tensor]) -> ClassificationProblem:
        """The images that a network classifies rightly."""
        network, (x, y) = self.models[name].network, images
        right = predict(network, x) == y
        return ClassificationProblem.balls(
            lambda p: evaluate(network, p), x[right], y[right], get_norm(self.norm), self.eps
        )

    def dictionary(self, name: str, attack: str, atoms: int, seed: int) -> Fitted:
        """Learned, or read where it was learned before."""
        sha = self.models[name].network.sha256[:12]
        path = self.work / f"{attack}-{sha}-{self.norm}-{self.eps:g}-{atoms}-{seed}-{len(self.seen[0])}.npz"
        if not path.is_file():
            learner = make_attack(attack, atoms=atoms)
            save(fit(attack, learner, self.problem(name, self.seen), seed, network=name, target=None), path)
        return load(path)

    def fooled(self, source: str, victim: str, attack: str, atoms: int, seed: int, through: bool, controls: int) -> Any:
        """Counts on unseen images: codes sought on the victim, or (`through`) on the source, whose points the victim gets."""
        fitted, problem = self.dictionary(source, attack, atoms, seed), self.problem(victim, self.unseen)
        network = self.models[source].network
        forward = (lambda p: evaluate(network, p)) if through else None
        found = measure(fitted, problem, seed, controls, forward)
        return {
            "fooled": int(found.success.sum()),
            "of": len(problem),
            "rmse": relative_mse(problem.images, found.points),
            "control": float(found.controls.double().mean()) if controls else None,
        }

    def key(self, *parts: Any) -> list[Any]:
        """Everything that a number depends on."""
        networks = [self.models[p].network.sha256[:12] if p in self.models else p for p in parts]
        return [*networks, self.norm, self.eps, len(self.seen[0]), len(self.unseen[0])]


def against_atoms(study: Study, atoms: list[int]) -> tuple[dict[str, Any], list[list[str]]]:
    """Curves and rows: counts over all seeds, so that an interval is of images and the seeds' spread is beside it."""
    series: dict[str, Any] = {}
    rows = []
    for name in study.models:
        for attack in ATTACKS:
            each: dict[str, list[float]] = {k: [] for k in ("atoms", "rate", "low", "high", "control", "rmse")}
            for m in atoms:
                found = [
                    study.rows.get(
                        study.key("atoms", name, attack, m, seed),
                        partial(study.fooled, name, name, attack, m, seed, False, 5),
                    )
                    for seed in range(study.seeds)
                ]
                rates = [f["fooled"] / f["of"] for f in found]
                rate, of = float(np.mean(rates)), found[0]["of"]
                low, high = wilson(round(rate * of), of)
                control, rmse = (float(np.mean([f[k] for f in found])) for k in ("control", "rmse"))
                for k, value in zip(each, (m, rate, low, high, control, rmse), strict=True):
                    each[k].append(value)
                spread = f"{100 * min(rates):.1f}-{100 * max(rates):.1f}"
                cells = [name, attack, str(m), f"{100 * rate:.1f} % [{100 * low:.1f}, {100 * high:.1f}]", spread]
                rows.append([*cells, f"{100 * control:.1f} %", f"{rmse:.4f}"])
            series[f"{name.removeprefix('zoo:')}, {attack}"] = each
    return series, rows


def transfers(study: Study, atoms: int, through: bool) -> list[list[str]]:
    """Rows of a matrix sources x victims, the mean over the seeds."""
    rows = []
    for source in study.models:
        cells = [source]
        for victim in study.models:
            found = [
                study.rows.get(
                    study.key("transfer", source, victim, atoms, seed, through),
                    partial(study.fooled, source, victim, "adil", atoms, seed, through, 0),
                )
                for seed in range(study.seeds)
            ]
            rate, of = float(np.mean([f["fooled"] / f["of"] for f in found])), found[0]["of"]
            low, high = wilson(round(rate * of), of)
            cells.append(f"{100 * rate:.0f} % [{100 * low:.0f}, {100 * high:.0f}]")
        rows.append(cells)
    return rows


def certified(study: Study, atoms: int, count: int, timeout: float) -> list[list[str]]:
    """Medians of exact distances in the span of each network's own dictionary, and of random atoms of the same norms."""
    rows = []
    for name, model in study.models.items():
        problem = study.problem(name, study.unseen)
        for kind in ("learned atoms", "the same with random signs"):
            sides = []
            for k in range(min(count, len(problem))):
                value = study.rows.get(
                    study.key("certified", name, kind, atoms, k, timeout),
                    partial(_radius, study, name, model, problem, k, kind, atoms, timeout),
                )
                sides.append((value[0], np.inf if value[1] is None else value[1]))
            low, high = (np.array(side) for side in zip(*sides, strict=True))
            closed = int((high - low <= 0.011 * high).sum())
            middle = median_bracket(low, high)
            rows.append([name, kind, f"{middle[0]:.3f} … {middle[1]:.3f}", f"{closed} of {len(sides)}"])
    return rows


def _radius(
    study: Study, name: str, model: Model, problem: ClassificationProblem, k: int, kind: str, atoms: int, timeout: float
) -> tuple[float, float | None]:
    learned = study.dictionary(name, "adil", atoms, 0).learned
    assert isinstance(learned, Coder)
    basis = learned.atoms
    if kind != "learned atoms":
        generator = torch.Generator().manual_seed(0)
        basis = basis * (torch.randint(0, 2, basis.shape[:1], generator=generator) * 2 - 1).to(basis).unsqueeze(1)
    settings = Settings(timeout=timeout, gap=0.01, threads=1)
    found = subspace_distance(
        model,
        problem.images[k].numpy(),
        int(problem.labels[k]),
        basis.numpy(),
        "1",
        clip=(0.0, 1.0),
        settings=settings,
    ).bracket
    return found.lower, found.upper if np.isfinite(found.upper) else None


def prepare(
    networks: str, data: str, fit_images: str, images: str, norm: str, eps: float, seeds: int, work: Path
) -> Study:
    """Read networks and images."""
    models = {name.strip(): Model(model_path(name.strip())) for name in networks.split(",")}
    training, test = load_dataset(data, "train"), load_dataset(data, "test")

    def part(source: Any, spec: str, option: str) -> tuple[Tensor, Tensor]:
        index = list(images_from(spec, len(source), option))
        return torch.from_numpy(source.images[index].reshape(len(index), -1)), torch.from_numpy(source.labels[index])

    seen, unseen = part(training, fit_images, "--fit"), part(test, images, "--images")
    work.mkdir(parents=True, exist_ok=True)
    shape = tuple(test.images.shape[1:])
    return Study(models, shape, seen, unseen, norm, eps, seeds, work, Rows(work / "rows.jsonl"))


@click.command()
@click.option("--networks", default=NETWORKS, show_default=True)
@click.option("--data", default="digits", show_default=True)
@click.option("--fit", "fit_images", default="0:300", show_default=True, help="Of the training part.")
@click.option("--images", default="0:360", show_default=True, help="Of the test set.")
@click.option("--norm", type=click.Choice(["2", "inf"]), default="2", show_default=True)
@click.option("--eps", default=0.6, show_default=True)
@click.option("--atoms", default="1,2,5,10,20", show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--span", default=5, show_default=True, help="Atoms of the transfers and of the certified spans.")
@click.option("--certify", default=20, show_default=True, help="Images whose distance in the span is bracketed.")
@click.option("--timeout", default=30.0, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/dictionaries"), show_default=True)
def main(atoms: str, span: int, certify: int, timeout: float, **options: Any) -> None:
    """Learn, measure, transfer, certify; keep numbers, then draw."""
    require_report()
    torch.set_num_threads(1)
    study = prepare(**options)
    kind, count = options["data"].partition(":")[0], [int(m) for m in atoms.split(",")]
    series, rows = against_atoms(study, count)
    names = list(study.models)
    text = [f"# Dictionaries on {kind}, norm {study.norm}, radius {study.eps:g}", ""]
    text += [
        f"Learned on {len(study.seen[0])} training images, measured on {len(study.unseen[0])} test images (those that each "
        f"network classifies rightly), {study.seeds} seeds of the first atoms; made by `python -m examples.dictionaries`. An "
        "interval is Wilson's at 95 % for the images at the mean rate; beside it the rates of single seeds; the control has the "
        "same atoms with random signs, coded afresh.",
        "",
    ]
    head = ["network", "learned by", "atoms", "fooled, of unseen images", "seeds", "control", "rMSE"]
    text += [*markdown(head, rows), "![fooling and rMSE against the number of atoms](curves.png)", ""]
    record: dict[str, Any] = {"atoms": rows, "series": series, "transfers": {}}
    for through, title in (
        (
            False,
            f"A dictionary of {span} atoms on another network, coded on the victim (rows learned on, columns victims):",
        ),
        (True, "The same, coded on the network that it was learned on: the victim is never asked:"),
    ):
        matrix = transfers(study, span, through)
        record["transfers"]["through source" if through else "coded on victim"] = matrix
        text += [title, "", *markdown(["", *names], matrix)]
    exact = certified(study, span, certify, timeout)
    record["certified"] = exact
    text += [
        f"Smallest ||v||_1 with x + D v misclassified (entries clipped to the valid range), {span} atoms, median over the first "
        f"{certify} unseen images, {timeout:g} s each:",
        "",
        *markdown(["network", "atoms", "median, bracket", "closed to 1 %"], exact),
        "![atoms, both signs](atoms.png)",
        "",
        "![objective and residual](learning.png)",
        "",
    ]
    place = keep(f"dictionaries-{kind}-{study.norm}", text, record)
    curves(series, place / "curves.png")
    learned = study.dictionary(names[0], "adil", span, 0).learned
    assert isinstance(learned, Coder)
    atoms_of = list(learned.atoms.T.numpy())
    signed(atoms_of, [f"atom {k + 1}" for k in range(len(atoms_of))], study.shape, place / "atoms.png")
    progress(learned.objective, learned.residual, place / "learning.png")


if __name__ == "__main__":
    main()
