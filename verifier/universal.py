"""The smallest perturbation that fools the network on all of a few images at once, exactly: one query."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .api import Model
from .cascade import solve
from .engines import Settings
from .errors import InvalidInput
from .network.compose import with_one_perturbation
from .network.nodes import Network
from .norms import UnitBall
from .outcome import Outcome
from .query import Objective, Query
from .specification import Disjunct, NormBall, Polytope, Region, Specification, Threat


def universal_distance(
    model: str | Path | Network | Model,
    images: np.ndarray,
    labels: np.ndarray,
    threat: Threat | None = None,
    *,
    clip: bool = True,
    settings: Settings | None = None,
    engines: tuple[str, ...] = (),
) -> Outcome:
    """Bracket of min ||delta|| such that every image + delta is misclassified; the witness is delta.

    Args:
        model: path, `Model` or network.
        images: (count, ...), all rightly classified.
        labels: (count,).
        threat: norm of delta, largest radius of interest, and valid range; the rest of it does not apply.
        clip: image + delta is clipped to the valid range, entry by entry; else delta is free.
        settings: limits.
        engines: names of the engines to use.

    Raises:
        InvalidInput: no images, one that is misclassified already, or a network of one output.
    """
    model, threat = model if isinstance(model, Model) else Model(model), threat or Threat()
    valid, norm = threat.valid_range, threat.ball_norm()
    if model.network.output_size < 2:
        raise InvalidInput("universal: needs a network with an output for each class, two or more")
    flat = np.asarray(images, dtype=np.float64).reshape(len(images), -1)
    if not len(flat) or flat.shape[1] != model.network.input_size:
        raise InvalidInput(f"universal: needs images of {model.network.input_size} values each")
    for k, (image, label) in enumerate(zip(flat, labels, strict=True)):
        if model.predict(image) != label:
            raise InvalidInput(f"universal: image {k} is misclassified without any perturbation")
    network = with_one_perturbation(model.network, flat, labels, valid if clip else None)
    count = len(flat)
    # Unsafe where every worst margin is >= 0.
    unsafe = Polytope(-np.eye(count), np.zeros(count), np.ones(count, dtype=bool), "all images")
    width = valid[1] - valid[0]
    side = np.full(flat.shape[1], min(threat.radius, width) if norm.unit_ball is UnitBall.BOX else width)
    region = Region(-side, side, NormBall(np.zeros(flat.shape[1]), norm, threat.radius))
    query = Query(network, Specification((Disjunct(region, (unsafe,)),)), Objective.MIN_DISTORTION)
    return solve(query, settings, engines)
