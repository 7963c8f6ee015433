"""`advverify attack`: what each attack finds, how far away, and how far that is from the exact minimum."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from advverify.verifier.errors import InvalidInput, no_such
from advverify.verifier.outcome import finite

from ..options import (
    SEED,
    data_for,
    images_from,
    model_path,
    norm_option,
    note,
    output_options,
    several_outputs,
    writable_file,
    write_text,
)
from ..progress import Progress
from ..saving import Gallery
from ..table import Column, console, number, show

if TYPE_CHECKING:
    from advverify.models.datasets import Dataset
    from advverify.verifier.attacks import Entry
    from advverify.verifier.attacks.classification import ClassificationProblem
    from advverify.verifier.attacks.measure import Measured
    from advverify.verifier.network.nodes import Network

# Columns that a narrow screen does without, in this order; what an attack is and where it is from stands in its file.
_SPARE = {"paper": 1, "box": 2, "kind": 3, "rMSE": 4, "s": 5}
_DEFAULT_EPS = {"inf": 0.1, "2": 1.0}  # of universal perturbations


@click.command("attack")
@click.argument("model")
@click.option("--attack", "names", default="all", show_default=True, help="Comma-separated attacks, or all of our own.")
@norm_option(None, "Only this norm [default: all].")
@click.option("--eps", type=float, default=None, help="Radius [default: the closest adversarial example is sought].")
@click.option("--data", default=None, help="digits, mnist:DIR, cifar10:DIR or npz:FILE [default: the model's own].")
@click.option("--images", default="0:100", show_default=True, help="Images of the test set: 7, 0:100 or 0:100:5.")
@click.option("--target", type=int, default=None, help="The class that must win [default: any but the label].")
@click.option("--loss", type=click.Choice(["margin", "cross-entropy", "houdini"]), default="margin", show_default=True)
@click.option("--source", default=None, help="Attack this network instead and try what it finds (transfer).")
@click.option(
    "--exact",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Lines of `distance --out`: brackets.",
)
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=None, help="Write one JSON line an attack.")
@output_options(save=True, rows="an attack")
def command(names: str, out: Path | None, save: Path | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Run attacks on images that MODEL (a path or zoo:NAME) classifies rightly.

    Every point is evaluated afresh and checked by onnxruntime; distances are those of successes. With --exact the table
    shows the median ratio to the exact distance, and an attack below a proved lower side is an error (exit status 1).
    """
    import torch

    from advverify.verifier.api import Model
    from advverify.verifier.attacks import ATTACKS, OWN

    chosen = list(OWN) if names == "all" else [name.strip() for name in names.split(",") if name.strip()]
    if not chosen:
        raise InvalidInput(f"'{names}' names no attack: choose all, {', '.join(ATTACKS)}")
    for name in chosen:
        if name not in ATTACKS:
            raise no_such("attack", name, ("all", *ATTACKS))
    if out is not None:
        writable_file(out, "--out")
    eps = options["eps"]
    if eps is not None and (math.isnan(eps) or eps <= 0):
        raise InvalidInput(f"--eps must be a number above 0, got {eps:g}")
    model = Model(model_path(options["model"]))
    several_outputs(model, options["model"], "attack")
    target, classes = options["target"], model.network.output_size
    if target is not None and not 0 <= target < classes:
        raise InvalidInput(f"--target {target}: the network has {classes} classes, 0 to {classes - 1}")
    data = data_for(model, options["data"], say=partial(note, quiet=quiet))
    asked = images_from(options["images"], len(data))
    data.check_range(asked)
    indices = [i for i in asked if model.predict(data.images[i]) == data.labels[i]]
    if target is not None:
        indices = [i for i in indices if data.labels[i] != target]
    if not indices:
        raise InvalidInput("no image of these is classified rightly, so there is nothing to attack")
    known = {} if options["exact"] is None else _brackets(options["exact"], model.network.sha256)
    x = torch.from_numpy(data.images[indices].reshape(len(indices), -1))
    y = torch.from_numpy(data.labels[indices])
    shape = tuple(data.images.shape[1:])
    source = None if options["source"] is None else _source(options["source"], model.network)
    title = f"{options['model']}, {len(indices)} of {len(asked)} images of {data.name}"
    about = {"command": "attack", "model": options["model"], "model_sha256": model.network.sha256, "eps": eps}
    gallery = None if save is None else Gallery(save, f"attack {title}", about)
    runs = [
        (name, norm)
        for name in chosen
        for norm in ATTACKS[name].norms or ("inf",)
        if options["norm"] in (None, norm) and not (ATTACKS[name].kind == "spatial" and options["norm"])
    ]
    if not runs:
        raise InvalidInput(f"none of these attacks knows the norm {options['norm']}")
    rows = []
    with Progress(len(runs), "attacks", quiet=quiet) as progress:
        for name, norm in runs:
            progress.doing(f"{name}, norm {norm}" if ATTACKS[name].norms else name)
            problem, found = _run(model, name, norm, x, y, shape, source, options)
            confirmed = _confirmed(model, problem, found, norm, eps)
            rows.append(_record(name, norm, problem, found, confirmed, indices, known, eps))
            if gallery is not None:
                _save(gallery, model, name, norm, found.points[confirmed].numpy(), data, np.array(indices)[confirmed])
            progress.settle((name, norm))
    lines = [json.dumps(finite({"schema": 1, "model": options["model"], **row})) for row in rows]
    if as_json:
        click.echo("\n".join(lines))
    elif not quiet:
        _show(rows, ATTACKS, title, bool(known))
    if out is not None:
        write_text(out, "".join(f"{line}\n" for line in lines), "--out")
    if gallery is not None:
        gallery.close()
        if not quiet:
            click.echo(str(gallery), err=as_json)
    wrong = [row for row in rows if row["below"]]
    for row in wrong:
        click.echo(
            f"advverify: {row['attack']}, norm {row['norm']}: images {row['below']} are attacked below their proved distance: "
            "a bug in one of the two, please report it",
            err=True,
        )
    return 1 if wrong else 0


def _brackets(path: Path, sha256: str) -> dict[tuple[int, str], tuple[float, float]]:
    """(index, norm) to bracket, from the lines of `distance --out` about this model."""
    from advverify.verifier.outcome import UNREADABLE

    known: dict[tuple[int, str], tuple[float, float]] = {}
    try:
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if (
                record["model_sha256"] == sha256
                and record.get("target") is None
                and record["verdict"] != "misclassified"
            ):
                upper = math.inf if record["upper"] is None else float(record["upper"])
                known[int(record["index"]), str(record["norm"])] = (float(record["lower"] or 0.0), upper)
    except UNREADABLE as error:
        raise InvalidInput(f"--exact {path}: not the lines of `advverify distance --out` ({error})") from error
    if not known:
        raise InvalidInput(f"--exact {path}: holds no brackets of this model")
    return known


def _source(name: str, attacked: Network) -> Network:
    """The network that attacks see instead.

    Raises:
        InvalidInput: its inputs or outputs are others.
    """
    from advverify.verifier.network.onnx_reader import read_onnx

    source = read_onnx(model_path(name))
    if (source.input_size, source.output_size) != (attacked.input_size, attacked.output_size):
        raise InvalidInput(f"--source {name}: has other inputs or outputs than the model")
    return source


def _run(
    model: Any,
    name: str,
    norm: str,
    x: Any,
    y: Any,
    shape: tuple[int, ...],
    source: Network | None,
    options: dict[str, Any],
) -> tuple[ClassificationProblem, Measured]:
    import torch

    from advverify.verifier.attacks import ATTACKS, make_attack
    from advverify.verifier.attacks.classification import ClassificationProblem
    from advverify.verifier.attacks.measure import closest, within
    from advverify.verifier.attacks.transfer import Transfer
    from advverify.verifier.network.evaluate import evaluate
    from advverify.verifier.norms import get_norm

    eps, ball = options["eps"], ATTACKS[name].kind in ("ball", "universal")
    forward = lambda points: evaluate(model.network, points)  # noqa: E731
    targets = None if options["target"] is None else torch.full_like(y, options["target"])
    attack = make_attack(name, shape)
    if source is not None:
        attack = Transfer(lambda points: evaluate(source, points), attack)
    if ball and (eps is not None or ATTACKS[name].kind == "universal"):
        radius = eps if eps is not None else _DEFAULT_EPS[norm]
        problem = ClassificationProblem.balls(forward, x, y, get_norm(norm), radius, options["loss"], targets)
        return problem, within(attack, problem, options["seed"])
    problem = ClassificationProblem.unbounded(forward, x, y, get_norm(norm), options["loss"], targets)
    return problem, closest(name, attack, problem, options["seed"])


def _confirmed(model: Any, problem: ClassificationProblem, found: Measured, norm: str, eps: float | None) -> Any:
    """Which successes onnxruntime confirms; the others do not count."""
    import torch

    from advverify.verifier.norms import get_norm

    logits = torch.from_numpy(model.executor.run(found.points.numpy()))
    confirmed = found.success & (problem.margin(logits) < 0)
    if eps is not None:
        confirmed &= get_norm(norm).length(found.points - problem.images) <= eps * (1 + 1e-9)
    return confirmed


def _save(
    gallery: Gallery, model: Any, name: str, norm: str, points: np.ndarray, data: Dataset, indices: np.ndarray
) -> None:
    """Save what an attack found, one example an image."""
    import torch

    from advverify.verifier.norms import get_norm

    for point, index in zip(points, indices.tolist(), strict=True):
        image = data.images[index]
        change = torch.from_numpy(point - image.ravel())
        gallery.add(
            f"image-{index}-{name}-norm-{norm}",
            point.reshape(image.shape),
            image,
            index=index,
            attack=name,
            label=int(data.labels[index]),
            prediction=model.predict(point),
            norm=norm,
            distance=float(get_norm(norm).length(change)),
        )


def _record(
    name: str,
    norm: str,
    problem: ClassificationProblem,
    found: Measured,
    confirmed: Any,
    indices: list[int],
    known: dict[tuple[int, str], tuple[float, float]],
    eps: float | None,
) -> dict[str, Any]:
    """Everything the table shows."""
    import torch

    from advverify.verifier.attacks import ATTACKS
    from advverify.verifier.norms import get_norm

    delta = found.points - problem.images
    own = get_norm(norm).length(delta)
    lengths = {n: get_norm(n).length(delta)[confirmed] for n in ("0", "1", "2", "inf")}
    # What was executed is the point in the file's precision, and so is its distance.
    exact = get_norm(norm).length(found.points.to(torch.float32).double() - problem.images)
    ratios, below = [], []
    for k, index in enumerate(indices):
        bracket = known.get((index, norm))
        if bracket is None or not bool(confirmed[k]) or problem.targets is not None or not ATTACKS[name].norms:
            continue
        if math.isfinite(bracket[1]) and bracket[1] > 0:
            ratios.append(float(own[k]) / bracket[1])
        if float(exact[k]) < bracket[0] * (1 - 1e-9):
            below.append(index)
    squares = problem.images.square().sum(1).clamp(min=1e-12)
    return {
        "attack": name,
        "norm": norm,
        "eps": eps,
        "images": len(indices),
        "success": float(confirmed.double().mean()),
        "median": {n: float(v.median()) if len(v) else math.inf for n, v in lengths.items()},
        "rmse": float((delta.square().sum(1) / squares).mean()),
        "seconds": found.seconds,
        "ratio": float(np.median(ratios)) if ratios else math.nan,
        "below": below,
    }


def _show(rows: list[dict[str, Any]], attacks: dict[str, Entry], title: str, exact: bool) -> None:
    names = ["attack", "norm", "kind", "box", "paper", "success", "l0", "l1", "l2", "linf", "rMSE", "s"]
    names += ["to exact"] if exact else []
    lines = []
    for row in rows:
        entry, median = attacks[row["attack"]], row["median"]
        cells = [row["attack"], row["norm"] if entry.norms else "-", entry.kind, entry.knowledge, entry.paper]
        cells += [f"{100 * row['success']:.0f} %", *(number(median[n], 3) for n in ("0", "1", "2", "inf"))]
        cells += [number(row["rmse"], 3), f"{row['seconds']:.1f}"]
        lines.append([*cells, *([number(row["ratio"], 3)] if exact else [])])
    words = ("attack", "kind", "box", "paper")
    show(console(), [Column(name, name in words, spare=_SPARE.get(name, 0)) for name in names], lines, title)
