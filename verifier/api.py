"""The three calls of the library: `certify`, `distance` and `verify`."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .cascade import Interrupted, solve
from .engines import Settings
from .engines.state import Judge, NetworkJudge
from .errors import InvalidInput, InvalidModel
from .network.nodes import Network
from .network.onnx_reader import read_onnx
from .network.onnx_runtime import OnnxJudge
from .norms import get_norm
from .outcome import Bracket, Outcome, TraceEvent, Trust, Verdict
from .query import Objective, Query
from .specification import Specification, robustness
from .specification.vnnlib import read_vnnlib

__all__ = ["Interrupted", "Model", "certify", "distance", "verify"]


class Model:
    """A network read once, with the judge that executes its file."""

    def __init__(self, path: str | Path | Network) -> None:
        """Read an ONNX file, or take a network that was built in memory."""
        if isinstance(path, Network):
            self.path, self.network = None, path
            self.judge: Judge = NetworkJudge(path)
        else:
            self.path = Path(path)
            self.network = read_onnx(path)
            self.judge = OnnxJudge(path)
            self._compare()

    def _compare(self) -> None:
        """Run one input through the network as it was read and through onnxruntime.

        Raises:
            InvalidModel: the two disagree by more than float32 explains.
        """
        if self.network.notes:  # weights of a range where float32 may be anything
            return
        x = np.random.default_rng(0).random((1, self.network.input_size))
        theirs, ours = self.judge.run(x), NetworkJudge(self.network).run(x.astype(self.judge.dtype))
        with np.errstate(all="ignore"):  # what overflows does not agree
            same = ours.shape == theirs.shape and np.allclose(ours, theirs, 1e-2, 1e-2 * (1 + np.abs(ours).max()))
        if not same:
            raise InvalidModel(f"{self.path}: onnxruntime computes something else than what was read; please report it")

    def predict(self, image: np.ndarray) -> int:
        """Class of one image, by the judge."""
        flat = np.asarray(image, dtype=np.float64).ravel()
        if flat.size != self.network.input_size:
            raise InvalidInput(
                f"the image has {flat.size} values, the network takes {self.network.input_size} "
                f"(shape {list(self.network.input_shape)})"
            )
        return int(self.judge.run(flat[None])[0].argmax())


def _ask(
    model: str | Path | Network | Model,
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
    settings: Settings | None,
    engines: tuple[str, ...],
    listener: Callable[[TraceEvent], None] | None,
) -> Outcome:
    model = model if isinstance(model, Model) else Model(model)
    specification = robustness(
        image,
        label,
        model.network.output_size,
        get_norm(norm, channels),
        radius,
        valid=valid,
        target=target,
        margin=margin,
    )
    prediction = model.predict(image)
    labels = {"label": label, "prediction": prediction, "norm": str(norm), "target": target, "executed": executed}
    if prediction != label and (target is None or prediction == target):
        flat = np.asarray(image, dtype=np.float64).ravel()
        return Outcome(Verdict.MISCLASSIFIED, Bracket(0.0, 0.0, flat), Trust.CHECKED, "judge", 0.0, labels=labels)
    query = Query(model.network, specification, objective, model.path, executed)
    try:
        outcome = solve(query, settings, engines, model.judge, listener)
    except Interrupted as stop:
        stop.outcome.labels.update(labels)
        raise
    outcome.labels.update(labels)
    return _proved(query, outcome, settings)


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
    if math.isnan(eps) or eps < 0:
        raise InvalidInput(f"eps must be a number >= 0, got {eps}")
    objective = Objective.MAX_MARGIN if exact_margin else Objective.FEASIBILITY
    outcome = _ask(
        model,
        image,
        label,
        norm,
        eps,
        objective,
        target,
        margin,
        valid,
        channels,
        executed,
        settings,
        engines,
        listener,
    )
    outcome.labels["eps"] = eps
    return outcome


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
    objective = Objective.MIN_DISTORTION
    outcome = _ask(
        model,
        image,
        label,
        norm,
        limit,
        objective,
        target,
        margin,
        valid,
        channels,
        executed,
        settings,
        engines,
        listener,
    )
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
) -> Outcome:
    """Does the network satisfy a property (a VNN-LIB file, or a `Specification`)? robust = unsat, adversarial = sat.

    `executed` as in `certify`.

    Raises:
        InvalidSpecification: the property cannot be read.
    """
    model = model if isinstance(model, Model) else Model(model)
    if not isinstance(specification, Specification):
        specification = read_vnnlib(specification, model.network.input_size, model.network.output_size)
    query = Query(model.network, specification, Objective.FEASIBILITY, model.path, executed)
    return _proved(query, solve(query, settings, engines, model.judge, listener), settings)
