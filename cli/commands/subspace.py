"""`advverify subspace`: how robust is each image against combinations of a few directions? Atoms of a dictionary, or random ones."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from advverify.verifier.errors import InvalidInput

from ..completion import MODEL
from ..help import Command
from ..options import (
    DATA,
    SEED,
    data_for,
    images_from,
    model_path,
    norm_option,
    note,
    output_options,
    several_outputs,
)
from ..outcomes import outcome_table, reasons, summary
from ..progress import Progress
from ..results import ResultFile
from ..table import console, show

if TYPE_CHECKING:
    from advverify.models.datasets import Dataset
    from advverify.verifier.api import Model
    from advverify.verifier.outcome import Outcome


@click.command("subspace", cls=Command)
@click.argument("model", type=MODEL)
@click.argument("directions")
@norm_option("1", "Norm of v.", choices="1|2|inf")
@click.option("--data", default=None, type=DATA, help="Data set [default: the model's own].")
@click.option(
    "--images", default="0:20", show_default=True, metavar="RANGE", help="Images of the test set: 7, 0:100 or 0:100:5."
)
@click.option("--clip/--no-clip", default=True, show_default=True, help="Entries of x + D v are clipped to [0, 1].")
@click.option("--gap", type=float, default=0.01, show_default=True, help="Relative gap of a closed bracket.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds an image.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of random directions and of attacks.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Append one JSON line an image.",
)
@output_options()
def command(model: str, directions: str, out: Path | None, as_json: bool, quiet: bool, **options: Any) -> int:
    """Bracket the smallest ||v|| for which an image x + D v of MODEL (a path or zoo:NAME) is misclassified.

    The columns of D are DIRECTIONS: a file of `attack --keep` (atoms, or perturbations scaled to length 1), an .npy file of
    shape (inputs, columns), or random:M, a random subspace of dimension M. Below the lower side no combination fools the network.
    With --out a run that was stopped goes on where it was.
    """
    from advverify.verifier.api import Model
    from advverify.verifier.norms import get_norm

    if not 0 < options["gap"] < 1 or not options["timeout"] > 0:
        raise InvalidInput("--gap must be above 0 and below 1, --timeout above 0")
    if get_norm(options["norm"]).name == "0":
        raise InvalidInput("--norm 0 would count atoms, which the subspace question does not: choose 1, 2 or inf")
    opened = Model(model_path(model))
    several_outputs(opened, model, "subspace")
    basis = _basis(directions, opened.network.input_size, options["seed"])
    data = data_for(opened, options["data"], say=partial(note, quiet=quiet))
    asked = images_from(options["images"], len(data))
    data.check_range(asked)
    outcomes = _answers(opened, model, data, asked, basis, directions, options, out, quiet)
    if as_json:
        for outcome in outcomes:
            click.echo(outcome.to_json())
        return 0
    screen = console()
    columns, rows = outcome_table(outcomes, True)
    what = f"distance {model} in the span of {directions} ({basis.shape[1]} columns), norm {options['norm']} of v"
    if not quiet:
        show(screen, columns, rows, what)
    screen.print(summary(outcomes, True, options["gap"]), markup=False)
    for line in () if quiet else reasons(outcomes):
        screen.print(line, markup=False)
    return 0


def _basis(directions: str, size: int, seed: int) -> np.ndarray:
    """D, (inputs, columns).

    Raises:
        InvalidInput: nothing of that kind, or of another size.
    """
    if directions.startswith("random:"):
        return _random(directions, size, seed)
    path = Path(directions)
    if path.suffix == ".npy":
        try:
            basis = np.asarray(np.load(path, allow_pickle=False), dtype=np.float64)
        except (OSError, ValueError) as error:
            raise InvalidInput(f"{path}: not a readable .npy array ({error})") from error
    else:
        basis = _of_attack(path)
    if basis.ndim != 2 or basis.shape[0] != size or not basis.shape[1]:
        raise InvalidInput(f"{path}: holds directions of shape {list(basis.shape)}; the model needs ({size}, columns)")
    if not np.isfinite(basis).all() or not np.abs(basis).max() > 0:
        raise InvalidInput(f"{path}: holds directions that are no finite numbers, or nothing but zeros")
    return basis


def _random(directions: str, size: int, seed: int) -> np.ndarray:
    import torch

    from advverify.models.geometry.subspace import random_subspace

    count = directions.removeprefix("random:")
    if not count.isdigit() or not 1 <= int(count) <= size:
        raise InvalidInput(f"DIRECTIONS '{directions}': random:M takes a dimension from 1 to {size}")
    basis: np.ndarray = random_subspace(size, int(count), torch.Generator().manual_seed(seed)).double().numpy()
    return basis


def _of_attack(path: Path) -> np.ndarray:
    from advverify.verifier.attacks.dictionary import Coder
    from advverify.verifier.attacks.learned_file import load
    from advverify.verifier.attacks.universal import Perturbation
    from advverify.verifier.attacks.upset import PerTarget
    from advverify.verifier.norms import get_norm

    fitted = load(path)
    learned = fitted.learned
    if isinstance(learned, Coder):
        atoms: np.ndarray = learned.atoms.double().numpy()
        return atoms
    if isinstance(learned, Perturbation | PerTarget):
        rows = learned.delta if isinstance(learned, Perturbation) else learned.deltas[learned.targets]
        scaled: np.ndarray = (
            (rows / get_norm(fitted.norm).length(rows).clamp(min=1e-12).unsqueeze(1)).T.double().numpy()
        )
        return scaled
    raise InvalidInput(
        f"{path}: {fitted.name} makes a perturbation of its own for every image, which spans no subspace"
    )


def _answers(
    model: Model,
    name: str,
    data: Dataset,
    asked: range,
    basis: np.ndarray,
    directions: str,
    options: dict[str, Any],
    out: Path | None,
    quiet: bool,
) -> list[Outcome]:
    """One outcome an image, those that are in the file already taken from there."""
    from advverify.verifier.engines import Settings
    from advverify.verifier.key import content_key
    from advverify.verifier.outcome import Bracket, Outcome, Trust, Verdict
    from advverify.verifier.subspace import subspace_distance

    clip = (0.0, 1.0) if options["clip"] else None
    limits = {k: options[k] for k in ("norm", "gap", "seed")}
    parts = {"call": "subspace", "model": model.network.sha256, "clip": clip, **limits}
    keys = [content_key({**parts, "label": int(data.labels[i])}, data.images[i], basis) for i in asked]
    sink = None if out is None else ResultFile(out)
    settings = Settings(timeout=options["timeout"], gap=options["gap"], threads=1, seed=options["seed"])
    done = {} if sink is None else sink.known(keys, settings)
    left = len(keys) - len(done)
    try:
        with Progress(left, limit=options["timeout"], quiet=quiet) as progress:
            for k, i in enumerate(asked):
                if k in done:
                    continue
                progress.doing(f"image {i}")
                image, label = data.images[i], int(data.labels[i])
                if model.predict(image) != label:
                    bracket = Bracket(0.0, 0.0, np.zeros(basis.shape[1]))
                    outcome = Outcome(Verdict.MISCLASSIFIED, bracket, Trust.CHECKED, "executor", 0.0)
                else:
                    outcome = subspace_distance(
                        model,
                        image,
                        label,
                        basis,
                        options["norm"],
                        clip=clip,
                        settings=settings,
                        listener=partial(progress.hear, i),
                    )
                    outcome = outcome.labelled(executed=_executed(model, image, label, basis, outcome, clip))
                labels = {"model": name, "data": data.name, "index": i, "label": label, "directions": directions}
                about = {"norm": options["norm"], "columns": basis.shape[1], "valid_range": clip, "key": keys[k]}
                about |= {"timeout": settings.timeout, "gap": settings.gap}
                done[k] = outcome.labelled(**labels, **about)
                if sink is not None:
                    sink.write(done[k])
                progress.settle(i, done[k])
    finally:
        if sink is not None:
            sink.close()
    return [done[k] for k in range(len(keys))]


def _executed(
    model: Model, image: np.ndarray, label: int, basis: np.ndarray, outcome: Outcome, clip: tuple[float, float] | None
) -> float | None:
    """The norm of v, at the upper side or a little beyond it, at which onnxruntime misclassifies x + D v as well."""
    if outcome.bracket.witness is None or not math.isfinite(outcome.bracket.upper):
        return None
    v = np.asarray(outcome.bracket.witness).ravel()
    for factor in (1.0, 1 + 1e-6, 1 + 1e-5, 1 + 1e-4, 1 + 1e-3):
        point = image.ravel() + factor * (basis @ v)
        if model.predict(point if clip is None else np.clip(point, *clip)) != label:
            return factor * outcome.bracket.upper
    return None
