"""What numbers too small to be told from 0 may cost.

What lies below the normal numbers has no relative error: a product or a weight there may be anything down to 0, in hardware that flushes
such numbers also where the format could hold them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..network.operators import Operator


def tiny(dtype: torch.dtype) -> float:
    """The smallest normal number: what lies below it may be lost altogether."""
    return float(torch.finfo(dtype).tiny)


def covering(dtype: torch.dtype) -> float:
    """A magnitude whose share by one rounding is more than a product that underflows can lose."""
    return 4 * tiny(dtype) / float(torch.finfo(dtype).eps)


def raised(magnitude: Tensor) -> Tensor:
    """Magnitudes whose products with relative errors cover what may be lost of them by underflow as well."""
    return magnitude + covering(magnitude.dtype)


def underflow(operator: Operator, magnitude: Tensor) -> Tensor:
    """What underflow of weights and products may cost an entry of operator(x) for |x| <= magnitude (batch, in_size); broadcasts to
    (batch, out_size).
    """
    factors = operator.chain
    least, cost = tiny(magnitude.dtype), torch.zeros_like(magnitude[:, :1])
    for k, factor in enumerate(factors):
        own = least * (4 * (factor.fan_in + 1) + magnitude.sum(-1, keepdim=True))
        cost = own if k == 0 else factor.absolute.apply(cost.expand(-1, factor.in_size)) + own
        if k + 1 < len(factors):
            magnitude = factor.absolute.apply(magnitude) + cost
    return cost
