"""`advverify check`: is a proof valid for a model, what does it say, and is that what was asked?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from advverify.verifier.errors import InvalidInput, no_file

from ..completion import MODEL
from ..help import Command
from ..options import DATA, bytes_option, model_path, norm_option

if TYPE_CHECKING:
    from advverify.verifier.api import Model
    from advverify.verifier.checker import Statement
    from advverify.verifier.specification import Specification


@click.command("check", cls=Command)
@click.argument("proof", type=click.Path(path_type=Path))
@click.argument("model", type=MODEL)
@click.option("--image", type=int, default=None, help="Is the proof about this image of the test set?")
@click.option("--data", default=None, type=DATA, help="Data set [default: the model's own].")
@click.option("--eps", type=float, default=None, help="Radius asked about; a proof of a larger one answers, too.")
@norm_option()
@click.option("--target", type=int, default=None, help="Only this class counts as adversarial.")
@click.option("--margin", type=float, default=0.0, help="Confidence by which an adversarial example must win.")
@click.option(
    "--valid-range",
    nargs=2,
    type=float,
    default=(0.0, 1.0),
    show_default="0 1",
    metavar="LOW HIGH",
    help="Range of inputs.",
)
@bytes_option()
@click.option("--tie-channels", is_flag=True, help="Norm 0 counts pixels instead of single values.")
@click.option(
    "--property", "spec", type=click.Path(path_type=Path), default=None, help="Is it about this VNN-LIB file?"
)
@click.option("--float32", is_flag=True, help="Is it about executions in the file's own precision?")
@click.option("--values", is_flag=True, help="Print every value of the center and the box, and every row.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_context
def command(
    context: click.Context,
    /,
    proof: Path,
    model: str,
    spec: Path | None,
    values: bool,
    as_json: bool,
    **options: Any,
) -> int:
    """Check PROOF against MODEL (a path or zoo:NAME) without trusting whoever wrote it, and say what it proves.

    With --image K --eps E (and --norm, --data, ... as for certify), or with --property FILE, the statement is compared with
    that question, too. Exit status 0 only for a valid proof that answers what was asked, else 1. The checker reads the
    weights from the ONNX file itself and needs numpy and onnx only; the image or property is read by the verifier, whose
    readers are trusted to say what the question is.
    """
    from advverify.verifier.checker import Rejected, check, difference

    given = {name for name in options if context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE}
    _refuse_halves(given, spec)
    path = model_path(model)
    for file in (proof, path):
        if not file.is_file():
            raise InvalidInput(f"{file}: {no_file(file)}")
    said: dict[str, Any] = {"schema": 1, "proof": str(proof), "model": model, "valid": False, "reason": None}
    said |= {"statement": None, "leaves": None, "lemmas": None, "lines": [], "answers_the_question": None}
    try:
        report = check(proof, path)
        asked = None if spec is None and "image" not in given else _asked(path, spec, options)
        other = None if asked is None else difference(report.cases, asked)
        said |= {"valid": True, "statement": report.statement, "leaves": report.leaves, "lemmas": report.lemmas}
        said |= {"lines": list(report.lines(values)), "reason": other}
        said["answers_the_question"] = None if asked is None else other is None
    except Rejected as error:
        said["reason"] = str(error)
    if as_json:
        click.echo(json.dumps(said))
    else:
        _print(said)
    return 1 if not said["valid"] or said["answers_the_question"] is False else 0


def _print(said: dict[str, Any]) -> None:
    """The verdict, and what a valid proof says."""
    if not said["valid"]:
        click.echo(f"not valid: {said['reason']}")
    elif said["answers_the_question"] is False:
        click.echo(f"another question: {said['reason']}")
    else:
        click.echo(f"valid: {said['statement']} ({said['leaves']} leaves, {said['lemmas']} lemmas)")
        for line in said["lines"]:
            click.echo(line)
        if said["answers_the_question"]:
            click.echo("question: the proof answers it")


def _refuse_halves(given: set[str], spec: Path | None) -> None:
    """Options of a question without its subject, or of two questions.

    Raises:
        InvalidInput: that is so.
    """
    of_images = given - {"float32"}
    if spec is not None:
        if of_images:
            raise InvalidInput(
                f"--property is a question of its own; leave out --{min(of_images).removesuffix('_as').replace('_', '-')}"
            )
    elif given and not {"image", "eps"} <= given:
        raise InvalidInput("to compare a proof with a question give --image and --eps, or --property")


def _asked(path: Path, spec: Path | None, options: dict[str, Any]) -> list[Statement]:
    """The question, read as `certify` and `verify` read it.

    Raises:
        InvalidInput: an image, option or property that makes no sense.
    """
    from advverify.verifier.api import Model
    from advverify.verifier.checker import Rejected
    from advverify.verifier.proof.question import statements
    from advverify.verifier.query import Objective, Query

    model = Model(path)
    network = model.network
    if spec is None:
        specification = _about_image(model, options)
    else:
        specification = model.read_property(spec).specification
        if not specification.disjuncts:
            raise InvalidInput("the property contradicts itself: there is nothing that a proof could show")
        if any(p.inputs is not None for disjunct in specification.disjuncts for p in disjunct.unsafe):
            raise InvalidInput("properties that couple inputs have no proofs yet")
    try:
        return statements(Query(network, specification, Objective.FEASIBILITY, path, options["float32"]))
    except Rejected as error:
        raise InvalidInput(f"no proof can answer this question: {error}") from error


def _about_image(model: Model, options: dict[str, Any]) -> Specification:
    from advverify.verifier.specification import robustness

    from ..options import data_for, images_from, threat_from

    threat = threat_from(options)
    data = data_for(model, options["data"], threat.valid_range, options["bytes_as"])
    (k,) = images_from(str(options["image"]), len(data))
    if options["tie_channels"]:
        threat = replace(threat, channels=model.channels())
    network = model.network
    return robustness(data.images[k], int(data.labels[k]), threat, network.output_size, network.ending)
