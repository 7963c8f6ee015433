"""The calls of the library: `certify` (and `certify_all` for many images), `distance` and `verify`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .cascade import Interrupted, solve, solve_all
from .engines import Settings
from .engines.judgement import CoupledJudge, Judge, NetworkJudge
from .errors import InvalidInput
from .network.agreement import Agreement
from .network.compose import with_input_rows
from .network.nodes import Network
from .network.onnx_reader import read_file
from .network.onnx_runtime import OnnxJudge
from .norms import get_norm
from .outcome import Bracket, Outcome, TraceEvent, Trust, Verdict
from .query import Objective, Query
from .specification import Specification, robustness
from .specification.coupling import uncouple
from .specification.vnnlib import Facts, OutOfTime, Property, read_vnnlib

__all__ = ["Interrupted", "Model", "certify", "certify_all", "distance", "verify"]


class Model:
    """A network read once, with the judge that executes its file."""

    def __init__(self, path: str | Path | Network) -> None:
        """Read an ONNX file, or take a network that was built in memory."""
        self._copies: dict[str, Network] = {}
        self._agreement: Agreement | None = None
        if isinstance(path, Network):
            self.path, self.network = None, path
            self.judge: Judge = NetworkJudge(path)
        else:
            self.path = Path(path)
            reading, judge = read_file(path), OnnxJudge(path)
            self.network, self.judge = reading.network, judge
            self._agreement = Agreement(reading.network, reading.plain, judge)
            self._agreement.check()

    def check_on(self, image: np.ndarray) -> None:
        """Compare the network as it was read with onnxruntime on an image; nothing to do for one built in memory.

        Raises:
            InvalidModel: the two disagree by more than rounding explains.
        """
        if self._agreement is not None:
            self._agreement.check_on(np.asarray(image))

    def on(self, device: str) -> Network:
        """The network on a device, copied there once."""
        if device not in self._copies:
            self._copies[device] = self.network.to(self.network.dtype, device)
        return self._copies[device]

    def predict(self, image: np.ndarray) -> int:
        """Class of one image, by the judge."""
        flat = np.asarray(image, dtype=np.float64).ravel()
        if flat.size != self.network.input_size:
            raise InvalidInput(
                f"the image has {flat.size} values, the network takes {self.network.input_size} "
                f"(shape {list(self.network.input_shape)})"
            )
        if self.network.output_size == 1:
            return int(self.judge.logits(flat[None])[0, 0] > 0)
        return int(self.judge.run(flat[None])[0].argmax())

    def channels(self) -> int:
        """How many entries make up a pixel of the network's input: the first number of its shape.

        Raises:
            InvalidInput: the input is no image, or one whose channels come last.
        """
        shape = self.network.input_shape
        if len(shape) != 3 or (shape[0] > 4 >= shape[2]):
            raise InvalidInput(
                "to tie channels the network has to take images as [channels, height, width]; "
                f"this one takes {list(shape)}: leave --tie-channels out, or export it with the channels first"
            )
        return shape[0]

    def read_property(self, path: str | Path, deadline: float = math.inf, executed: bool = False) -> Property:
        """Read a VNN-LIB file about this network, until time.perf_counter() reaches the deadline.

        With `executed` outputs are what executions of the file give, which know no range of a final Softmax and its like:
        probabilities come to 0 and 1, and their sum does not.

        Raises:
            InvalidSpecification: names file, and line and column where there is one.
            OutOfTime: the deadline has passed.
        """
        network = self.network
        narrow = "float32" in (network.input_dtype, self.judge.dtype.name)
        dtype = "float32" if narrow else "float64"
        ending = "" if executed else network.ending
        return read_vnnlib(path, Facts(network.input_size, network.output_size, ending, dtype), deadline)


def _question(
    model: Model,
    image: np.ndarray,
    label: int,
    norm: str | float,
    radius: float,
    objective: Objective,
    target: int | None,
    margin: float,
    valid: tuple[float, float],
    channels: int,
    executed: bool,
) -> tuple[Query | Outcome, dict[str, object]]:
    """The query about an image, or its answer where the image itself is misclassified; and the outcome's labels."""
    specification = robustness(
        image,
        label,
        model.network.output_size,
        get_norm(norm, channels),
        radius,
        valid=valid,
        target=target,
        margin=margin,
        ending=model.network.ending,
    )
    model.check_on(image)
    prediction = model.predict(image)
    labels = {"label": label, "prediction": prediction, "norm": str(norm), "target": target, "executed": executed}
    if prediction != label and (target is None or prediction == target):
        flat = np.asarray(image, dtype=np.float64).ravel()
        misclassified = Verdict.MISCLASSIFIED, Bracket(0.0, 0.0, flat), Trust.CHECKED
        return Outcome(*misclassified, "judge", 0.0, labels=labels), labels
    return Query(model.network, specification, objective, model.path, executed), labels


def _answer(
    model: Model,
    query: Query,
    labels: dict[str, object],
    settings: Settings | None,
    engines: tuple[str, ...],
    listener: Callable[[TraceEvent], None] | None,
) -> Outcome:
    """The outcome of a query, first looked at on a GPU where the settings name one, with its labels and proof."""
    try:
        outcome = _look(model, query, settings, engines)
        if outcome is None:
            outcome = solve(query, settings, engines, model.judge, listener)
        elif listener is not None:
            for event in outcome.trace:
                listener(event)
    except Interrupted as stop:
        stop.outcome.labels.update(labels)
        raise
    outcome.labels.update(labels)
    return _proved(query, outcome, settings)


def _look(model: Model, query: Query, settings: Settings | None, engines: tuple[str, ...]) -> Outcome | None:
    """What attacks and bound propagation on a GPU settle of a query."""
    if settings is None or settings.device == "cpu" or query.executed or query.objective is not Objective.FEASIBILITY:
        return None
    moved = replace(query, network=model.on(settings.device))
    return next((outcome for _, outcome in solve_all([moved], model.judge, settings, engines, rest=False)), None)


def _proved(query: Query, outcome: Outcome, settings: Settings | None) -> Outcome:
    """With a proof, where the settings name a folder for proofs."""
    if settings is None or settings.proofs is None:
        return outcome
    from .proof.attach import attach

    seconds = settings.timeout if settings.proof_seconds is None else settings.proof_seconds
    return attach(query, outcome, settings.proofs, seconds, dict(outcome.labels))


def certify(
    model: str | Path | Network | Model,
    image: np.ndarray,
    label: int,
    norm: str | float = "inf",
    eps: float = 0.0,
    *,
    target: int | None = None,
    margin: float = 0.0,
    valid: tuple[float, float] = (0.0, 1.0),
    channels: int = 1,
    executed: bool = False,
    exact_margin: bool = False,
    settings: Settings | None = None,
    engines: tuple[str, ...] = (),
    listener: Callable[[TraceEvent], None] | None = None,
) -> Outcome:
    """Is there an adversarial example within `eps` of the image?

    Args:
        model: path of an ONNX file, a `Model`, or a network built in memory.
        image: any shape with the right number of values, in the model's units, inside `valid`.
        label: the class that must stay on top.
        norm: 0, 1, 2 or inf.
        eps: radius.
        target: the only class that counts as adversarial; None for all others.
        margin: confidence by which an adversarial example must win.
        valid: range of every input.
        channels: for norm 0, tie so many colour channels to one pixel.
        executed: robust also under the rounding errors of any execution of the file in its own precision (float32).
        exact_margin: close the bracket of the worst margin instead of stopping at its sign (the maximal adversarial
            loss is minus that margin).
        settings: time limit, gap, threads, seed.
        engines: names of the engines to use.
        listener: hears every move of the bracket.

    Raises:
        InvalidInput: an argument that makes no sense.
    """
    _check_radius(eps)
    model = model if isinstance(model, Model) else Model(model)
    objective = Objective.MAX_MARGIN if exact_margin else Objective.FEASIBILITY
    query, labels = _question(model, image, label, norm, eps, objective, target, margin, valid, channels, executed)
    outcome = query if isinstance(query, Outcome) else _answer(model, query, labels, settings, engines, listener)
    outcome.labels["eps"] = eps
    return outcome


def certify_all(
    model: str | Path | Network | Model,
    images: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    norm: str | float = "inf",
    eps: float = 0.0,
    *,
    target: int | None = None,
    margin: float = 0.0,
    valid: tuple[float, float] = (0.0, 1.0),
    channels: int = 1,
    settings: Settings | None = None,
    engines: tuple[str, ...] = (),
    rest: bool = True,
) -> Iterator[tuple[int, Outcome]]:
    """`certify` for many images: attacks, bound propagation and one ReLU tree work on them side by side.

    Those that are too hard for that follow one by one. Several times as fast as all one by one on small networks; large ones
    are worked on one by one, unless `settings.device` is a GPU (for attacks and bound propagation), and so are all where
    proofs are asked for. An outcome's seconds are its share.

    Args:
        model: as in `certify`, like all that is not here.
        images: the images.
        labels: theirs.
        norm: as in `certify`.
        eps: radius.
        target: as in `certify`.
        margin: as in `certify`.
        valid: as in `certify`.
        channels: as in `certify`.
        settings: as in `certify`.
        engines: as in `certify`.
        rest: whether the hard ones follow.

    Yields:
        Position of an image and its outcome, as they are settled.

    Raises:
        InvalidInput: an argument that makes no sense.
    """
    _check_radius(eps)
    model, settings = model if isinstance(model, Model) else Model(model), settings or Settings()
    options: dict[str, Any] = {"target": target, "margin": margin, "valid": valid, "channels": channels}
    left = set(range(len(images)))
    if settings.proofs is None:
        queries: list[tuple[int, Query, dict[str, object]]] = []
        for position, (image, label) in enumerate(zip(images, labels, strict=True)):
            query, about = _question(
                model, image, int(label), norm, eps, Objective.FEASIBILITY, executed=False, **options
            )
            if isinstance(query, Query):
                queries.append((position, replace(query, network=model.on(settings.device)), about))
                continue
            query.labels["eps"] = eps
            left.remove(position)
            yield position, query
        here = settings.device == "cpu"
        asked = [query for _, query, _ in queries]
        try:
            for k, outcome in solve_all(asked, model.judge, settings, engines, rest and here):
                position, _, about = queries[k]
                outcome.labels.update({**about, "eps": eps})
                left.remove(position)
                yield position, outcome
        except Interrupted as stop:  # one by one they are worked on in order
            about = next(about for position, _, about in queries if position in left)
            stop.outcome.labels.update({**about, "eps": eps})
            raise
        settings = replace(settings, device="cpu")  # a GPU has had its look
    for position in sorted(left) if rest else ():
        image, label = images[position], int(labels[position])
        yield position, certify(model, image, label, norm, eps, settings=settings, engines=engines, **options)


def _check_radius(eps: float) -> None:
    if math.isnan(eps) or eps < 0:
        raise InvalidInput(f"eps must be a number >= 0, got {eps}")


def distance(
    model: str | Path | Network | Model,
    image: np.ndarray,
    label: int,
    norm: str | float = "inf",
    *,
    limit: float = math.inf,
    target: int | None = None,
    margin: float = 0.0,
    valid: tuple[float, float] = (0.0, 1.0),
    channels: int = 1,
    executed: bool = False,
    settings: Settings | None = None,
    engines: tuple[str, ...] = (),
    listener: Callable[[TraceEvent], None] | None = None,
) -> Outcome:
    """How far is the nearest adversarial example? Arguments as in `certify`; `limit` is the largest radius of interest.

    Raises:
        InvalidInput: an argument that makes no sense.
    """
    model = model if isinstance(model, Model) else Model(model)
    objective = Objective.MIN_DISTORTION
    query, labels = _question(model, image, label, norm, limit, objective, target, margin, valid, channels, executed)
    outcome = query if isinstance(query, Outcome) else _answer(model, query, labels, settings, engines, listener)
    outcome.labels["eps"] = None if math.isinf(limit) else limit
    return outcome


def verify(
    model: str | Path | Network | Model,
    specification: str | Path | Specification,
    *,
    executed: bool = False,
    settings: Settings | None = None,
    engines: tuple[str, ...] = (),
    listener: Callable[[TraceEvent], None] | None = None,
    since: float | None = None,
) -> Outcome:
    """Does the network satisfy a property? robust = unsat, adversarial = sat.

    Reading the model and the property counts as part of the time limit.

    Args:
        model: as in `certify`, like all that is not here.
        specification: a VNN-LIB file, or a `Specification` over what the network's nodes compute (the logits where the
            file ends in a Softmax).
        executed: as in `certify`.
        settings: as in `certify`.
        engines: as in `certify`.
        listener: as in `certify`.
        since: time.perf_counter() from which the time limit counts; the call's own start where None.

    Raises:
        InvalidSpecification: the property cannot be read.
        InvalidInput: a property that couples inputs, for executions of the file.
    """
    began = time.perf_counter() if since is None else since
    model, settings = model if isinstance(model, Model) else Model(model), settings or Settings()
    network, limit = model.network, settings.timeout
    unknown = Verdict.UNKNOWN, Bracket(-math.inf, math.inf), Trust.SOLVER, "reader"
    late = f"time limit of {limit:g} s, reached while model and property were read"
    labels: dict[str, object] = {}
    if not isinstance(specification, Specification):
        try:
            read = model.read_property(specification, began + limit, executed)
        except OutOfTime:
            return Outcome(*unknown, time.perf_counter() - began, reason=late)
        specification = read.specification
        if read.notes:
            labels["notes"] = list(read.notes)
        if read.contradiction:
            labels["contradiction"] = read.contradiction
    if not specification.cases:  # nothing is asked: decided in rational arithmetic, of the property alone
        bracket, statistics = Bracket(math.inf, math.inf), {"no_proof": "the property says nothing of the network"}
        seconds = time.perf_counter() - began
        return Outcome(Verdict.ROBUST, bracket, Trust.SOLVER, "reader", seconds, labels=labels, statistics=statistics)
    specification, rows = uncouple(specification)
    if len(rows):
        if executed:
            raise InvalidInput("executions are not bounded for properties that couple inputs; leave --float32 out")
        judge = CoupledJudge(model.judge, rows)
        model = Model(with_input_rows(network, rows))
        model.judge = judge
    spent = time.perf_counter() - began
    if spent >= limit:
        return Outcome(*unknown, spent, reason=late, labels=labels)
    query = Query(model.network, specification, Objective.FEASIBILITY, model.path, executed)
    proof_seconds = limit if settings.proof_seconds is None else settings.proof_seconds
    settings = replace(settings, timeout=limit - spent, proof_seconds=proof_seconds)
    if len(rows) and settings.proofs is not None:
        outcome = _answer(model, query, labels, replace(settings, proofs=None), engines, listener)
        outcome.statistics["no_proof"] = "proofs of properties that couple inputs are not supported yet"
    else:
        outcome = _answer(model, query, labels, settings, engines, listener)
    reason = outcome.reason.replace(f"time limit of {settings.timeout:g} s", f"time limit of {limit:g} s")
    return replace(outcome, reason=reason, seconds=outcome.seconds + spent)
