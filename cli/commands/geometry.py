"""`advverify geometry`: how decision boundaries run, as figures with their data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

from advverify.verifier.errors import InvalidInput

from ..help import Command
from ..options import (
    DATA,
    SEED,
    data_for,
    images_from,
    is_page,
    model_path,
    several_outputs,
    writable_file,
    writable_folder,
)
from ..report.figures import require_report
from ..report.geometry_page import HEADS, rows, write_folder, write_page
from ..table import Column, console, show

_MOST_INPUTS = 1024
_SPARE = {"h": 1, "largest in profile": 2}  # columns that a narrow screen does without, in this order


@click.command("geometry", cls=Command)
@click.argument("models", nargs=-1, required=True)
@click.option("--data", default=None, metavar=DATA, help="Data set [default: the models' own].")
@click.option(
    "--images", default="0:60", show_default=True, metavar="RANGE", help="Images of the test set: 7, 0:100 or 0:100:5."
)
@click.option(
    "--h",
    type=float,
    default=0.5,
    show_default=True,
    help="Step of finite differences, as a share of the median distance.",
)
@click.option(
    "--length",
    type=float,
    default=None,
    help="l2 length of the perturbations that all images share, the same for all networks [default: twice the median distance of "
    "the first].",
)
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of random directions.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR|FILE.html",
    help="Folder for the page, its figures and their data; or the page alone.",
)
def command(
    models: tuple[str, ...],
    data: str | None,
    images: str,
    h: float,
    length: float | None,
    seed: int,
    out: Path | None,
) -> int:
    """Curvature, normals, cross-sections and subspaces of the decision boundaries of MODELS (paths or zoo:NAME).

    ReLU networks have no curvature at a point; all curvature is that of finite differences at the step h.
    """
    import torch

    from advverify.models.geometry.study import Options, study
    from advverify.verifier.api import Model
    from advverify.verifier.network.evaluate import evaluate, predict

    if not h > 0:
        raise InvalidInput(f"--h must be above 0, got {h:g}")
    if length is not None and not 0 < length < math.inf:
        raise InvalidInput(f"--length must be a number above 0, got {length:g}")
    if len(set(models)) < len(models):
        raise InvalidInput("the same network is named twice")
    if out is not None:
        require_report()
        if is_page(out):
            writable_file(out, "--out")
        else:
            writable_folder(out, "--out")
    torch.set_num_threads(1)  # for small matrices a second one costs more than it brings, much more on a busy machine
    studies: dict[str, dict[str, Any]] = {}
    for name in models:
        model = Model(model_path(name))
        several_outputs(model, name, "geometry")
        network = model.network
        if network.input_size > _MOST_INPUTS:
            raise InvalidInput(f"{name}: Hessians of {network.input_size} inputs are too large; at most {_MOST_INPUTS}")
        source = data_for(model, data)
        indices = images_from(images, len(source))
        source.check_range(indices)
        x = torch.from_numpy(source.images[list(indices)].reshape(len(indices), -1))
        y = torch.from_numpy(source.labels[list(indices)])
        right = predict(network, x) == y
        if int(right.sum()) < 2:
            raise InvalidInput(f"{name}: fewer than two of these images are classified rightly")
        click.echo(f"measuring {name} ...", err=True)
        studies[name] = study(
            lambda p, network=network: evaluate(network, p),  # type: ignore[misc]
            x[right],
            y[right],
            Options(h=h, seed=seed, length=length),
        )
        length = studies[name]["xi"]  # perturbations of one length, or networks could not be compared
        shown = [i for i, is_right in zip(indices, right.tolist(), strict=True) if is_right]
        for section in studies[name]["sections"]:
            section["image"] = shown[section["image"]]
    page = None
    if out is not None:  # before the table: whoever reads it may go away
        asked = {"images": f"{images} of {source.name}, those that a network classifies rightly", "norm": "2 (l2)"}
        asked |= {"step h": f"{h:g} of the median distance", "seed": str(seed)}
        page = write_page(studies, out, asked) if is_page(out) else write_folder(studies, out, asked)
    show(console(), [Column(name, text=name == "network", spare=_SPARE.get(name, 0)) for name in HEADS], rows(studies))
    if page is not None:
        click.echo(f"written to {page}")
    return 0
