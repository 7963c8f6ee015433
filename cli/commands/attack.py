"""`advverify attack`: what each attack finds, how far away, and how far that is from the exact minimum."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from advverify.verifier.errors import InvalidInput, no_such
from advverify.verifier.outcome import finite

from ..help import Command
from ..learned import DEFAULT_EPS, Lesson, forward_of, keep, lesson_from, loaded
from ..options import (
    DATA,
    SEED,
    data_for,
    images_from,
    is_page,
    model_path,
    norm_option,
    several_outputs,
    writable_file,
    writable_folder,
    write_text,
)
from ..table import Column, console, number, show

if TYPE_CHECKING:
    from torch import Tensor

    from advverify.verifier.api import Model
    from advverify.verifier.attacks import Entry
    from advverify.verifier.attacks.classification import ClassificationProblem
    from advverify.verifier.attacks.learned import Fitted, HeldOut
    from advverify.verifier.attacks.measure import Measured
    from advverify.verifier.network.nodes import Network

    from ..report.attack_page import Tried

# Columns that a narrow screen does without, in this order; what an attack is and where it is from stands in its file.
_SPARE = {"paper": 1, "box": 2, "kind": 3, "rMSE": 4, "s": 5, "95 %": 6}
_ATTACKS = (
    "Attacks, separated by commas, of noise, evasion, fgsm, bim, least-likely, pgd, lbfgs, carlini-wagner-2, carlini-wagner-inf, "
    "carlini-wagner-0, deepfool-2, deepfool-inf, jsma, greedy-l0, one-pixel, square, universal-deepfool, universal-sgd, upset, "
    "angri, atn, adil, sadil, flow, rotation, foolbox-pgd, foolbox-deepfool, foolbox-carlini-wagner, foolbox-ddn, foolbox-ead, "
    "art-auto-pgd and art-hop-skip-jump; or all that are our own.  [default: all]"
)


@click.command("attack", cls=Command)
@click.argument("model")
@click.option("--attack", "names", default=None, metavar="NAME,...", help=_ATTACKS)
@norm_option(None, "Only this norm [default: all].")
@click.option("--eps", type=float, default=None, help="Radius [default: the closest adversarial example is sought].")
@click.option("--data", default=None, metavar=DATA, help="Data set [default: the model's own].")
@click.option(
    "--images", default="0:100", show_default=True, metavar="RANGE", help="Images of the test set: 7, 0:100 or 0:100:5."
)
@click.option("--target", type=int, default=None, help="The class that must win [default: any but the label].")
@click.option(
    "--loss",
    type=click.Choice(["margin", "cross-entropy", "houdini"]),
    default="margin",
    show_default=True,
    help="What attacks by gradients descend.",
)
@click.option(
    "--margin",
    type=float,
    default=0.0,
    show_default=True,
    help="By how much the adversarial class must win, in logits (confidence, alpha).",
)
@click.option(
    "--source", default=None, metavar="MODEL", help="Attack this network instead and try what it finds (transfer)."
)
@click.option(
    "--fit",
    default=None,
    metavar="RANGE",
    help="Images that universal perturbations, generators and dictionaries are learned on, none of --images: 0:300 of the "
    "test set, train:0:300 of the training part.  [default: its first 300]",
)
@click.option(
    "--controls", type=click.IntRange(0, 1000), default=10, show_default=True, help="Draws of random signs beside them."
)
@click.option("--atoms", type=click.IntRange(1, 1000), default=10, show_default=True, help="Of dictionaries.")
@click.option(
    "--keep", "kept", type=click.Path(path_type=Path), default=None, help="Folder for what is learned: files, pictures."
)
@click.option(
    "--learned",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="A file of --keep: tried as it is, here or on another network.",
)
@click.option(
    "--exact",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    help="Lines of `distance --out`: brackets.",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of attacks.")
@click.option(
    "-o",
    "--out",
    "outs",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE|FILE.html",
    help="Write one JSON line an attack; or, to a name that ends in .html, a page. Both: give it twice.",
)
def command(
    names: str | None, outs: tuple[Path, ...], kept: Path | None, learned: tuple[Path, ...], **options: Any
) -> int:
    """Run attacks on images that MODEL (a path or zoo:NAME) classifies rightly.

    Every point is evaluated afresh and checked by onnxruntime; distances are those of successes. With --exact the table
    shows the median ratio to the exact distance, and an attack below a proved lower side is an error (exit status 1).
    Attacks that are learned are never measured on images that they have seen; "control" is the success of the same
    perturbations with random signs.
    """
    import torch

    from advverify.verifier.api import Model
    from advverify.verifier.attacks import ATTACKS

    chosen = _chosen(names, learned, options)
    for out in outs:
        writable_file(out, "--out")
    if kept is not None or any(is_page(out) for out in outs):
        from ..report.figures import require_report

        require_report()
    if kept is not None:
        writable_folder(kept, "--keep")
    model = Model(model_path(options["model"]))
    several_outputs(model, options["model"], "attack")
    target, classes = options["target"], model.network.output_size
    if target is not None and not 0 <= target < classes:
        raise InvalidInput(f"--target {target}: the network has {classes} classes, 0 to {classes - 1}")
    data = data_for(model, options["data"])
    asked = images_from(options["images"], len(data))
    data.check_range(asked)
    indices = [i for i in asked if model.predict(data.images[i]) == data.labels[i]]
    if target is not None:
        indices = [i for i in indices if data.labels[i] != target]
    if not indices:
        raise InvalidInput("no image of these is classified rightly, so there is nothing to attack")
    known = {} if options["exact"] is None else _brackets(options["exact"], model.network.sha256, options["margin"])
    x = torch.from_numpy(data.images[indices].reshape(len(indices), -1))
    y = torch.from_numpy(data.labels[indices])
    shape = tuple(data.images.shape[1:])
    source = None if options["source"] is None else _source(options["source"], model.network)
    files = [loaded(path, model) for path in learned]
    lesson = None
    if any(ATTACKS[name].learned for name in chosen):
        lesson = lesson_from(options["fit"], model, source or model.network, data, options["data"], asked)
    tried = []
    for name in chosen:
        for norm in ATTACKS[name].norms or ("inf",):
            if options["norm"] not in (None, norm) or (ATTACKS[name].kind == "spatial" and options["norm"]):
                continue
            if ATTACKS[name].learned:
                assert lesson is not None
                fitted = _learn(lesson, name, norm, options)
                if kept is not None:
                    keep(fitted, shape, kept)
                tried.append(_tried(model, fitted, x, y, indices, known, source, options))
            else:
                problem, found = _run(model, name, norm, x, y, shape, source, options)
                tried.append(_record(model, name, norm, problem, found, indices, known, options["eps"]))
    tried += [_tried(model, fitted, x, y, indices, known, source, options) for fitted in files]
    if not tried:
        raise InvalidInput(f"none of these attacks knows the norm {options['norm']}")
    rows = [each.row for each in tried]
    for out in outs:
        if is_page(out):
            write_text(out, _page(tried, data.name, indices, x, y, shape, known, options), "--out")
        else:
            write_text(out, "".join(json.dumps(finite(row)) + "\n" for row in rows), "--out")
    _show(rows, ATTACKS, f"{options['model']}, {len(indices)} of {len(asked)} images of {data.name}", bool(known))
    wrong = [row for row in rows if row["below"]]
    for row in wrong:
        click.echo(
            f"advverify: {row['attack']}, norm {row['norm']}: images {row['below']} are attacked below their proved distance: "
            "a bug in one of the two, please report it",
            err=True,
        )
    return 1 if wrong else 0


def _chosen(names: str | None, learned: tuple[Path, ...], options: dict[str, Any]) -> list[str]:
    """The attacks to run, and options that make no sense refused.

    Raises:
        InvalidInput: an unknown attack, or a value that cannot be.
    """
    from advverify.verifier.attacks import ATTACKS, OWN

    if names is None and learned:
        names = ""
    elif names is None:
        names = "all"
    chosen = list(OWN) if names == "all" else [name.strip() for name in names.split(",") if name.strip()]
    if not chosen and not learned:
        raise InvalidInput(f"'{names}' names no attack: choose all, {', '.join(ATTACKS)}")
    for name in chosen:
        if name not in ATTACKS:
            raise no_such("attack", name, ("all", *ATTACKS))
        if ATTACKS[name].package and options["margin"]:
            raise InvalidInput(f"--margin: attacks of other packages know none, and {name} is one; use our own")
    if not 0 <= options["margin"] < math.inf:
        raise InvalidInput(f"--margin must be a finite number of at least 0, got {options['margin']:g}")
    if options["eps"] is not None and (math.isnan(options["eps"]) or options["eps"] <= 0):
        raise InvalidInput(f"--eps must be a number above 0, got {options['eps']:g}")
    if options["fit"] is not None and not any(ATTACKS[name].learned for name in chosen):
        raise InvalidInput(
            "--fit: none of these attacks is learned; choose " + ", ".join(n for n, e in ATTACKS.items() if e.learned)
        )
    return chosen


def _learn(lesson: Lesson, name: str, norm: str, options: dict[str, Any]) -> Fitted:
    made = {"atoms": options["atoms"]} if name in ("adil", "sadil") else {}
    return lesson.learn(name, norm, options["eps"] or DEFAULT_EPS[norm], options, made)


def _tried(
    model: Model,
    fitted: Fitted,
    x: Tensor,
    y: Tensor,
    indices: list[int],
    known: dict[tuple[int, str], tuple[float, float]],
    source: Network | None,
    options: dict[str, Any],
) -> Tried:
    """A learned attack on images that it has not seen, beside its controls.

    Raises:
        InvalidInput: it has seen one, or was learned for another radius or target.
    """
    import torch

    from advverify.verifier.attacks.classification import ClassificationProblem
    from advverify.verifier.attacks.learned import measure
    from advverify.verifier.norms import get_norm

    for option, own in (("eps", fitted.eps), ("target", fitted.about["target"])):
        if options[option] not in (None, own):
            raise InvalidInput(
                f"--{option}: {fitted.name} was learned for {own}; leave it out, or learn it for {options[option]}"
            )
    target = fitted.about["target"]
    targets = None if target is None else torch.full_like(y, target)
    if target is not None and bool((y == target).any()):
        raise InvalidInput(f"{fitted.name} was learned for the target {target}: give --target {target}")
    problem = ClassificationProblem.balls(
        forward_of(model.network), x, y, get_norm(fitted.norm), fitted.eps, options["loss"], targets
    ).confident(options["margin"])
    through = None if source is None else forward_of(source)
    found = measure(fitted, problem, options["seed"], options["controls"], through)
    tried = _record(model, fitted.name, fitted.norm, problem, found, indices, known, fitted.eps)
    shares = found.controls.double().mean(1)
    draws = None
    if len(shares):
        draws = {"draws": len(shares), "mean": float(shares.mean()), "largest": float(shares.max())}
    learned = {**fitted.about, "seconds": fitted.seconds, "eps": fitted.eps}
    return replace(tried, row={**tried.row, "control": draws, "learned": learned})


def _brackets(path: Path, sha256: str, margin: float) -> dict[tuple[int, str], tuple[float, float]]:
    """(index, norm) to bracket, from the lines of `distance --out` about this model."""
    from advverify.verifier.outcome import UNREADABLE

    known: dict[tuple[int, str], tuple[float, float]] = {}
    try:
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if (
                record["model_sha256"] == sha256
                and record.get("target") is None
                and float(record.get("margin") or 0.0) == margin
                and record["verdict"] != "misclassified"
            ):
                upper = math.inf if record["upper"] is None else float(record["upper"])
                known[int(record["index"]), str(record["norm"])] = (float(record["lower"] or 0.0), upper)
    except UNREADABLE as error:
        raise InvalidInput(f"--exact {path}: not the lines of `advverify distance --out` ({error})") from error
    if not known:
        of = f" with --margin {margin:g}" if margin else ""
        raise InvalidInput(f"--exact {path}: holds no brackets of this model{of}")
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
    from advverify.verifier.norms import get_norm

    eps, forward = options["eps"], forward_of(model.network)
    targets = None if options["target"] is None else torch.full_like(y, options["target"])
    attack = make_attack(name, shape)
    if source is not None:
        attack = Transfer(forward_of(source), attack)
    if ATTACKS[name].kind == "ball" and eps is not None:
        problem = ClassificationProblem.balls(forward, x, y, get_norm(norm), eps, options["loss"], targets)
        problem = problem.confident(options["margin"])
        return problem, within(attack, problem, options["seed"])
    problem = ClassificationProblem.unbounded(forward, x, y, get_norm(norm), options["loss"], targets)
    problem = problem.confident(options["margin"])
    return problem, closest(name, attack, problem, options["seed"])


def _record(
    model: Any,
    name: str,
    norm: str,
    problem: ClassificationProblem,
    found: Measured | HeldOut,
    indices: list[int],
    known: dict[tuple[int, str], tuple[float, float]],
    eps: float | None,
) -> Tried:
    """Everything that table and page show; successes that onnxruntime does not confirm do not count."""
    import torch

    from advverify.models.comparison.statistics import wilson
    from advverify.verifier.attacks import ATTACKS
    from advverify.verifier.norms import get_norm

    from ..report.attack_page import Tried

    logits = torch.from_numpy(model.executor.run(found.points.numpy()))
    confirmed = found.success & (problem.margin(logits) < 0)
    delta = found.points - problem.images
    own = get_norm(norm).length(delta)
    if eps is not None:
        confirmed &= own <= eps * (1 + 1e-9)
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
    entry = ATTACKS[name]
    row = {
        "attack": name,
        "norm": norm,
        "eps": eps,
        "images": len(indices),
        "margin": problem.confidence,
        "success": float(confirmed.double().mean()),
        "interval": wilson(int(confirmed.sum()), len(indices)),
        "median": {n: float(v.median()) if len(v) else math.inf for n, v in lengths.items()},
        "rmse": float((delta.square().sum(1) / squares).mean()),
        "seconds": found.seconds,
        "ratio": float(np.median(ratios)) if ratios else math.nan,
        "below": below,
        "indices": indices,
        "distances": torch.where(confirmed, own, torch.full_like(own, torch.inf)).tolist(),
    }
    classes = logits.argmax(1).numpy()
    return Tried(row, found.points.numpy(), classes, entry.kind, entry.knowledge, entry.paper)


def _page(
    tried: list[Tried],
    data: str,
    indices: list[int],
    x: Any,
    y: Any,
    shape: tuple[int, ...],
    known: dict[tuple[int, str], tuple[float, float]],
    options: dict[str, Any],
) -> str:
    """The page as text."""
    import tempfile

    from ..report.attack_page import Attacked, page

    asked = {"images": f"{options['images']} of {data}, those classified rightly", "loss": options["loss"]}
    asked |= {"target": "any other class" if options["target"] is None else f"class {options['target']}"}
    asked |= {"found on": options["model"] if options["source"] is None else options["source"]}
    asked |= {"seed": str(options["seed"])}
    attacked = Attacked(options["model"], data, indices, x.numpy(), y.numpy(), shape, known, options["eps"])
    with tempfile.TemporaryDirectory() as folder:
        return page(attacked, tried, Path(folder), asked)


def _show(rows: list[dict[str, Any]], attacks: dict[str, Entry], title: str, exact: bool) -> None:
    names = ["attack", "norm", "kind", "box", "paper", "success", "l0", "l1", "l2", "linf", "rMSE", "s"]
    learned = any(row.get("control") for row in rows)
    names += ["to exact"] if exact else []
    names[6:6] = ["95 %", *(["control"] if learned else [])]
    lines = []
    for row in rows:
        entry, median = attacks[row["attack"]], row["median"]
        cells = [row["attack"], row["norm"] if entry.norms else "-", entry.kind, entry.knowledge, entry.paper]
        cells += [f"{100 * row['success']:.0f} %", _interval(row["interval"])]
        cells += [_control(row)] if learned else []
        cells += [*(number(median[n], 3) for n in ("0", "1", "2", "inf"))]
        cells += [number(row["rmse"], 3), f"{row['seconds']:.1f}"]
        lines.append([*cells, *([number(row["ratio"], 3)] if exact else [])])
    words = ("attack", "kind", "box", "paper")
    screen = console()
    show(screen, [Column(name, name in words, spare=_SPARE.get(name, 0)) for name in names], lines, title)
    for spec, count in dict.fromkeys((r["learned"]["fit"], r["learned"]["images"]) for r in rows if "learned" in r):
        screen.print(f"learned on {count} images ({spec}), none of them measured on", markup=False)
    if learned:
        screen.print(
            "control: success of the same perturbations with random signs, mean and largest of the draws", markup=False
        )


def _interval(sides: tuple[float, float]) -> str:
    return f"{100 * sides[0]:.0f}-{100 * sides[1]:.0f}"


def _control(row: dict[str, Any]) -> str:
    control = row.get("control")
    return "-" if not control else f"{100 * control['mean']:.0f}, {100 * control['largest']:.0f} %"
