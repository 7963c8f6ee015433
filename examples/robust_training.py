"""Seed 001 again: FGSM and PGD against no defence, adversarial training, and a contrastive loss; with PCA pictures.

python -m examples.robust_training                                  # digits, minutes on two cores
python -m examples.robust_training --data cifar10:DIR --device cuda # the same recipes at CIFAR-10 size
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from advverify.cli.report.figures import require_report
from advverify.models.comparison.sanity import Evaluation
from advverify.models.datasets import Dataset, load_dataset
from advverify.verifier.attacks.base import run
from advverify.verifier.attacks.classification import ClassificationProblem
from advverify.verifier.attacks.pgd import Pgd
from advverify.verifier.norms import get_norm

from .evaluation import Studied, evaluations, keep, markdown, percent, recipe, study, verdict

DEFENCES = {
    "standard": "without defence",
    "fgsm": "adversarial training (FGSM)",
    "pgd": "adversarial training (PGD)",
    "contrastive": "contrastive loss",
}
# The table of the talk: CIFAR-10, clean accuracy 87.75 % without defence; no other clean accuracy is given.
CLEAN = 0.8775
PUBLISHED = {
    ("fgsm", "without defence"): (0.4795, 0.0731),
    ("fgsm", "adversarial training (FGSM)"): (0.6853, 0.4315),
    ("fgsm", "adversarial training (PGD)"): (0.6874, 0.1692),
    ("pgd", "without defence"): (0.5799, 0.0),
    ("pgd", "adversarial training (FGSM)"): (0.8832, 0.0355),
    ("pgd", "adversarial training (PGD)"): (0.9128, 0.1333),
}


@click.command()
@click.option("--data", default="digits", show_default=True, help="digits, or cifar10:DIR.")
@click.option("--device", default="cpu", show_default=True)
def main(data: str, device: str) -> None:
    """Train, attack, lint; keep the numbers, then draw."""
    require_report()
    kind = data.partition(":")[0]
    training, test = load_dataset(data, "train"), load_dataset(data, "test")
    radii = (0.01, 0.05, 0.1) if kind == "digits" else (0.01, 0.05)
    studied = []
    with tempfile.TemporaryDirectory() as folder:
        for short, name in DEFENCES.items():
            print(f"{name} ...", flush=True)
            chosen = recipe(f"{kind}-{short}")
            studied.append(study(name, chosen, training, test, radii, Path(folder), device))
    text = [
        f"# Seed 001 on {kind}",
        "",
        f"{len(test)} test images, norm inf; made by `python -m examples.robust_training`.",
        "",
    ]
    rows = [
        [
            s.name,
            percent(s.clean),
            *(percent(s.robust[a, e]) for a in ("fgsm", "pgd") for e in radii),
            f"{s.seconds:.0f}",
        ]
        for s in studied
    ]
    header = ["defence", "clean", *(f"{a.upper()} {e:g}" for a in ("fgsm", "pgd") for e in radii), "training s"]
    text += markdown(header, rows)
    text += verdict("this table", evaluations(studied, len(test)))
    text += ["The talk's table (CIFAR-10):", ""]
    text += markdown(
        ["defence", "FGSM 0.01", "FGSM 0.05", "PGD 0.01", "PGD 0.05"],
        [
            [name, *(percent(v) for a in ("fgsm", "pgd") for v in PUBLISHED[a, name])]
            for name in list(DEFENCES.values())[:3]
        ],
    )
    published = [
        Evaluation(name, attack, "inf", eps, share, CLEAN, 10_000)
        for (attack, name), shares in PUBLISHED.items()
        for eps, share in zip((0.01, 0.05), shares, strict=True)
    ]
    text += verdict("the talk's table", published)
    record = [_record(s) for s in studied]
    keep(f"robust-training-{kind}", text, record)
    text += ["Embeddings (two principal components of the clean test images; crosses: adversarial ones at 0.1):", ""]
    text += ["![PCA of the embeddings](pca.png)", ""]
    spread, facts = draw([studied[0], studied[3]], test)
    text += [*facts, ""]
    place = keep(f"robust-training-{kind}", text, record)
    spread.savefig(place / "pca.png", dpi=120)


def _record(studied: Studied) -> dict[str, object]:
    robust = [{"attack": a, "eps": e, "robust": share} for (a, e), share in studied.robust.items()]
    return {"name": studied.name, "clean": studied.clean, "robust": robust}


def draw(studied: list[Studied], test: Dataset, count: int = 300) -> tuple[Any, list[str]]:
    """Clean and adversarial embeddings in the plane of the clean ones' principal components."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from sklearn.decomposition import PCA
    from sklearn.metrics import silhouette_score

    figure, axes = plt.subplots(1, len(studied), figsize=(6 * len(studied), 5), layout="constrained")
    images, labels = torch.from_numpy(test.images[:count]).float(), torch.from_numpy(test.labels[:count])
    shape, facts = images.shape[1:], []
    for axis, each in zip(axes, studied, strict=True):
        network = each.network.eval()

        def forward(x: torch.Tensor, network: torch.nn.Module = network) -> torch.Tensor:
            logits: torch.Tensor = network(x.unflatten(1, shape))
            return logits

        problem = ClassificationProblem.balls(forward, images.flatten(1), labels, get_norm("inf"), 0.1)
        found = run(Pgd(steps=40, restarts=2), problem)
        with torch.no_grad():
            clean = network[:-1](images).numpy()
            moved = network[:-1](found.points.unflatten(1, shape)).numpy()
        pca = PCA(2).fit(clean)
        a, b = pca.transform(clean), pca.transform(moved)
        fooled = found.success.numpy()
        axis.scatter(*a.T, c=test.labels[:count], cmap="tab10", s=14)
        axis.scatter(*b[fooled].T, c=test.labels[:count][fooled], cmap="tab10", s=20, marker="x", linewidths=0.8)
        axis.set(title=each.name, xlabel="first component", ylabel="second component")
        explained, silhouette = (
            float(np.sum(pca.explained_variance_ratio_)),
            silhouette_score(clean, test.labels[:count]),
        )
        facts.append(
            f"- {each.name}: {100 * explained:.0f} % of the variance is in the plane, silhouette {silhouette:.2f}, "
            f"{int(fooled.sum())} of {len(images)} fooled at 0.1"
        )
    return figure, facts


if __name__ == "__main__":
    main()
