"""One task, in whatever process it was sent to."""

from __future__ import annotations

import math
from functools import lru_cache

from ..api import Model, certify, distance, verify
from ..engines import Settings
from ..errors import AdvverifyError
from ..outcome import Bracket, Outcome, Trust, Verdict
from .job import Task


def answer(task: Task) -> Outcome:
    """Settle a task; whatever goes wrong ends `unknown` with the reason."""
    options = dict(task.options)
    engines, proofs = tuple(options.pop("engines")), options.pop("proofs", None)
    settings = Settings(
        timeout=options.pop("timeout"), gap=options.pop("gap", 1e-4), seed=options.pop("seed"), threads=1, proofs=proofs
    )
    try:
        model = _model(task.path, task.stored.model_sha256)
        if task.stored.kind == "verify":
            outcome = verify(model, task.property_path, settings=settings, engines=engines)
        else:
            call = certify if task.stored.kind == "certify" else distance
            assert task.image is not None
            outcome = call(model, task.image, task.label, settings=settings, engines=engines, **options)
    except (AdvverifyError, MemoryError, RuntimeError, ArithmeticError, OSError) as error:
        return failed(task, str(error) or type(error).__name__)
    outcome.labels.update(
        {"model": task.stored.model, "model_sha256": task.stored.model_sha256, "data": task.stored.data}
    )
    outcome.labels.update({"index": task.stored.item, "key": task.stored.key})
    return outcome


def failed(task: Task, reason: str) -> Outcome:
    """`unknown`, and why."""
    labels = {"model": task.stored.model, "data": task.stored.data, "index": task.stored.item, "norm": task.stored.norm}
    bracket = Bracket(0.0 if task.stored.kind == "distance" else -math.inf, math.inf)
    return Outcome(Verdict.UNKNOWN, bracket, Trust.SOLVER, "", 0.0, (), reason.splitlines()[0], labels)


@lru_cache(maxsize=8)
def _model(path: str, sha256: str) -> Model:
    """A model read once a process, refused where the file is no longer the one that the job was checked with."""
    model = Model(path)
    if model.network.sha256 != sha256:
        raise AdvverifyError(f"{path}: the file has changed since the job was checked; run the job again")
    return model
