"""The loop that `certify` and `distance` share: images one by one, in batches or in processes, progress, JSON lines, table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from advverify import __version__
from advverify.verifier.errors import InvalidInput
from advverify.verifier.parallel.accident import ACCIDENT

from .options import data_for, images_from, model_path, note, threat_from
from .outcomes import failed_proofs, outcome_table, reasons, summary
from .progress import Progress
from .results import ResultFile
from .saving import Gallery
from .search import engines_from, settings_from, without_effect
from .table import console, show

if TYPE_CHECKING:
    from advverify.verifier.api import Model
    from advverify.verifier.engines import Settings
    from advverify.verifier.outcome import Outcome
    from advverify.verifier.request import Command
    from advverify.verifier.specification import Threat


def run_images(command: Command, options: dict[str, Any], exact_margin: bool = False) -> int:
    """Ask a question about every image, in batches, one by one or in processes; print a table and append JSON lines.

    Args:
        command: the question.
        options: of the command line, those of `search.query_options` and `eps`.
        exact_margin: as in `api.certify`.

    Returns:
        The exit status: 0, 1 where an accident left an image without an answer, or 130 where Ctrl-C ended it.

    Raises:
        InvalidInput: an option that makes no sense.
    """
    from advverify.verifier.answers import answers_to_many
    from advverify.verifier.request import Request, model_of

    path = model_path(options["model"])
    threat = threat_from(options)
    # in batches, on a GPU where there is one, where no more than a verdict is asked for
    batched = command == "certify" and not exact_margin and not threat.float32 and options["proofs"] is None
    settings = settings_from(options, gpu=batched, many=batched)
    engines = engines_from(options["engines"], settings.milp)
    jobs = int(options["jobs"])
    model = model_of(str(path))
    if options["tie_channels"]:
        threat = replace(threat, channels=model.channels())
    quiet = bool(options["quiet"])
    say = partial(note, quiet=quiet)
    for each in model.network.notes:
        say(each)
    data = data_for(model, options["data"], threat.valid_range, options["bytes_as"], say=say)
    indices: Sequence[int] = images_from(options["images"], len(data))
    data.check_range(indices, threat.valid_range, option=True)
    if threat.note:
        say(threat.note)
    indices = _of_other_classes(indices, data.labels, threat.target, say)
    title = f"{command} {options['model']}, norm {threat.norm}"
    title += "" if threat.eps is None else f", eps {threat.eps:g}"
    gallery = (
        None if options["save"] is None else Gallery(options["save"], title, _about(command, options, threat, model))
    )
    sha256 = model.network.sha256
    requests = [
        Request(
            command,
            str(path),
            sha256,
            threat,
            data.images[i],
            int(data.labels[i]),
            exact_margin=exact_margin,
            settings=settings,
            engines=engines,
        )
        for i in indices
    ]
    labels = {"model": options["model"], "model_sha256": sha256, "data": options["data"] or data.name}
    labels |= {"version": __version__, "timeout": settings.timeout, "gap": settings.gap}
    labels |= {"engines": list(engines), "solver": settings.milp.solver, "formulation": settings.milp.formulation}
    if data.units:
        labels["units"] = data.units
    keys = [request.key for request in requests]
    sink = None if options["out"] is None else ResultFile(options["out"])
    known = {} if sink is None else sink.known(keys, settings)
    if known and not quiet:
        click.echo(f"{len(known)} of {len(requests)} images are in {options['out']} already", err=True)
    outcomes = dict(known)
    todo = [i for i in range(len(requests)) if i not in known]

    def keep(position: int, outcome: Outcome) -> None:
        outcomes[position] = outcome.labelled(**labels, index=indices[position], key=keys[position])
        if sink is not None:
            sink.write(outcomes[position])

    interrupted = False
    try:
        with Progress(
            len(todo),
            name=lambda k: f"image {indices[todo[k]]}",
            limit=settings.timeout,
            jobs=jobs,
            word="distance" if command == "distance" else "margin",
            quiet=options["quiet"],
        ) as progress:
            for k, outcome in answers_to_many([requests[i] for i in todo], jobs, progress.hear):
                keep(todo[k], outcome)
                progress.settle(k, outcome)
    except KeyboardInterrupt as stop:
        interrupted = True
        so_far = getattr(stop, "outcome", None)
        if so_far is not None:
            keep(next(i for i in todo if i not in outcomes), so_far)  # one by one, they are asked about in order
    finally:
        if sink is not None:
            sink.close()
    done = sorted(outcomes)
    shown = [outcomes[i] for i in done]
    if options["as_json"]:
        for outcome in shown:
            click.echo(outcome.to_json())
    else:
        _print(shown, title, command == "distance", settings, quiet)
    if gallery is not None:
        for i, outcome in zip(done, shown, strict=True):
            example = outcome.bracket.witness
            prediction = None if example is None else model.predict(example)
            gallery.add_outcome(outcome, data.images[indices[i]], indices[i], prediction)
        gallery.close()
        if not quiet:
            click.echo(str(gallery), err=options["as_json"])
    if interrupted:
        what = "JSON lines hold" if options["as_json"] else "table shows"
        click.echo(
            f"advverify: interrupted after {len(shown)} of {len(requests)} images; the {what} what is done", err=True
        )
        return 130
    failed = failed_proofs(shown)
    for why in failed if quiet or options["as_json"] else ():  # else the lines below the table say it
        click.echo(f"advverify: no proof: {why}", err=True)
    return 1 if failed or any(ACCIDENT in outcome.labels for outcome in shown) else 0


def _print(shown: Sequence[Outcome], title: str, distances: bool, settings: Settings, quiet: bool) -> None:
    """The table, the line below it, and what has to be said of the answers."""
    screen = console()
    if not quiet:
        show(screen, *outcome_table(shown, distances), title)
    screen.print(summary(shown, distances, settings.gap))
    unasked = without_effect(shown, settings.milp)
    for line in [*reasons(shown, settings.proofs is not None), *([unasked] if unasked else [])]:
        if not quiet:
            screen.print(line, style="yellow", markup=False)


def _about(command: str, options: dict[str, Any], threat: Threat, model: Model) -> dict[str, Any]:
    """What the index of saved examples says of all of them."""
    about = {"command": command, "model": options["model"], "model_sha256": model.network.sha256}
    return {**about, "norm": threat.norm, "eps": threat.eps, "valid_range": list(threat.valid_range)}


def _of_other_classes(
    indices: Sequence[int], labels: Any, target: int | None, say: Callable[[str], None]
) -> Sequence[int]:
    """The images that a target can be asked about: those whose own label it is cannot be turned into it.

    Raises:
        InvalidInput: there are none.
    """
    kept = [i for i in indices if target is None or labels[i] != target]
    if len(kept) == len(indices):
        return indices
    if not kept:
        raise InvalidInput(f"--target {target} is the label of every one of these images; choose another class")
    left = len(indices) - len(kept)
    say(f"{left} image{'s' if left > 1 else ''} of class {target} itself left out")
    return kept
