"""Is a stable ResNet more robust? Five seeds of each family on digits, exact linf radii, the seed as the unit.

python -m examples.stable_against_plain                             # some ten minutes on two cores
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import click

from advverify.cli.commands.compare import command as compare
from advverify.cli.report.figures import require_report
from advverify.models.build import build_once
from advverify.models.datasets import load_dataset
from advverify.models.zoo import recipe_of

from .evaluation import RESULTS

FAMILIES = ("plain", "antisym", "hamiltonian", "cpl")


@click.command()
@click.option("--seeds", default=5, show_default=True)
@click.option("--images", default="0:60", show_default=True)
@click.option("--norm", default="inf", show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/stable-against-plain"), show_default=True)
def main(seeds: int, images: str, norm: str, work: Path) -> None:
    """Train what is not there yet, compare, keep page, picture and numbers."""
    require_report()
    work.mkdir(parents=True, exist_ok=True)
    training, test = load_dataset("digits", "train"), load_dataset("digits", "test")
    paths = []
    for family in FAMILIES:
        for seed in range(seeds):
            path = work / f"{family}-{seed}.onnx"
            paths.append(str(path))
            chosen = recipe_of(f"digits-resnet-{family}")
            chosen = replace(chosen, training=replace(chosen.training, seed=seed))
            if build_once(chosen, training, test, path):
                print(f"trained {path}", flush=True)
    out = work / f"norm-{norm}"
    compare.main([*paths, "--images", images, "--norm", norm, "--out", str(out)], standalone_mode=False)
    kept = RESULTS / f"stable-against-plain-norm-{norm}"
    kept.mkdir(parents=True, exist_ok=True)
    for name in ("index.html", "curves.svg", "comparison.json"):
        shutil.copy(out / name, kept / name)


if __name__ == "__main__":
    main()
