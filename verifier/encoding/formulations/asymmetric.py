"""Big-M with each neuron's own bounds; the default.

For l <= h <= u:

    h = z - s,   0 <= z <= u a,   0 <= s <= -l (1 - a),   a in {0, 1},

with 0 in place of a bound on the other side of 0. Without s this is Tjeng, Xiao & Tedrake, "Evaluating robustness of neural
networks with mixed integer programming", ICLR 2019, equations 6 to 9, z <= h - l (1 - a) and z >= h: the same relaxation with two
dense rows a neuron instead of one. Its projection onto (h, z) is the triangle below the line from (l, 0) to (u, u).
"""

from __future__ import annotations

import numpy as np

from ..program import ProgramBuilder
from .base import Columns, Neurons, big_m


class Asymmetric:
    """The two bounds of a neuron as its two constants."""

    def __call__(self, builder: ProgramBuilder, neurons: Neurons) -> Columns:
        """Add the columns and rows of some neurons."""
        big_low, big_high = np.maximum(-neurons.lower, 0), np.maximum(neurons.upper, 0)
        return big_m(builder, neurons, big_low, big_high)
