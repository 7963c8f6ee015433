"""How unsafe a point is in real arithmetic, from above: what the upper side of a margin's bracket promises.

An execution in float32 may be off by more than the gap that is asked for, to either side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..bounds import InputSet
from ..bounds.crown import output_lower_bounds
from ..bounds.ibp import ibp
from ..network.nodes import Network
from ..specification import Polytope


def violation_above(network: Network, point: np.ndarray, unsafe: Sequence[Polytope]) -> float:
    """The least violation of the polytopes by the network's output at a point (n,), rounded up by all that rounding may be."""
    x = torch.from_numpy(np.asarray(point, dtype=np.float64))[None].to(network.device)
    inputs = InputSet(x, x)
    with torch.no_grad():
        bounds = ibp(network, inputs)
        found = []
        for polytope in unsafe:
            rows = torch.from_numpy(-polytope.matrix)[None].to(x)
            offset = torch.from_numpy(polytope.offset)[None].to(x)
            found.append(float(-output_lower_bounds(network, inputs, rows, offset, bounds).min()))
    return min(found)
