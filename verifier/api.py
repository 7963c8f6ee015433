"""The calls of the library: `certify` (and `certify_all` for many images), `distance` and `verify`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .cascade import Interrupted, solve, solve_all
from .denormals import denormals_kept
from .engines import Settings
from .engines.executor import CoupledExecutor, Executor, NetworkExecutor
from .engines.settings import check_gpu
from .errors import InvalidInput
from .network.agreement import Agreement
from .network.compose import with_input_rows
from .network.nodes import Network
from .network.onnx_reader import read_file
from .network.onnx_runtime import OnnxExecutor
from .outcome import Bracket, Outcome, TraceEvent, Trust, Verdict
from .query import Objective, Query
from .specification import Specification, Threat, robustness
from .specification.coupling import uncouple
from .specification.vnnlib import Facts, OutOfTime, Property, read_vnnlib

__all__ = ["Interrupted", "Model", "Threat", "certify", "certify_all", "distance", "verify"]


class Model:
    """A network read once, with what executes its file."""

    def __init__(self, path: str | Path | Network, name: str = "") -> None:
        """Read an ONNX file, or take a network that was built in memory; `name` is what properties must call it."""
        self.name = name
        self._copies: dict[str, Network] = {}
        self._agreement: Agreement | None = None
        if isinstance(path, Network):
            self.path, self.network = None, path
            self.executor: Executor = NetworkExecutor(path)
        else:
            self.path = Path(path)
            reading, executor = read_file(path), OnnxExecutor(path)
            self.network, self.executor = reading.network, executor
            self._agreement = Agreement(reading.network, reading.plain, executor, reading.dtype)
            self._agreement.check()

    def check_on(self, image: np.ndarray) -> None:
        """Compare the network as it was read with onnxruntime on an image; nothing to do for one built in memory.

        Raises:
            InvalidModel: the two disagree by more than rounding explains.
        """
        flat = self.flat(image)
        if self._agreement is not None:
            self._agreement.check_on(flat)

    def on(self, device: str) -> Network:
        """The network on a device, copied there once.

        Raises:
            InvalidInput: a GPU that is not here.
        """
        check_gpu(device)
        if device not in self._copies:
            self._copies[device] = self.network.to(self.network.dtype, device)
        return self._copies[device]

    def predict(self, image: np.ndarray) -> int:
        """Class of one image, by its execution."""
        flat = self.flat(image)
        if self.network.output_size == 1:
            return int(self.executor.logits(flat[None])[0, 0] > 0)
        return int(self.executor.run(flat[None])[0].argmax())

    def flat(self, image: np.ndarray) -> np.ndarray:
        """The values of an image.

        Raises:
            InvalidInput: no numbers, or not as many as the network takes.
        """
        try:
            flat = np.asarray(image, dtype=np.float64).ravel()
        except (TypeError, ValueError):
            raise InvalidInput("the image is no array of numbers") from None
        if flat.size != self.network.input_size:
            raise InvalidInput(
                f"the image has {flat.size} values, the network takes {self.network.input_size} "
                f"(shape {list(self.network.input_shape)})"
            )
        return flat

    def channels(self) -> int:
        """How many entries make up a pixel of the network's input: the first number of its shape.

        Raises:
            InvalidInput: the input is no image, or one whose channels come last.
        """
        shape = self.network.input_shape
        if len(shape) != 3 or (shape[0] > 4 >= shape[2]):
            raise InvalidInput(
                "to tie channels the network has to take images as [channels, height, width]; "
                f"this one takes {list(shape)}: leave channels apart, or export it with the channels first"
            )
        return shape[0]

    def read_property(self, path: str | Path, deadline: float = math.inf, float32: bool = False) -> Property:
        """Read a VNN-LIB file about this network, until time.perf_counter() reaches the deadline.

        With `float32` outputs are what executions of the file give, which know no range of a final Softmax and its like:
        probabilities come to 0 and 1, and their sum does not.

        Raises:
            InvalidSpecification: names file, and line and column where there is one.
            OutOfTime: the deadline has passed.
        """
        network = self.network
        narrow = "float32" in (network.input_dtype, self.executor.dtype.name)
        dtype = "float32" if narrow else "float64"
        ending = "" if float32 else network.ending
        return read_vnnlib(path, Facts(network.input_size, network.output_size, ending, dtype, self.name), deadline)


@denormals_kept()
def _question(
    model: Model, image: np.ndarray, label: int, threat: Threat, objective: Objective
) -> tuple[Query | Outcome, dict[str, Any]]:
    """The query about an image, or its answer where the image itself is misclassified; and the outcome's labels.

    Then its distance is 0, and its margin the upper side of the least one.
    """
    network, flat = model.network, model.flat(image)
    specification = robustness(flat, label, threat, network.output_size, network.ending)
    model.check_on(flat)
    prediction = model.predict(flat)
    labels = {"label": int(label), "prediction": prediction, "objective": objective.value, **threat.to_dict()}
    if prediction != label and threat.target in (None, prediction):
        if objective is Objective.MIN_DISTORTION:
            bracket = Bracket(0.0, 0.0, flat)
        else:  # no search was made for worse inputs than the image
            outputs = model.executor.logits(flat[None])[0]
            bracket = Bracket(
                -math.inf, min(unsafe.violation(outputs) for unsafe in specification.disjuncts[0].unsafe), flat
            )
        return Outcome(Verdict.MISCLASSIFIED, bracket, Trust.CHECKED, "executor", 0.0, labels=labels), labels
    return Query(network, specification, objective, model.path, threat.float32), labels


def _answer(
    model: Model,
    query: Query,
    labels: dict[str, Any],
    settings: Settings | None,
    engines: tuple[str, ...],
    listener: Callable[[TraceEvent], None] | None,
) -> Outcome:
    """The outcome of a query, first looked at on a GPU where the settings name one, with its labels and proof."""
    try:
        outcome = _look(model, query, settings, engines)
        if outcome is None:
            outcome = solve(query, settings, engines, model.executor, listener)
        elif listener is not None:
            for event in outcome.trace:
                listener(event)
    except Interrupted as stop:
        raise Interrupted(stop.outcome.labelled(**labels)) from stop
    return _proved(query, outcome.labelled(**labels), settings)


def _look(model: Model, query: Query, settings: Settings | None, engines: tuple[str, ...]) -> Outcome | None:
    """What attacks and bound propagation on a GPU settle of a query."""
    if settings is None or settings.device == "cpu" or query.float32 or query.objective is not Objective.FEASIBILITY:
        return None
    moved = replace(query, network=model.on(settings.device))
    return next((outcome for _, outcome in solve_all([moved], model.executor, settings, engines, rest=False)), None)


@denormals_kept()
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
    threat: Threat,
    *,
    exact_margin: bool = False,
    settings: Settings | None = None,
    engines: tuple[str, ...] = (),
    listener: Callable[[TraceEvent], None] | None = None,
) -> Outcome:
    """Is there an adversarial example within `threat.eps` of the image?

    Args:
        model: path of an ONNX file, a `Model`, or a network built in memory.
        image: any shape with the right number of values, in the model's units, inside the valid range.
        label: the class that must stay on top.
        threat: norm, radius and what else counts.
        exact_margin: close the bracket of the worst margin instead of stopping at its sign (the maximal adversarial
            loss is minus that margin).
        settings: time limit, gap, threads, seed.
        engines: names of the engines to use.
        listener: hears every move of the bracket.

    Raises:
        InvalidInput: an argument that makes no sense, or a threat without a radius.
    """
    _check_radius(threat)
    model = model if isinstance(model, Model) else Model(model)
    objective = Objective.MAX_MARGIN if exact_margin else Objective.FEASIBILITY
    query, labels = _question(model, image, label, threat, objective)
    return query if isinstance(query, Outcome) else _answer(model, query, labels, settings, engines, listener)


def certify_all(
    model: str | Path | Network | Model,
    images: Sequence[np.ndarray] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    threat: Threat,
    *,
    exact_margin: bool = False,
    settings: Settings | None = None,
    engines: tuple[str, ...] = (),
    rest: bool = True,
    listener: Callable[[int, TraceEvent], None] | None = None,
) -> Iterator[tuple[int, Outcome]]:
    """`certify` for many images: attacks, bound propagation and one ReLU tree work on them in batches.

    Those that are too hard for that follow sequentially. Several times as fast as one by one on small networks; large ones
    are worked on sequentially, unless `settings.device` is a GPU (for attacks and bound propagation), and so are all where
    more than a verdict is asked for: exact margins, executions in float32, and proofs where others do the `rest`. An outcome's
    seconds are its share.

    Args:
        model: as in `certify`, like all that is not here.
        images: the images.
        labels: theirs.
        threat: as in `certify`, the same for all.
        exact_margin: as in `certify`.
        settings: as in `certify`.
        engines: as in `certify`.
        rest: whether the hard ones follow.
        listener: hears the position of a hard one that is worked on, and every move of its bracket.

    Yields:
        Position of an image and its outcome, as they are settled.

    Raises:
        InvalidInput: an argument that makes no sense, or a threat without a radius.
    """
    _check_radius(threat)
    model, settings = model if isinstance(model, Model) else Model(model), settings or Settings()
    left = set(range(len(images)))
    elsewhere = settings.proofs is not None and not rest  # who does the rest in several processes proves there, too
    if not exact_margin and not threat.float32 and not elsewhere:
        queries: list[tuple[int, Query, dict[str, Any]]] = []
        for position, (image, label) in enumerate(zip(images, labels, strict=True)):
            query, about = _question(model, image, int(label), threat, Objective.FEASIBILITY)
            if isinstance(query, Query):
                queries.append((position, replace(query, network=model.on(settings.device)), about))
                continue
            left.remove(position)
            yield position, query
        here = settings.device == "cpu"
        asked = [query for _, query, _ in queries]
        try:
            hear = None if listener is None else lambda k, event: listener(queries[k][0], event)
            for k, outcome in solve_all(asked, model.executor, settings, engines, rest and here, hear):
                position, query, about = queries[k]
                left.remove(position)
                query = replace(query, network=model.network)  # proofs are sought on the CPU
                yield position, _proved(query, outcome.labelled(**about), settings)
        except Interrupted as stop:  # sequentially they are worked on in order
            about = next(about for position, _, about in queries if position in left)
            raise Interrupted(stop.outcome.labelled(**about)) from stop
        settings = replace(settings, device="cpu")  # a GPU has had its look
    for position in sorted(left) if rest else ():
        image, label = images[position], int(labels[position])
        limits: dict[str, Any] = {"settings": settings, "engines": engines}
        limits["listener"] = None if listener is None else partial(listener, position)
        yield (
            position,
            certify(model, image, label, threat, exact_margin=exact_margin, **limits),
        )


def _check_radius(threat: Threat) -> None:
    if threat.eps is None:
        raise InvalidInput("certify needs a radius: Threat(norm, eps), or math.inf for the whole valid range")


def distance(
    model: str | Path | Network | Model,
    image: np.ndarray,
    label: int,
    threat: Threat | None = None,
    *,
    settings: Settings | None = None,
    engines: tuple[str, ...] = (),
    listener: Callable[[TraceEvent], None] | None = None,
) -> Outcome:
    """How far is the nearest adversarial example? Arguments as in `certify`.

    `threat.eps` is the largest radius of interest, without limit where it is None; no threat is `Threat()`.

    Raises:
        InvalidInput: an argument that makes no sense.
    """
    model = model if isinstance(model, Model) else Model(model)
    query, labels = _question(model, image, label, threat or Threat(), Objective.MIN_DISTORTION)
    return query if isinstance(query, Outcome) else _answer(model, query, labels, settings, engines, listener)


@denormals_kept()
def verify(
    model: str | Path | Network | Model,
    specification: str | Path | Specification,
    *,
    float32: bool = False,
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
        float32: robust also under the rounding errors of any execution of the file in its own precision.
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
    late = f"time limit of {limit:g} s, reached while model and property were read, which counts"
    labels: dict[str, Any] = {}
    if not isinstance(specification, Specification):
        try:
            read = model.read_property(specification, began + limit, float32)
        except OutOfTime:
            return Outcome(*unknown, time.perf_counter() - began, reason=late)
        specification = read.specification
        if read.notes:
            labels["notes"] = list(read.notes)
        if read.contradiction:
            labels["contradiction"] = read.contradiction
    if not specification.disjuncts:  # nothing is asked: decided in rational arithmetic, of the property alone
        bracket, statistics = Bracket(math.inf, math.inf), {"no_proof": "the property says nothing of the network"}
        seconds = time.perf_counter() - began
        return Outcome(Verdict.ROBUST, bracket, Trust.SOLVER, "reader", seconds, labels=labels, statistics=statistics)
    specification, rows = uncouple(specification)
    if len(rows):
        if float32:
            raise InvalidInput("executions are not bounded for properties that couple inputs; leave float32 out")
        executor = CoupledExecutor(model.executor, rows)
        model = Model(with_input_rows(network, rows))
        model.executor = executor
    spent = time.perf_counter() - began
    if spent >= limit:
        return Outcome(*unknown, spent, reason=late, labels=labels)
    query = Query(model.network, specification, Objective.FEASIBILITY, model.path, float32)
    proof_seconds = limit if settings.proof_seconds is None else settings.proof_seconds
    settings = replace(settings, timeout=limit - spent, proof_seconds=proof_seconds)
    if len(rows) and settings.proofs is not None:
        outcome = _answer(model, query, labels, replace(settings, proofs=None), engines, listener)
        outcome = outcome.counted(no_proof="proofs of properties that couple inputs are not supported yet")
    else:
        outcome = _answer(model, query, labels, settings, engines, listener)
    reason = outcome.reason.replace(f"time limit of {settings.timeout:g} s", f"time limit of {limit:g} s")
    return replace(outcome, reason=reason, seconds=outcome.seconds + spent)
