"""Distances within a subspace: a = x + D v, exactly, by the same engines on the network v -> f(x + D v)."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .api import Model, distance
from .engines import Settings
from .network.compose import restricted
from .network.nodes import Network
from .outcome import Outcome, TraceEvent
from .specification import Threat


def subspace_distance(
    model: str | Path | Network | Model,
    image: np.ndarray,
    label: int,
    basis: np.ndarray,
    norm: str | float = "2",
    *,
    reach: float | None = None,
    clip: tuple[float, float] | None = None,
    settings: Settings | None = None,
    engines: tuple[str, ...] = (),
    listener: Callable[[TraceEvent], None] | None = None,
) -> Outcome:
    """Bracket of min ||v|| such that x + D v is misclassified; the witness is v.

    With orthonormal columns and norm 2 this is the distance in the subspace (Fawzi et al., NeurIPS 2016); with an
    adversarial dictionary it is the largest region of its span in which the network is robust.

    Args:
        model: path, `Model` or network.
        image: (n,) or any shape of that size.
        label: the class that must stay on top.
        basis: D, (n, m).
        norm: of v.
        reach: largest |v_i| of interest; by default the diagonal of the valid range.
        clip: range to which x + D v is clipped, entry by entry, as an attacker who keeps to valid images does; free where None.
        settings: limits.
        engines: names of the engines to use.
        listener: hears every move of the bracket.
    """
    network = model.network if isinstance(model, Model) else model
    if not isinstance(network, Network):
        network = Model(network).network
    inner = restricted(network, np.asarray(image, dtype=np.float64).ravel(), basis, clip)
    far = math.sqrt(network.input_size) if reach is None else reach
    origin = np.zeros(basis.shape[1])
    threat = Threat(norm, valid_range=(-far, far))
    return distance(inner, origin, label, threat, settings=settings, engines=engines, listener=listener)
