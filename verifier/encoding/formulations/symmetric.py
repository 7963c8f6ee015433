"""Big-M with one constant a layer.

For h with |h| <= M everywhere in the layer:

    h = z - s,   0 <= z <= M a,   0 <= s <= M (1 - a),   a in {0, 1}.

Cheng, Nuehrenberg & Ruess, "Maximum resilience of artificial neural networks", ATVA 2017, and many others, often with an M that
nobody computed. It is here for comparison: a neuron whose own bounds are narrow gets the constant of the widest one.
"""

from __future__ import annotations

import numpy as np

from ..program import ProgramBuilder
from .base import Columns, Neurons, big_m


class Symmetric:
    """One M for both sides of all neurons of a layer."""

    def __call__(self, builder: ProgramBuilder, neurons: Neurons) -> Columns:
        """Add the columns and rows of some neurons."""
        largest = np.full(len(neurons), neurons.largest)
        return big_m(builder, neurons, largest, largest)
