"""The attacks of the talk on a LeNet-sized network: fooling rate and rMSE at the usual settings and at equal radius; atoms;
and both defences against dictionaries, each attacked by a dictionary learned on the defended network.

    python -m examples.dictionary_attacks                               # digits, minutes on two cores
    python -m examples.dictionary_attacks --data cifar10:DIR            # LeNet on CIFAR-10 or a sample of it
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from torch import Tensor, nn

from advverify.cli.report.figures import require_report
from advverify.models.datasets import Dataset, load_dataset
from advverify.models.train import accuracy, train
from advverify.verifier.attacks import make_attack, run
from advverify.verifier.attacks.adil import Adil, Dictionary, fooling_rate, laplace_noise, perturbed, relative_mse
from advverify.verifier.attacks.classification import ClassificationProblem
from advverify.verifier.attacks.universal import Universal
from advverify.verifier.norms import get_norm

from .evaluation import keep, markdown, percent, recipe

EPS = {"digits": 0.6, "cifar10": 0.25}  # l2 radius at which attacks are compared
ATOMS = (2, 5, 10, 15, 20)
PUBLISHED = [
    ("PGD", 0.5469, 0.0091),
    ("DeepFool", 0.7422, 0.0056),
    ("C&W", 0.7422, 0.032),
    ("ADiL", 0.9063, 0.071),
    ("UAP", 0.7734, 0.747),
]


@dataclass(frozen=True)
class Setting:
    """A network with the images that attacks learn from (N, n) and those that they are measured on."""

    network: nn.Module
    shape: tuple[int, ...]
    seen: Tensor
    seen_labels: Tensor
    unseen: Tensor
    unseen_labels: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Logits of points (N, n)."""
        logits: Tensor = self.network(x.unflatten(1, self.shape))
        return logits


def prepare(data: str, network: nn.Module, training: Dataset, limit: int, test: Dataset, count: int) -> Setting:
    """Attacks learn on training images, and are measured on images the network was not trained on."""

    def flat(images: np.ndarray) -> Tensor:
        return torch.from_numpy(images).float().flatten(1)

    rest = slice(limit, None) if limit else slice(0, 0)
    unseen = np.concatenate([test.images, training.images[rest]])[:count]
    labels = np.concatenate([test.labels, training.labels[rest]])[:count]
    learn = slice(0, 300)
    return Setting(
        network.eval(),
        tuple(test.images.shape[1:]),
        flat(training.images[learn]),
        torch.from_numpy(training.labels[learn]),
        flat(unseen),
        torch.from_numpy(labels),
    )


def interval(rate: float, count: int) -> str:
    """Share with Wilson's 95 % interval."""
    z = 1.96
    middle = (rate + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(rate * (1 - rate) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return f"{100 * rate:.1f} % [{100 * (middle - half):.1f}, {100 * (middle + half):.1f}]"


def attacked(setting: Setting, eps: float | None, atoms: int = 10) -> dict[str, Tensor]:
    """Moved images (N, n) by attack; within an l2 ball of radius eps, or at each attack's usual setting."""
    norm, generator = get_norm("2"), torch.Generator().manual_seed(0)
    with torch.no_grad():
        predicted = setting.forward(setting.unseen).argmax(1)
    whole = ClassificationProblem.unbounded(setting.forward, setting.unseen, predicted, norm)
    ball = ClassificationProblem.balls(setting.forward, setting.unseen, predicted, norm, eps or 0.5)
    seen = ClassificationProblem.balls(setting.forward, setting.seen, setting.seen_labels, norm, eps or 2.0)
    moved = {"PGD": run(make_attack("pgd", restarts=1), ball).points}
    minimal = {"DeepFool": make_attack("deepfool-2"), "C&W": make_attack("carlini-wagner-2", rounds=4, steps=80)}
    for name, attack in minimal.items():
        points = run(attack, whole).points
        if eps is not None:  # farther ones do not count: they stay where they were
            near = norm.length(points - setting.unseen) <= eps
            points = torch.where(near.unsqueeze(1), points, setting.unseen)
        moved[name] = points
    learner = Adil(atoms=atoms, steps=150, eps=eps)
    learned = learner.learn(setting.forward, setting.seen, setting.seen_labels, generator)
    codes = learner.code(setting.forward, setting.unseen, predicted, learned)
    moved["ADiL"] = perturbed(setting.unseen, codes, learned)
    universal = Universal("sgd").learn(seen, generator)
    moved["UAP"] = (setting.unseen + universal.delta).clamp(0, 1)
    return moved


def rows_of(setting: Setting, eps: float | None) -> list[list[str]]:
    """Fooling rates (on predictions) and rMSE."""
    rows = []
    for name, moved in attacked(setting, eps).items():
        rate = fooling_rate(setting.forward, setting.unseen, moved)
        rows.append([name, interval(rate, len(moved)), f"{relative_mse(setting.unseen, moved):.4f}"])
    return rows


def defended(setting: Setting, training: Dataset, chosen: Any, eps: float, mode: str, atoms: int) -> nn.Module:
    """The recipe trained again on its images and as many perturbed ones: the learned perturbations, or Laplace codes."""
    learner, generator = Adil(atoms=atoms, steps=100, eps=eps), torch.Generator().manual_seed(1)
    limit = chosen.data.limit or len(training)
    images = torch.from_numpy(training.images[:limit]).float().flatten(1)
    labels = torch.from_numpy(training.labels[:limit])
    dictionary = learner.learn(setting.forward, setting.seen, setting.seen_labels, generator)
    if mode == "adversarial":
        codes = learner.code(setting.forward, images, labels, dictionary)
    else:
        codes = laplace_noise((len(images), atoms), dictionary.scale, generator, images)
    moved = perturbed(images, codes, dictionary).unflatten(1, setting.shape).double().numpy()
    both = Dataset(
        training.name,
        np.concatenate([training.images[:limit], moved]),
        np.concatenate([training.labels[:limit], training.labels[:limit]]),
    )
    again = replace(chosen, data=replace(chosen.data, limit=0))
    return train(again, both).network.eval()


def draw_atoms(dictionary: Dictionary, shape: tuple[int, ...], path: Any) -> None:
    """Atoms as images, zero in the middle of the scale."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    atoms = dictionary.atoms.T.unflatten(1, shape)
    figure, axes = plt.subplots(2, 5, figsize=(9, 3.9), layout="constrained")
    for k, axis in enumerate(axes.ravel()):
        axis.axis("off")
        if k >= len(atoms):
            continue
        image = atoms[k].permute(1, 2, 0).numpy() / max(float(atoms[k].abs().max()), 1e-12)
        axis.imshow((image + 1) / 2 if shape[0] == 3 else image[..., 0], cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_title(f"atom {k + 1}", fontsize=9)
    figure.savefig(path, dpi=120)
    plt.close(figure)


@click.command()
@click.option("--data", default="digits", show_default=True, help="digits, or cifar10:DIR.")
@click.option("--count", default=600, show_default=True, help="Images that attacks are measured on.")
@click.option("--defences/--no-defences", default=True, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/dictionary-attacks"), show_default=True)
def main(data: str, count: int, defences: bool, work: Path) -> None:
    """Train, attack, defend, draw."""
    require_report()
    kind = data.partition(":")[0]
    training, test = load_dataset(data, "train"), load_dataset(data, "test")
    chosen = recipe(f"{kind}-lenet")
    network = train(chosen, training).network
    setting = prepare(data, network, training, chosen.data.limit, test, count)
    eps, seen = EPS[kind], len(setting.unseen)
    text = [f"# The attacks of the talk on {kind}", ""]
    text += [
        f"Accuracy {percent(accuracy(network, test))}; {seen} images that the network was not trained on; fooling rates "
    ]
    text[-1] += (
        "are shares of changed predictions, with 95 % intervals; made by `python -m examples.dictionary_attacks`."
    )
    header = ["attack", "fooling rate", "rMSE"]
    usual, equal = rows_of(setting, None), rows_of(setting, eps)
    text += ["", "At each attack's usual setting (PGD: l2 0.5; UAP: l2 2):", "", *markdown(header, usual)]
    text += [f"At one radius, l2 {eps:g}:", "", *markdown(header, equal)]
    text += ["The talk's table (ResNet-18 on CIFAR-10, 128 images, so each rate is ± 8 points):", ""]
    text += markdown(header, [[name, interval(rate, 128), f"{rmse:g}"] for name, rate, rmse in PUBLISHED])
    record: dict[str, Any] = {"usual": usual, "equal": equal}
    if defences:
        kept = work / f"defences-{chosen.fingerprint}-{training.sha256[:12]}-{seen}-{eps:g}.json"
        rows = _defences(setting, training, chosen, eps, kept)
        record["defences"] = rows
        text += [f"Fooling rate of dictionaries of M atoms (l2 {eps:g}), learned afresh on each network:", ""]
        text += markdown(["M", "no defence", "adversarial training", "noise injection"], rows)
    text += ["![Atoms](atoms.png)", ""]
    place = keep(f"dictionary-attacks-{kind}", text, record)
    generator = torch.Generator().manual_seed(0)
    learned = Adil(atoms=10, steps=150).learn(setting.forward, setting.seen, setting.seen_labels, generator)
    draw_atoms(learned, setting.shape, place / "atoms.png")


def _defences(setting: Setting, training: Dataset, chosen: Any, eps: float, kept: Path) -> list[list[str]]:
    """One row a number of atoms; rows are kept as they come, and not made again."""
    rows: list[list[str]] = json.loads(kept.read_text()) if kept.is_file() else []
    for atoms in ATOMS:
        if str(atoms) in [row[0] for row in rows]:
            continue
        networks: list[Callable[[], nn.Module]] = [lambda: setting.network]
        for mode in ("adversarial", "noise"):
            networks.append(lambda mode=mode, m=atoms: defended(setting, training, chosen, eps, mode, m))  # type: ignore[misc]
        cells = [str(atoms)]
        for make in networks:
            there = replace(setting, network=make())
            learner, generator = Adil(atoms=atoms, steps=100, eps=eps), torch.Generator().manual_seed(2)
            learned = learner.learn(there.forward, there.seen, there.seen_labels, generator)
            with torch.no_grad():
                predicted = there.forward(there.unseen).argmax(1)
            moved = perturbed(there.unseen, learner.code(there.forward, there.unseen, predicted, learned), learned)
            cells.append(interval(fooling_rate(there.forward, there.unseen, moved), len(moved)))
        rows.append(cells)
        print(" ".join(cells), flush=True)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(rows) + "\n")
    return rows


if __name__ == "__main__":
    main()
