"""`advverify compare`: the certified radii of several networks, on the images that all of them classify rightly."""

from __future__ import annotations

import json
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from advverify.verifier.errors import InvalidInput

from ..options import COUNT, SEED, data_for, images_from, model_path, norm_option, several_outputs, writable_folder
from ..report.figures import radius_curves, require_report, scatter
from ..report.page import p_range, percent, render
from ..results import ResultFile
from ..table import Column, bracket, console, number, show

if TYPE_CHECKING:
    from advverify.models.comparison.compare import Comparison
    from advverify.models.datasets import Dataset
    from advverify.verifier.api import Model
    from advverify.verifier.outcome import Outcome

NORMS = ("1", "2", "inf")


@dataclass(frozen=True)
class Subject:
    """One network of the comparison."""

    name: str
    path: str
    model: Model
    right: np.ndarray  # (test images,) Boolean

    @property
    def recipe(self) -> str:
        """The recipe without its seed; networks without a recipe stand for themselves."""
        card = dict(self.model.network.metadata)
        if "recipe" not in card:
            return self.name
        recipe = json.loads(card["recipe"])
        recipe.get("training", {}).pop("seed", None)
        return json.dumps(recipe, sort_keys=True)

    def group(self, others: list[Subject]) -> str:
        """The recipe's name, with a number where another recipe has the same name."""
        own = dict(self.model.network.metadata).get("name") or self.name
        same = dict.fromkeys(s.recipe for s in others if (dict(s.model.network.metadata).get("name") or s.name) == own)
        return own if len(same) < 2 else f"{own} ({list(same).index(self.recipe) + 1})"


@click.command("compare")
@click.argument("models", nargs=-1, required=True)
@norm_option()
@click.option("--data", default=None, help="digits, mnist:DIR, cifar10:DIR or npz:FILE [default: the models' own].")
@click.option("--images", default="0:100", show_default=True, help="Images of the test set: 7, 0:100 or 0:100:5.")
@click.option("--eps-grid", default="", help="Radii at which accuracies are listed [default: three, from the data].")
@click.option("--gap", type=float, default=0.01, show_default=True, help="Relative gap of a closed bracket.")
@click.option("--timeout", type=float, default=60.0, show_default=True, help="Seconds an image.")
@click.option("--jobs", type=COUNT, default=None, help="Images worked on at the same time [default: one a core].")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of attacks.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=None, help="Folder for page, pictures, JSON and brackets."
)
def command(models: tuple[str, ...], images: str, eps_grid: str, out: Path | None, **options: Any) -> int:
    """Compare the certified radii of MODELS (paths or zoo:NAME).

    With --out, every bracket is kept in the folder, and a comparison that was stopped goes on where it was.
    """
    from advverify.models.comparison.compare import compare

    options["jobs"] = _jobs(options["jobs"])
    grid = _grid(eps_grid)
    if not 0 < options["gap"] < 1 or not options["timeout"] > 0:
        raise InvalidInput("--gap must lie between 0 and 1, --timeout above 0")
    if options["norm"] not in NORMS:
        raise InvalidInput(
            f"compare works in the norms {', '.join(NORMS)}: distances in norm 0 are counts, without a mean"
        )
    if len(set(models)) < len(models):
        raise InvalidInput("the same network is named twice")
    if out is not None:
        require_report()
        writable_folder(out, "--out")
    subjects, data = _subjects(models, options["data"])
    asked = images_from(images, len(data))
    data.check_range(asked)
    shared = [i for i in asked if all(subject.right[i] for subject in subjects)]
    if not shared:
        raise InvalidInput(f"no image of {images} is classified rightly by all networks")
    outcomes = _brackets(subjects, data, shared, options, out)
    if not grid:
        grid = _three(outcomes)
    measured = [
        _measure(s, s.group(subjects), o, data, asked, shared, grid, options)
        for s, o in zip(subjects, outcomes, strict=True)
    ]
    result = compare(measured, options["norm"], data.name, shared, len(asked), options["gap"], grid)
    _show(result)
    if out is not None:
        _write(result, out)
    return 0


def _jobs(jobs: int | None) -> int:
    return jobs or max(1, os.cpu_count() or 1)


def _grid(text: str) -> list[float]:
    try:
        grid = sorted({float(part) for part in text.split(",") if part.strip()})
    except ValueError:
        raise InvalidInput(f"--eps-grid takes radii like 0.02,0.05,0.1, got '{text}'") from None
    if text and not grid:
        raise InvalidInput(f"--eps-grid '{text}' holds no radius: leave it out for three from the data")
    if any(not math.isfinite(eps) or eps <= 0 for eps in grid):
        raise InvalidInput(f"--eps-grid takes radii above 0, got '{text}'")
    return grid


def _subjects(names: tuple[str, ...], source: str | None) -> tuple[list[Subject], Dataset]:
    """The networks on one data set.

    Raises:
        InvalidInput: data that do not fit one of them.
    """
    import torch

    from advverify.verifier.network.evaluate import predict
    from advverify.verifier.request import model_of

    subjects: list[Subject] = []
    data: Dataset | None = None
    for name in names:
        path = model_path(name)
        model = model_of(str(path))
        several_outputs(model, name, "compare")
        data = data or data_for(model, source)
        if data.images[0].size != model.network.input_size:
            raise InvalidInput(
                f"{name} takes {model.network.input_size} values, images of {data.name} have {data.images[0].size}"
            )
        if data.fitted(model.network.input_shape) is not data:
            raise InvalidInput(f"{name} takes its inputs in another order (shape {list(model.network.input_shape)})")
        predicted = predict(model.network, torch.from_numpy(data.images.reshape(len(data), -1)))
        subjects.append(Subject(name, str(path), model, predicted.numpy() == data.labels))
    assert data is not None
    return subjects, data


def _brackets(
    subjects: list[Subject], data: Dataset, images: list[int], options: dict[str, Any], out: Path | None
) -> list[list[Outcome]]:
    """Distances of every network on every image; in the order of the networks."""
    from advverify.verifier.answers import answers
    from advverify.verifier.engines import Settings
    from advverify.verifier.request import Request
    from advverify.verifier.specification import Threat

    settings = Settings(timeout=options["timeout"], gap=options["gap"], threads=1, seed=options["seed"])
    threat = Threat(options["norm"])
    requests = [
        Request(
            "distance", s.path, s.model.network.sha256, threat, data.images[i], int(data.labels[i]), settings=settings
        )
        for s in subjects
        for i in images
    ]
    keys = [request.key for request in requests]
    sink = None if out is None else ResultFile(out / "brackets.jsonl")
    done = {} if sink is None else sink.known(keys, settings)
    if done:
        click.echo(f"{len(done)} of {len(requests)} brackets are in {out} already", err=True)
    todo = [i for i in range(len(requests)) if i not in done]
    hidden = len(todo) < 2 or not sys.stderr.isatty()
    try:
        with click.progressbar(length=len(todo), file=sys.stderr, label="brackets", hidden=hidden) as bar:
            for k, outcome in answers([requests[i] for i in todo], options["jobs"]):
                i = todo[k]
                name, image = subjects[i // len(images)].name, images[i % len(images)]
                limits = {"timeout": settings.timeout, "gap": settings.gap}
                done[i] = outcome.labelled(model=name, data=data.name, index=image, key=keys[i], **limits)
                if sink is not None:
                    sink.write(done[i])
                bar.update(1)
    finally:
        if sink is not None:
            sink.close()
    return [[done[k * len(images) + j] for j in range(len(images))] for k in range(len(subjects))]


def _three(outcomes: list[list[Outcome]]) -> list[float]:
    """Three round radii in the range of what was found."""
    upper = [o.bracket.upper for each in outcomes for o in each if 0 < o.bracket.upper < math.inf]
    if not upper:
        return []
    return sorted({float(f"{q:.1g}") for q in np.quantile(upper, [0.1, 0.4, 0.7])})


def _measure(
    subject: Subject,
    group: str,
    outcomes: list[Outcome],
    data: Dataset,
    asked: range,
    shared: list[int],
    grid: list[float],
    options: dict[str, Any],
) -> Any:
    from advverify.models.card import pairs_of
    from advverify.models.comparison.attacks import NAMES, attacked
    from advverify.models.comparison.compare import Measured
    from advverify.models.lipschitz import certificate

    network, norm = subject.model.network, options["norm"]
    images, labels = data.images[shared], data.labels[shared]
    whole = [1.0] if norm == "inf" else []
    runs = [
        attacked(network, images, labels, norm, eps, name, options["seed"]) for name in NAMES for eps in [*grid, *whole]
    ]
    pairs = pairs_of(dict(network.metadata)) if norm == "2" else None
    certificates: tuple[float, ...] = ()
    if pairs is not None:
        logits = subject.model.executor.run(images.reshape(len(images), -1))
        certificates = tuple(
            certificate(row.astype(np.float64), int(label), pairs) for row, label in zip(logits, labels, strict=True)
        )
    return Measured(
        subject.name,
        group,
        float(subject.right.mean()),
        float(subject.right[list(asked)].mean()),
        network.relu_count,
        tuple(outcomes),
        tuple(runs),
        certificates,
    )


_SPARE = {"ReLUs": 1, "median s": 2, "unstable": 3}  # columns that a narrow screen does without, in this order


def _show(result: Comparison) -> None:
    """Tables on the terminal."""
    screen, rows, count = console(), result.rows(), len(result.images)
    title = f"{count} of {result.asked} images of {result.data} (rightly classified by all), norm {result.norm}"
    columns = ["network", "accuracy", "median radius", "closed", "ReLUs", "unstable", "median s"]
    if any(n.certificates for n in result.networks):
        columns.insert(4, "Lipschitz")
    lines = []
    for row in rows:
        cells = [
            row["network"],
            percent(row["clean_accuracy"]),
            bracket(row["median_radius"]),
            f"{row['closed_images']} of {row['of']}",
        ]
        if "Lipschitz" in columns:
            cells.append(number(row.get("median_lipschitz_certificate"), 4))
        cells += [str(row["relus"]), number(row["unstable_relus"], 4), number(row["median_seconds"], 3)]
        lines.append(cells)
    show(screen, [Column(name, text=name == "network", spare=_SPARE.get(name, 0)) for name in columns], lines, title)
    if result.grid:
        title = f"Right under PGD / certified at a radius, of these {count} images"
        lines = [
            [
                row["network"],
                *(f"{percent(c['pgd_accuracy'])} / {percent(c['certified_accuracy'])}" for c in row["at"]),
            ]
            for row in rows
        ]
        show(screen, [Column("network", text=True), *(Column(f"{eps:g}") for eps in result.grid)], lines, title)
    for pair, wilcoxon in zip(result.pairs, result.adjusted, strict=True):
        screen.print(
            f"{pair.first} against {pair.second}: larger on {pair.larger}, smaller on {pair.smaller}, undecided on "
            f"{pair.undecided}; median ratio {bracket(pair.ratio, 3)}; p sign {p_range(pair.sign)}, "
            f"Wilcoxon (Holm) {p_range(wilcoxon)}",
            markup=False,
        )
    for group in result.groups:
        test = "" if group.p_value is None else f", p {p_range(group.p_value)} against the first"
        screen.print(
            f"{group.name}: {len(group.members)} seeds, mean accuracy {percent(float(np.mean(group.accuracy)))}, mean of "
            f"median radii {bracket(group.mean_radius)}{test}",
            markup=False,
        )
    for line in result.findings:
        screen.print(f"sanity: {line}", style="yellow", markup=False)
    if not result.findings:
        screen.print("sanity: nothing is off")


def _write(result: Comparison, out: Path) -> None:
    curves, points = out / "curves.png", out / "scatter.png"
    radius_curves(result, curves)
    several = len(result.networks) > 1 and not result.groups
    if several:
        scatter(result, points)
    rows = result.rows()
    page = render(
        "compare.html",
        title=f"Certified radii, norm {result.norm}: "
        + ", ".join(dict.fromkeys(n.group if result.groups else n.name for n in result.networks)),
        comparison=result,
        rows=rows,
        grid=result.grid,
        certificates=any(n.certificates for n in result.networks),
        curves=curves,
        scatter=points if several else None,
        pairs=list(zip(result.pairs, result.adjusted, strict=True)),
    )
    (out / "comparison.json").write_text(result.to_json() + "\n")
    (out / "index.html").write_text(page, encoding="utf-8")
    click.echo(f"written to {out / 'index.html'}")
