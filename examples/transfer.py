"""What fools one network, does it fool another? Sources x victims, attacks of one image and learned ones, at one radius.

    python -m examples.transfer                                         # digits, some minutes on two cores
    python -m examples.transfer --networks a.onnx,b.onnx --data mnist:DIR --norm inf --eps 0.1

Attacks see the source alone; what is learned is learned on training images, and every share is of test images that both networks classify
rightly. The control beside each matrix is the victim's: the same perturbations with random signs.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from advverify.cli.report.figures import pyplot, require_report
from advverify.models.comparison.statistics import wilson
from advverify.verifier.attacks import ATTACKS, make_attack, run
from advverify.verifier.attacks.classification import ClassificationProblem
from advverify.verifier.attacks.learned import Fitted, fit, measure, random_signs
from advverify.verifier.network.evaluate import evaluate, predict
from advverify.verifier.norms import get_norm

from .dictionaries import Study, prepare
from .evaluation import keep, markdown

NETWORKS = ",".join(
    f"zoo:digits-{name}"
    for name in (
        "mlp",
        "conv",
        "resnet-plain",
        "resnet-antisym",
        "resnet-hamiltonian",
        "resnet-cpl",
        "resnet-plain-adv",
    )
)
CHOSEN = "pgd,universal-sgd,upset,adil"
_DRAWS = 3  # of random signs


def fooled(study: Study, source: str, victim: str, name: str, fitted: dict[tuple[str, str], Fitted]) -> dict[str, Any]:
    """Counts of images, fooled and fooled by random signs, that both networks classify rightly; what is learned on a source is
    kept in `fitted` for the next victim.
    """
    here, there = study.models[source].network, study.models[victim].network
    x, y = study.unseen
    right = (predict(here, x) == y) & (predict(there, x) == y)
    x, y = x[right], y[right]
    ball = get_norm(study.norm)
    problem = ClassificationProblem.balls(lambda p: evaluate(there, p), x, y, ball, study.eps)
    if ATTACKS[name].learned:
        if (source, name) not in fitted:
            fitted[source, name] = fit(name, make_attack(name), study.problem(source, study.seen))
        found = measure(fitted[source, name], problem, 0, _DRAWS, lambda p: evaluate(here, p))
        success, control = found.success, found.controls
    else:
        attacked = ClassificationProblem.balls(lambda p: evaluate(here, p), x, y, ball, study.eps)
        points = run(make_attack(name), attacked).points
        generator = torch.Generator().manual_seed(0)
        flips = [x + random_signs(x.shape[1], generator, x) * (points - x) for _ in range(_DRAWS)]
        success = problem.violation(points) < 0
        control = torch.stack([problem.violation(p.clamp(0, 1)) < 0 for p in flips])
    return {"fooled": int(success.sum()), "of": len(x), "control": float(control.double().mean())}


def picture(matrices: dict[str, np.ndarray], names: list[str], path: Path) -> None:
    """Heat maps of the shares, a panel an attack."""
    plt = pyplot()
    columns = min(2, len(matrices))
    rows, side = -(-len(matrices) // columns), 2.2 + 0.42 * len(names)
    size = (side * columns + 1.2, (side + 0.6) * rows)
    figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False)
    for axis in axes.ravel()[len(matrices) :]:
        axis.axis("off")
    for k, (axis, (attack, shares)) in enumerate(zip(axes.ravel(), matrices.items(), strict=False)):
        shown = axis.imshow(100 * shares, vmin=0, vmax=100, cmap="viridis")
        for i, row in enumerate(shares):
            for j, share in enumerate(row):
                colour = "black" if share > 0.6 else "white"
                axis.text(j, i, f"{100 * share:.0f}", ha="center", va="center", color=colour, fontsize=8)
        axis.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
        axis.set_yticks(range(len(names)), names if k % columns == 0 else [""] * len(names), fontsize=8)
        axis.set_title(attack, fontsize=10)
        axis.set_xlabel("victim", fontsize=8)
        if k % columns == 0:
            axis.set_ylabel("source", fontsize=8)
    figure.colorbar(shown, ax=axes[:, -1], label="fooled, %", shrink=0.6)
    figure.savefig(path, dpi=130)
    plt.close(figure)


@click.command()
@click.option("--networks", default=NETWORKS, show_default=True)
@click.option("--attacks", default=CHOSEN, show_default=True)
@click.option("--data", default="digits", show_default=True)
@click.option("--fit", "fit_images", default="0:300", show_default=True, help="Of the training part.")
@click.option("--images", default="0:360", show_default=True, help="Of the test set.")
@click.option("--norm", type=click.Choice(["2", "inf"]), default="inf", show_default=True)
@click.option("--eps", default=0.1, show_default=True)
@click.option("--work", type=click.Path(path_type=Path), default=Path("build/transfer"), show_default=True)
def main(attacks: str, **options: Any) -> None:
    """Attack every victim by way of every source; keep numbers, then draw."""
    require_report()
    torch.set_num_threads(1)
    study = prepare(seeds=1, **options)
    names, kind = list(study.models), options["data"].partition(":")[0]
    short = [name.removeprefix("zoo:").removeprefix(f"{kind}-") for name in names]
    text = [f"# Transfer between networks on {kind}, norm {study.norm}, radius {study.eps:g}", ""]
    text += [
        "Rows are sources, which attacks see and learn on, columns victims; shares of the test images that both classify rightly, with "
        f"Wilson's 95 % interval; learned on {len(study.seen[0])} training images. Last row: the victim under the same perturbations with random "
        "signs, mean over the sources. Made by `python -m examples.transfer`.",
        "",
    ]
    matrices: dict[str, np.ndarray] = {}
    fitted: dict[tuple[str, str], Fitted] = {}
    record: dict[str, Any] = {"networks": names}
    for attack in attacks.split(","):
        rows, shares, controls = [], [], []
        for source in names:
            found = [
                study.rows.get(
                    study.key(attack, source, victim), partial(fooled, study, source, victim, attack, fitted)
                )
                for victim in names
            ]
            sides = [wilson(f["fooled"], f["of"]) for f in found]
            shares.append([f["fooled"] / f["of"] for f in found])
            controls.append([f["control"] for f in found])
            cells = [
                f"{100 * f['fooled'] / f['of']:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
                for f, (low, high) in zip(found, sides, strict=True)
            ]
            rows.append([short[names.index(source)], *cells])
        rows.append(["random signs", *(f"{100 * c:.0f} %" for c in np.mean(controls, 0))])
        text += [f"`{attack}`:", "", *markdown(["", *short], rows)]
        matrices[attack] = np.array(shares)
        record[attack] = {"shares": shares, "controls": controls}
    text += ["![shares as heat maps](matrix.png)", ""]
    place = keep(f"transfer-{kind}-{study.norm}", text, record)
    picture(matrices, short, place / "matrix.png")


if __name__ == "__main__":
    main()
