"""Robust in exact arithmetic is not robust in execution: `widen` adds to unsafe sets what floating point may move.

The error bounds are the checker's own (`checker.execution`), so a proof for a widened specification is one that it accepts.
Source of the problem: Jia & Rinard, "Exploiting Verified Neural Networks via Floating Point Numerical Error", SAS 2021.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

from ..checker.arithmetic import Relaxation
from ..checker.check import widened
from ..checker.execution import execution_error
from ..checker.model_file import open_model
from ..checker.network import Network, Rejected
from ..checker.region import Region
from ..errors import InvalidInput
from .specification import Disjunct, Specification


def widen(specification: Specification, model: Path | None, sha256: str) -> tuple[Specification, float]:
    """The specification with every output unsafe that an execution of the file could take for an unsafe one.

    Args:
        specification: about outputs in exact arithmetic. Errors grow with its regions.
        model: the ONNX file.
        sha256: hash of its content.

    Returns:
        The specification, and the largest error of all its rows.

    Raises:
        InvalidInput: there is no file, or its errors cannot be bounded.
    """
    if model is None:
        raise InvalidInput("a network that has no ONNX file has no float32 execution; save it first")
    try:
        network = _network(str(model), sha256)
        disjuncts, errors = zip(*(_widened(network, disjunct) for disjunct in specification.disjuncts), strict=True)
    except Rejected as refusal:
        raise InvalidInput(f"the float32 errors of {model} cannot be bounded: {refusal}") from refusal
    return Specification(disjuncts), max(errors)


@lru_cache(maxsize=8)
def _network(path: str, sha256: str) -> Network:
    """The checker's reading of a file, once for each content."""
    return Network(open_model(path)[0])


def _widened(network: Network, disjunct: Disjunct) -> tuple[Disjunct, float]:
    region, ball = disjunct.region, disjunct.region.ball
    center, norm, limit = (None, "inf", np.inf) if ball is None else (ball.center, ball.norm.name, ball.radius)
    relaxation = Relaxation(network, Region.of(region.lower, region.upper, norm, center, limit))
    bounds = relaxation.crown(relaxation.start())
    sizes = [len(polytope.offset) for polytope in disjunct.unsafe]
    errors = execution_error(relaxation, bounds, np.concatenate([polytope.matrix for polytope in disjunct.unsafe]))
    parts = np.split(errors, np.cumsum(sizes)[:-1])
    unsafe = tuple(
        polytope.with_offset(widened(polytope.offset, part))
        for polytope, part in zip(disjunct.unsafe, parts, strict=True)
    )
    return Disjunct(region, unsafe), float(errors.max())
