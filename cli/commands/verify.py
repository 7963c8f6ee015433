"""`advverify verify`: VNN-LIB properties, by VNN-COMP's conventions and by the VNN-LIB 2.1 standard command line."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advverify.verifier.errors import AdvverifyError, InvalidInput

from ..completion import MODEL
from ..help import Command
from ..options import model_path, note, output_options
from ..outcomes import failed_proofs
from ..places import writable_file, writable_folder, write_text
from ..progress import Progress
from ..results import ResultFile
from ..saving import Gallery
from ..search import engines_from, milp_from, search_options, settings_from, without_effect

if TYPE_CHECKING:
    from advverify.verifier.api import Model
    from advverify.verifier.outcome import Outcome, TraceEvent

_WORDS = {"robust": "unsat", "adversarial": "sat", "unknown": "unknown"}


@click.command("verify", cls=Command)
@click.argument("files", nargs=-1, required=True, type=MODEL, metavar="MODEL SPEC | SPEC --network NAME=MODEL")
@click.option("--network", "networks", multiple=True, metavar="NAME=MODEL", help="VNN-LIB 2.1: the network of a name.")
@click.option("--result", type=click.Path(path_type=Path), default=None, help="VNN-COMP result file.")
@click.option(
    "--proof", type=click.Path(path_type=Path), default=None, help="Write the proof of an unsat to this file."
)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE",
    help="Append the answer as a JSON line, for `advverify gap` and `advverify show`.",
)
@click.option(
    "--serialise-assignments",
    type=click.Path(path_type=Path),
    default=None,
    metavar="DIR",
    help="VNN-LIB 2.1: write the values of a counterexample to assignments.txt in this folder.",
)
@search_options(300.0)
@output_options(save=True, rows="with the answer")
def command(
    files: tuple[str, ...],
    networks: tuple[str, ...],
    result: Path | None,
    proof: Path | None,
    out: Path | None,
    serialise_assignments: Path | None,
    save: Path | None,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> int:
    """Check a property: prints unsat (proved), sat (violated), timeout or unknown; who says so goes to standard error.

    `verify MODEL SPEC [--result FILE]` follows VNN-COMP; `verify SPEC --network NAME=MODEL` follows VNN-LIB 2.1.
    """
    since = time.perf_counter()
    standard = bool(networks)
    if proof is not None:
        if options["proofs"] is not None:
            raise InvalidInput("give --proof FILE or --proofs DIR, not both")
        writable_file(proof, "--proof", proof=True)
        proof.unlink(missing_ok=True)  # another property's
        options["proofs"] = proof.parent
    name, model_name, spec = _files(files, networks)
    if result is not None:  # before the work, which would be lost with a place that cannot be written
        writable_file(result, "--result")
    if serialise_assignments is not None:
        writable_folder(serialise_assignments, "--serialise-assignments")
        (serialise_assignments / "assignments.txt").unlink(missing_ok=True)  # another property's
    if out is not None:
        ResultFile(out).close()
    gallery = None if save is None else _gallery(save, model_name, spec)
    try:
        with Progress(
            1, name=lambda _: Path(spec).name, limit=options["timeout"], word="margin", quiet=quiet
        ) as progress:
            model, outcome = _check(name, model_name, spec, options, since, partial(progress.hear, 0))
    except AdvverifyError:
        if result is not None:
            write_text(result, "error\n", "--result")
        raise
    except KeyboardInterrupt as stop:
        if result is not None:
            write_text(result, "unknown\n", "--result")
        so_far = getattr(stop, "outcome", None)
        if so_far is not None:
            stop.add_note(f"until then the margin lies from {so_far.bracket.lower:.6g} to {so_far.bracket.upper:.6g}")
        raise
    if proof is not None:
        if outcome.proof is not None:
            outcome = replace(outcome, proof=str(Path(outcome.proof).replace(proof)))
        elif outcome.verdict.value == "robust":
            click.echo(f"no proof: {outcome.statistics.get('no_proof')}", err=True)
    word = _WORDS[outcome.verdict.value]
    if word == "unknown" and outcome.reason.startswith("time limit"):
        word = "timed-out" if standard else "timeout"
    lines = [word]
    if word == "sat":
        lines += _standard_values(model, outcome) if standard else _assignments(model, outcome)
    if result is not None:
        write_text(result, "\n".join(lines) + "\n", "--result")
    if serialise_assignments is not None and word == "sat":
        write_text(serialise_assignments / "assignments.txt", "\n".join(lines[1:]) + "\n", "--serialise-assignments")
    answer = outcome.labelled(**_labels(model, model_name, spec, options), property=spec, answer=word)
    if out is not None:
        with closing(ResultFile(out)) as kept:
            kept.write(answer)
    if as_json:
        click.echo(answer.to_json())
    else:
        click.echo("\n".join(lines) if standard else word)
    if gallery is not None:
        _save(gallery, model, outcome, spec)
        if not quiet:
            click.echo(str(gallery), err=True)
    status = 1 if failed_proofs([outcome]) else 0
    if quiet:
        return status
    click.echo(_who(outcome), err=True)
    for each in (*model.network.notes, *outcome.labels.get("notes", ())):
        note(each)
    unasked = without_effect([outcome], milp_from(options))
    for line in (outcome.labels.get("contradiction"), outcome.reason, unasked):
        if line:
            click.echo(line, err=True)
    return status


def _who(outcome: Outcome) -> str:
    """Who says so, after how long, and where the proof is."""
    parts = [f"engine {outcome.engine}" if outcome.engine else "no engine", f"trust {outcome.trust.value}"]
    parts += [f"{outcome.seconds:.2f} s", *([f"proof {outcome.proof}"] if outcome.proof is not None else [])]
    return ", ".join(parts)


def _labels(model: Model, model_name: str, spec: str, options: dict[str, Any]) -> dict[str, Any]:
    """What a line of `--out` says of the question, beside what the answer itself does."""
    from advverify import __version__
    from advverify.verifier.query import Objective

    milp = milp_from(options)
    return {
        "objective": Objective.FEASIBILITY.value,
        "model": model_name,
        "model_sha256": model.network.sha256,
        "index": Path(spec).name,
        "float32": bool(options["float32"]),
        "version": __version__,
        "timeout": options["timeout"],
        "engines": list(engines_from(options["engines"], milp)),
        "solver": milp.solver,
        "formulation": milp.formulation,
    }


def _files(files: tuple[str, ...], networks: tuple[str, ...]) -> tuple[str, str, str]:
    """The name by which the property calls the network, the model, and the property."""
    if networks:
        if len(files) != 1 or len(networks) != 1 or "=" not in networks[0]:
            raise InvalidInput("verify SPEC --network NAME=MODEL takes one property and one network")
        name, _, model = networks[0].partition("=")
        return name, model, files[0]
    if len(files) != 2:
        raise InvalidInput("verify takes MODEL and SPEC, or SPEC with --network NAME=MODEL")
    if _is_property(files[0]) and not _is_property(files[1]):
        raise InvalidInput(f"verify takes the model first, then the property: advverify verify {files[1]} {files[0]}")
    return "", files[0], files[1]


def _is_property(name: str) -> bool:
    """Whether a file is called as properties are."""
    return name.lower().removesuffix(".gz").endswith(".vnnlib")


def _gallery(folder: Path, model_name: str, spec: str) -> Gallery:
    """Where a counterexample is saved."""
    about = {"command": "verify", "model": model_name, "property": spec}
    return Gallery(folder, f"verify {model_name} {Path(spec).name}", about)


def _save(gallery: Gallery, model: Model, outcome: Outcome, spec: str) -> None:
    """Save the counterexample of a property, where there is one, with what the file puts out."""
    witness = outcome.bracket.witness
    if outcome.verdict.value == "adversarial" and witness is not None:
        shape = tuple(n for n in model.network.input_shape)
        outputs = model.executor.run(witness[None])[0].astype(float).tolist()
        ends = float(witness.min()), float(witness.max())
        gallery.add(Path(spec).stem, witness.reshape(shape), valid=ends, verdict="adversarial", outputs=outputs)
    gallery.close()


def _check(
    name: str,
    model_name: str,
    spec: str,
    options: dict[str, Any],
    since: float,
    listener: Callable[[TraceEvent], None],
) -> tuple[Model, Outcome]:
    """The answer; loading the program, the model and the property counts since then."""
    from advverify.verifier.api import Model, verify

    settings = settings_from(options, gpu=not options["float32"])
    engines = engines_from(options["engines"], settings.milp)
    model = Model(model_path(model_name), name)
    float32 = bool(options["float32"])
    limits: dict[str, Any] = {"settings": settings, "engines": engines, "listener": listener}
    return model, verify(model, spec, float32=float32, since=since, **limits)


def _assignments(model: Model, outcome: Outcome) -> list[str]:
    """VNN-COMP: ((X_0 value) ... (Y_0 value) ...)."""
    assert outcome.bracket.witness is not None
    x = outcome.bracket.witness
    y = model.executor.run(x[None])[0]
    pairs = [f"(X_{k} {v:.17g})" for k, v in enumerate(x)] + [f"(Y_{k} {v:.17g})" for k, v in enumerate(y)]
    return ["(" + pairs[0], *pairs[1:-1], pairs[-1] + ")"]


def _standard_values(model: Model, outcome: Outcome) -> list[str]:
    """VNN-LIB 2.1: name, type and shape, then one value a line."""
    assert outcome.bracket.witness is not None
    x = outcome.bracket.witness
    y = model.executor.run(x[None])[0]
    shape = ",".join(map(str, model.network.input_shape))
    lines = [f"X {model.executor.dtype.name} [{shape}]", *(f"{v:.17g}" for v in x)]
    return [*lines, f"Y {model.executor.dtype.name} [{len(y)}]", *(f"{v:.17g}" for v in y)]
