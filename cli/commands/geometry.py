"""`advverify geometry`: how decision boundaries run, as figures with their data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from advverify.verifier.errors import InvalidInput

from ..options import SEED, data_for, images_from, model_path, several_outputs, writable_folder
from ..report import geometry_figures
from ..report.figures import require_report
from ..table import console

_MOST_INPUTS = 1024


@click.command("geometry")
@click.argument("models", nargs=-1, required=True)
@click.option("--data", default=None, help="digits, mnist:DIR, cifar10:DIR or npz:FILE [default: the models' own].")
@click.option("--images", default="0:60", show_default=True, help="Images of the test set: 0:100 or 0:100:5.")
@click.option("--h", type=float, default=0.5, show_default=True, help="Step, as a share of the median distance.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the figures and their data.")
def command(models: tuple[str, ...], data: str | None, images: str, h: float, seed: int, out: Path) -> int:
    """Curvature, normals, cross-sections and subspaces of the decision boundaries of MODELS (paths or zoo:NAME).

    ReLU networks have no curvature at a point; all curvature is that of finite differences at the step h.
    """
    import torch

    from advverify.models.geometry.study import Options, study
    from advverify.verifier.api import Model
    from advverify.verifier.network.evaluate import evaluate, predict

    if not h > 0:
        raise InvalidInput(f"--h must be above 0, got {h:g}")
    if len(set(models)) < len(models):
        raise InvalidInput("the same network is named twice")
    require_report()
    torch.set_num_threads(1)  # for small matrices a second one costs more than it brings, much more on a busy machine
    writable_folder(out, "--out")
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
            Options(h=h, seed=seed),
        )
    _draw(studies, out)
    _show(studies)
    click.echo(f"written to {out}")
    return 0


def _draw(studies: dict[str, dict[str, Any]], out: Path) -> None:
    geometry_figures.subspace_law(studies, out / "subspaces.png")
    geometry_figures.spectra(studies, out / "spectra.png")
    geometry_figures.fooling(studies, out / "fooling.png")
    for k, (name, study) in enumerate(studies.items()):
        geometry_figures.sections(study, name, out / f"sections-{k}.png")
    (out / "geometry.json").write_text(json.dumps(studies) + "\n")


def _show(studies: dict[str, dict[str, Any]]) -> None:
    from ..fitting import FittingTable

    table = FittingTable(header_style="bold")
    names = ["network", "images", "median l2 distance", "subspace law (m = 8)", "random line / distance"]
    names += ["curvature: random", "other normals", "largest in profile", "h"]
    for name in names:
        table.add_column(name, justify="left" if name == "network" else "right")
    for name, study in studies.items():
        law = study["subspace"]
        middle = law["median"][law["dimensions"].index(8)] if 8 in law["dimensions"] else law["median"][-1]
        values = [study["median_distance"], middle, study["noise_ratio"]]
        values += [study["curvature"]["random"], study["curvature"]["other normals"], max(study["profile"]), study["h"]]
        table.add_row(name, str(study["images"]), *("-" if v is None else f"{v:.3g}" for v in values))
    console().print(table)
