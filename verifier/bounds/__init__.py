"""Bound propagation, batched over regions: intervals, CROWN, and CROWN with optimised slopes and split multipliers.

    traverse (`backward`)   carry linear functions of a node back to the input
    relax (`relaxation`)    replace each ReLU and maximum by linear functions below and above it
    concretise (`inputs`)   minimise a linear function of the input over box ∩ ball, exactly

Output constraints (`halfspace`) and l2 balls around the values of nodes (`balls`, `lipschitz`) tighten these steps.

Every method maps (network, inputs, what is known) to `Bounds`; tightening intersects, so a bound never gets looser.
"""

from .bounds import Bounds, Interval
from .crown import crown, output_lower_bounds
from .ibp import ibp
from .inputs import InputSet

__all__ = ["Bounds", "InputSet", "Interval", "crown", "ibp", "output_lower_bounds"]
