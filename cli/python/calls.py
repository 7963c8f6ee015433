"""The calls: `certify` and `distance` of one image or of a batch, as a whole or as answers come, and `verify` of a property."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Unpack, overload

import numpy as np
from torch import nn

from advverify.verifier import api
from advverify.verifier.api import Threat
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Outcome
from advverify.verifier.specification import Specification

from ..progress import Progress as Terminal
from .images import ImageLike, LabelsLike
from .opening import ModelLike, open_model
from .options import (
    CertifyOptions,
    DistanceOptions,
    VerifyOptions,
    read_options,
    spelled_out,
    warn_of_no_effect,
)
from .outcomes import BatchInterrupted, Outcomes
from .question import Question, read_question


@overload
def certify(
    model: ModelLike, x: ImageLike, y: int | np.integer, threat: Threat | None = None, **options: Unpack[CertifyOptions]
) -> Outcome: ...
@overload
def certify(
    model: ModelLike, x: ImageLike, y: LabelsLike, threat: Threat | None = None, **options: Unpack[CertifyOptions]
) -> Outcomes: ...
@overload
def certify(
    model: ModelLike, x: ImageLike, y: None = None, threat: Threat | None = None, **options: Unpack[CertifyOptions]
) -> Outcome | Outcomes: ...
@spelled_out("certify")
def certify(
    model: ModelLike,
    x: ImageLike,
    y: int | np.integer | LabelsLike | None = None,
    threat: Threat | None = None,
    **options: Unpack[CertifyOptions],
) -> Outcome | Outcomes:
    """Is there an adversarial example within `eps` of each image? Robust where it is proved that there is none.

    Example:
        >>> from advverify.models.datasets import load_dataset
        >>> digits = load_dataset("digits")
        >>> outcome = certify("zoo:digits-mlp", digits.images[0], 7, norm="inf", eps=0.03)
        >>> outcome.verdict.value
        'robust'
        >>> outcomes = certify("zoo:digits-mlp", digits.images[:4], digits.labels[:4], norm="inf", eps=0.2)
        >>> [outcome.adversarial.shape for outcome in outcomes]
        [(1, 8, 8), (1, 8, 8), (1, 8, 8), (1, 8, 8)]

    Args:
        model: a `torch.nn.Module` (exported by itself in evaluation mode, and compared with the file on these images), an
            `onnx.ModelProto`, the path of an ONNX file, "zoo:NAME", or what `open_model` gave.
        x: an image in the shape of the model's inputs, or a batch (N, ...): numpy or torch, in the model's own units.
        y: the class that must stay on top: a whole number for one image, a sequence of them for a batch; None for what the model
            itself predicts (then `x` is a batch where the model takes it as one).
        threat: a `Threat`, in the place of `norm` to `float32` below.
        options:
            norm: 0, 1, 2 or "inf".
            eps: radius in the units of the inputs; there is no default.
            timeout: seconds for each image.
            gap: relative gap at which a bracket counts as closed.
            target, margin, valid_range, channels, float32: see `Threat`.
            bytes_as: what images of uint8 become: "unit" (divided by 255) or "raw"; floats need none.
            exact_margin: close the bracket of the worst margin, instead of stopping at its sign.
            engines: names of engines, or text with commas.
            threads, seed, device, proofs, proof_seconds: see `Settings`; `proofs` is a folder, which keeps the file of a module too.
            solver, formulation, fix_stable, substitute, tighten, targets, cuts: see `MilpOptions`.
            branching, fsb_candidates, beta_steps, intermediate_bounds: see `ReluSplitOptions`.
            settings: `Settings`, in the place of all from `timeout` and `gap` to these.
            listener: hears every move of one image's bracket, as a `TraceEvent`.
            jobs: of a batch: so many images at once, each in a process of its own (with `threads` 1 most pays).
            progress: of a batch: True shows it on a terminal or in a notebook; a function hears position and `Outcome` as they come.

    Returns:
        An `Outcome` for one image, `Outcomes` in order for a batch; their brackets are of margins of logits.

    Raises:
        InvalidInput: an argument that makes no sense, named.
        InvalidModel: a model that cannot be read or exported; UnsupportedOperator where a layer is not piecewise linear.
        SolverUnavailable: the solver asked for is not installed.
        Interrupted: by Ctrl-C, with the `outcome` so far; of a batch `BatchInterrupted`, with `outcomes`.
    """
    return _answer(read_question("certify", model, x, y, threat, dict(options)))


@overload
def distance(
    model: ModelLike,
    x: ImageLike,
    y: int | np.integer,
    threat: Threat | None = None,
    **options: Unpack[DistanceOptions],
) -> Outcome: ...
@overload
def distance(
    model: ModelLike, x: ImageLike, y: LabelsLike, threat: Threat | None = None, **options: Unpack[DistanceOptions]
) -> Outcomes: ...
@overload
def distance(
    model: ModelLike, x: ImageLike, y: None = None, threat: Threat | None = None, **options: Unpack[DistanceOptions]
) -> Outcome | Outcomes: ...
@spelled_out("distance")
def distance(
    model: ModelLike,
    x: ImageLike,
    y: int | np.integer | LabelsLike | None = None,
    threat: Threat | None = None,
    **options: Unpack[DistanceOptions],
) -> Outcome | Outcomes:
    """How far is the nearest adversarial example of each image? Arguments, results and errors as in `certify`.

    `eps` is the largest radius of interest, without limit where it is left out. Brackets are of distances in the norm, in the
    units of the inputs: `lower` is proved, `upper` is the distance of `adversarial`.

    Example:
        >>> from advverify.models.datasets import load_dataset
        >>> digits = load_dataset("digits")
        >>> outcome = distance("zoo:digits-mlp", digits.images[2], 4, norm="inf")
        >>> f"{outcome.lower:.3f} <= d* <= {outcome.upper:.3f}"
        '0.075 <= d* <= 0.075'
    """
    return _answer(read_question("distance", model, x, y, threat, dict(options)))


@spelled_out("certify")
def certify_all(
    model: ModelLike,
    x: ImageLike,
    y: LabelsLike | None = None,
    threat: Threat | None = None,
    *,
    rest: bool = True,
    **options: Unpack[CertifyOptions],
) -> Iterator[tuple[int, Outcome]]:
    """`certify` for a batch, answer by answer: attacks, bound propagation and one ReLU tree work on many images at once.

    Arguments and errors are as in `certify`; `listener` and `progress` are not for it.

    Args:
        model: as there.
        x: images (N, ...).
        y: their labels, or None.
        threat: as there.
        rest: whether the hard ones follow, one by one.
        options: as there.

    Returns:
        An iterator of the position of an image and its outcome, as they are settled.
    """
    return _batch(read_question("certify", model, x, y, threat, dict(options))).answers(rest)


@spelled_out("distance")
def distance_all(
    model: ModelLike,
    x: ImageLike,
    y: LabelsLike | None = None,
    threat: Threat | None = None,
    **options: Unpack[DistanceOptions],
) -> Iterator[tuple[int, Outcome]]:
    """`distance` for a batch, answer by answer: the model is opened once, images follow one another, or `jobs` of them at once.

    Arguments and errors are as in `distance`; `listener` and `progress` are not for it.

    Returns:
        An iterator of the position of an image and its outcome.
    """
    return _batch(read_question("distance", model, x, y, threat, dict(options))).answers()


@spelled_out("verify")
def verify(
    model: ModelLike,
    specification: str | Path | Specification,
    *,
    example: ImageLike | None = None,
    since: float | None = None,
    **options: Unpack[VerifyOptions],
) -> Outcome:
    """Does the network satisfy a property? robust = unsat, adversarial = sat.

    Args:
        model: as in `certify`.
        specification: a VNN-LIB file, or a `Specification` over the logits.
        example: inputs (N, ...) of a module, for its export.
        since: time.perf_counter() from which the time limit counts; the call's own start where None.
        options: `timeout` and the others of a search in `certify`, and `float32`: robust also under the rounding errors of any
            execution of the file in its own precision.

    Raises:
        InvalidSpecification: the property cannot be read.
        InvalidInput: as in `certify`.
    """
    asked = read_options("verify", dict(options))
    if isinstance(model, nn.Module) and example is None:
        raise InvalidInput("a module needs example= to be exported: inputs (N, ...) as it takes them")
    opened = open_model(model, example, asked.settings.proofs)
    outcome = api.verify(
        opened,
        specification,
        float32=bool(options.get("float32", False)),
        settings=asked.settings,
        engines=asked.engines,
        listener=asked.listener,
        since=since,
    )
    warn_of_no_effect(asked, [outcome])
    return outcome


def _batch(question: Question) -> Question:
    if question.images.single:
        raise InvalidInput(
            "x is one image, and a batch (N, ...) is asked about: give x[None], or call certify or distance"
        )
    if question.asked.progress:
        raise InvalidInput("progress is of certify and distance; who takes answers as they come sees it: leave it out")
    return question


def _answer(question: Question) -> Outcome | Outcomes:
    if question.images.single:
        outcome = question.answer(0)
        warn_of_no_effect(question.asked, [outcome])
        return outcome
    found: dict[int, Outcome] = {}

    def collected() -> Outcomes:
        outcomes = [found.get(k) or question.unanswered(k) for k in range(len(question.images))]
        return Outcomes(outcomes, question.images.values.reshape(-1, *question.images.shape), question.model)

    told = question.asked.progress
    shown = Terminal(
        len(question.images),
        limit=question.asked.settings.timeout,
        jobs=question.asked.jobs,
        word="distance" if question.command == "distance" else "margin",
        quiet=told is not True,
    )
    try:
        with shown:
            for position, outcome in question.answers(hear=shown.hear if told is True else None):
                found[position] = outcome
                shown.settle(position, outcome)
                if callable(told):
                    told(position, outcome)
    except KeyboardInterrupt as stop:
        so_far = getattr(stop, "outcome", None)
        if so_far is not None:  # one by one they are asked about in order
            found[next(k for k in range(len(question.images)) if k not in found)] = question.shaped(so_far)
        raise BatchInterrupted(collected()) from stop
    outcomes = collected()
    warn_of_no_effect(question.asked, outcomes)
    return outcomes
