"""The loop that `certify` and `distance` share: images one by one or in processes, progress, JSON lines, table."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from .options import data_for, engines_from, images_from, model_path, settings_from
from .results import ResultFile
from .table import console, outcome_table, reasons, summary
from .workers import answers

if TYPE_CHECKING:
    from advverify.verifier.outcome import Outcome

Task = tuple[str, np.ndarray, int, dict[str, Any]]
Ask = Callable[[Task], "Outcome"]
AskAll = Callable[[list[Task], bool], Iterator[tuple[int, "Outcome"]]]


def run_images(options: dict[str, Any], ask: Ask, title: str, distances: bool, first: AskAll | None = None) -> int:
    """Ask about every image; show and write what comes. Returns the exit status.

    `first` settles many tasks at once, and names them by position: all of them if told so, or those that are easy; the
    others are asked about one by one.
    """
    from advverify.verifier.key import content_key
    from advverify.verifier.norms import get_norm

    path = model_path(options["model"])
    together = first is not None
    settings, engines = settings_from(options, gpu=together, many=together), engines_from(options["engines"])
    jobs = int(options["jobs"])
    get_norm(options["norm"])
    model = model_of(str(path))
    for note in model.network.notes:
        click.echo(f"note: {note}", err=True)
    valid = tuple(options["valid_range"])
    data = data_for(model, options["data"], valid, options["bytes_as"])
    indices = images_from(options["images"], len(data))
    data.check_range(indices, valid, option=True)
    common = {
        "norm": options["norm"],
        "target": options["target"],
        "margin": options["margin"],
        "valid": valid,
        "channels": model.channels() if options["tie_channels"] else 1,
        "executed": options["float32"],
        "settings": settings,
        "engines": engines,
    }
    tasks: list[Task] = [
        (str(path), data.images[i], int(data.labels[i]), {**common, **options["extra"]}) for i in indices
    ]
    labels = {"model": options["model"], "model_sha256": model.network.sha256, "data": options["data"] or data.name}
    if data.units:
        labels["units"] = data.units
    asked = {k: v for k, v in {**common, **options["extra"]}.items() if k != "settings"}
    asked |= {name: getattr(settings, name) for name in ("timeout", "gap", "seed", "solver")}
    asked |= {"command": title, "model": model.network.sha256, "proofs": settings.proofs is not None}
    keys = [content_key({**asked, "label": label}, image) for _, image, label, _ in tasks]
    sink = None if options["out"] is None else ResultFile(options["out"])
    known = {} if sink is None else {i: sink.done[key] for i, key in enumerate(keys) if key in sink.done}
    if known:
        click.echo(f"{len(known)} of {len(tasks)} images are in {options['out']} already", err=True)
    outcomes = dict(known)
    todo = [i for i in range(len(tasks)) if i not in known]

    def keep(position: int, outcome: Outcome) -> None:
        outcome.labels.update({**labels, "index": indices[position], "key": keys[position]})
        outcomes[position] = outcome
        if sink is not None:
            sink.write(outcome)

    interrupted = False
    try:
        with click.progressbar(
            length=len(todo), file=sys.stderr, label="images", hidden=len(todo) < 2 or not sys.stderr.isatty()
        ) as bar:
            for k, outcome in first([tasks[i] for i in todo], jobs == 1) if first is not None and todo else ():
                keep(todo[k], outcome)
                bar.update(1)
            left = [i for i in todo if i not in outcomes]
            alone = [(*tasks[i][:3], {**tasks[i][3], "settings": replace(settings, device="cpu")}) for i in left]
            for i, outcome in zip(left, answers(ask, alone, jobs, lost), strict=True):
                keep(i, outcome)
                bar.update(1)
    except KeyboardInterrupt as stop:
        interrupted = True
        partial = getattr(stop, "outcome", None)
        if partial is not None:
            keep(next(i for i in todo if i not in outcomes), partial)  # one by one, they are asked about in order
    finally:
        if sink is not None:
            sink.close()
    shown = [outcomes[i] for i in sorted(outcomes)]
    screen = console()
    screen.print(outcome_table(shown, title.format(model=options["model"]), distances))
    screen.print(summary(shown, distances, settings.gap))
    for line in reasons(shown):
        screen.print(line, style="yellow")
    if interrupted:
        click.echo(
            f"advverify: interrupted after {len(shown)} of {len(tasks)} images; the table shows what is done",
            err=True,
        )
        return 130
    return 0


def lost(task: Task) -> Outcome:
    """The answer to an image whose worker died: killed for its memory, or crashed."""
    from advverify.verifier.outcome import Bracket, Outcome, Trust, Verdict

    reason = "the worker process died twice: out of memory, or a crash in a solver"
    label, norm = task[2], str(task[3]["norm"])
    bracket = Bracket(-math.inf, math.inf)
    return Outcome(Verdict.UNKNOWN, bracket, Trust.SOLVER, "", 0.0, (), reason, {"label": label, "norm": norm})


_models: dict[str, Any] = {}


def model_of(path: str) -> Any:
    """The model of a path, read once a process."""
    from advverify.verifier.api import Model

    if path not in _models:
        _models[path] = Model(path)
    return _models[path]
