"""CURE against adversarial training: accuracy, PGD accuracy and the cost of training (Moosavi-Dezfooli et al., CVPR 2019).

python -m examples.cure_against_adversarial_training                # digits, a minute on two cores
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from advverify.models.comparison.sanity import Evaluation
from advverify.models.datasets import load_dataset

from .evaluation import evaluations, keep, markdown, percent, recipe, study, verdict

TRAININGS = {"standard": "standard", "cure": "CURE", "pgd": "adversarial training (PGD)"}
# Published: CIFAR-10, ResNet-18, linf 8/255, PGD of 20 steps; clean and robust accuracy.
PUBLISHED = {"standard": (0.949, 0.0), "CURE": (0.812, 0.363), "adversarial training (PGD)": (0.794, 0.437)}


@click.command()
@click.option("--data", default="digits", show_default=True, help="digits, or cifar10:DIR.")
@click.option("--device", default="cpu", show_default=True)
def main(data: str, device: str) -> None:
    """Train, attack, lint."""
    kind = data.partition(":")[0]
    training, test = load_dataset(data, "train"), load_dataset(data, "test")
    radii = (0.05, 0.1) if kind == "digits" else (8 / 255,)
    studied = []
    with tempfile.TemporaryDirectory() as folder:
        for short, name in TRAININGS.items():
            print(f"{name} ...", flush=True)
            studied.append(study(name, recipe(f"{kind}-{short}"), training, test, radii, Path(folder), device))
    least = studied[0].seconds
    rows = [
        [s.name, percent(s.clean), *(percent(s.robust["pgd", e]) for e in radii), f"{s.seconds / least:.1f}"]
        for s in studied
    ]
    text = [f"# CURE against adversarial training on {kind}", ""]
    text += [f"{len(test)} test images, norm inf; made by `python -m examples.cure_against_adversarial_training`.", ""]
    text += markdown(["training", "clean", *(f"PGD {e:g}" for e in radii), "cost against standard"], rows)
    text += verdict("this table", evaluations(studied, len(test)))
    text += ["Published (CIFAR-10, ResNet-18, eps 8/255; the paper gives CURE a third to a fifth of the cost):", ""]
    text += markdown(["training", "clean", "PGD"], [[n, percent(c), percent(r)] for n, (c, r) in PUBLISHED.items()])
    text += verdict(
        "published", [Evaluation(n, "pgd", "inf", 8 / 255, r, c, 10_000) for n, (c, r) in PUBLISHED.items()]
    )
    record = [
        {"name": s.name, "clean": s.clean, "pgd": {f"{e:g}": s.robust["pgd", e] for e in radii}, "seconds": s.seconds}
        for s in studied
    ]
    keep(f"cure-{kind}", text, record)


if __name__ == "__main__":
    main()
