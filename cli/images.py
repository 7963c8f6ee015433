"""The loop that `certify` and `distance` share: images one by one or in processes, progress, JSON lines, table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from advverify.verifier.errors import InvalidInput

from .options import data_for, engines_from, images_from, model_path, settings_from
from .table import console, outcome_table, reasons, summary

if TYPE_CHECKING:
    from advverify.verifier.outcome import Outcome

Task = tuple[str, np.ndarray, int, dict[str, Any]]
Ask = Callable[[Task], "Outcome"]


def run_images(options: dict[str, Any], ask: Ask, title: str, distances: bool) -> int:
    """Ask about every image; show and write what comes. Returns the exit status."""
    from advverify.verifier.api import Model
    from advverify.verifier.norms import get_norm

    path = model_path(options["model"])
    settings, engines = settings_from(options), engines_from(options["engines"])
    jobs = int(options["jobs"])
    if jobs < 1:
        raise InvalidInput(f"--jobs must be at least 1, got {jobs}")
    if jobs > 1:
        settings = replace(settings, threads=max(1, settings.threads // jobs))
    get_norm(options["norm"])
    model = Model(path)
    for note in model.network.notes:
        click.echo(f"note: {note}", err=True)
    data = data_for(model, options["data"])
    indices = images_from(options["images"], len(data))
    common = {
        "norm": options["norm"],
        "target": options["target"],
        "margin": options["margin"],
        "valid": tuple(options["valid_range"]),
        "channels": model.network.input_shape[0]
        if options["tie_channels"] and len(model.network.input_shape) == 3
        else 1,
        "settings": settings,
        "engines": engines,
    }
    tasks: list[Task] = [
        (str(path), data.images[i], int(data.labels[i]), {**common, **options["extra"]}) for i in indices
    ]
    labels = {"model": options["model"], "model_sha256": model.network.sha256, "data": options["data"] or data.name}
    outcomes: list[Outcome] = []
    interrupted = False
    sink = _open(options["out"])
    try:
        with click.progressbar(
            length=len(tasks), file=sys.stderr, label="images", hidden=len(tasks) < 2 or not sys.stderr.isatty()
        ) as bar:
            for index, outcome in zip(indices, _answers(ask, tasks, jobs), strict=False):
                outcome.labels.update({**labels, "index": index})
                outcomes.append(outcome)
                if sink is not None:
                    sink.write(outcome.to_json() + "\n")
                    sink.flush()
                bar.update(1)
    except KeyboardInterrupt as stop:
        interrupted = True
        partial = getattr(stop, "outcome", None)
        if partial is not None:
            partial.labels.update({**labels, "index": indices[len(outcomes)]})
            outcomes.append(partial)
            if sink is not None:
                sink.write(partial.to_json() + "\n")
    finally:
        if sink is not None:
            sink.close()
    screen = console()
    screen.print(outcome_table(outcomes, title.format(model=options["model"]), distances))
    screen.print(summary(outcomes, distances, settings.gap))
    for line in reasons(outcomes):
        screen.print(line, style="yellow")
    if interrupted:
        click.echo(
            f"advverify: interrupted after {len(outcomes)} of {len(tasks)} images; the table shows what is done",
            err=True,
        )
        return 130
    return 0


def _open(path: Path | None) -> Any:
    if path is None:
        return None
    try:
        return path.open("a", encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"--out {path}: cannot be written ({error.strerror})") from error


def _answers(ask: Ask, tasks: list[Task], jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(ask, tasks)
        return
    import multiprocessing

    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(ask, tasks)


_models: dict[str, Any] = {}


def model_of(path: str) -> Any:
    """The model of a path, read once a process."""
    from advverify.verifier.api import Model

    if path not in _models:
        _models[path] = Model(path)
    return _models[path]
