"""Training on proved worst cases: the loss at the worst logits that interval or CROWN-IBP bounds allow.

IBP: Gowal et al., ICCV 2019; CROWN-IBP (one backward pass from the output over interval bounds): Zhang et al., ICLR 2020.
The worst logit of class k is f_y minus the lower bound of f_y - f_k.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from advverify.verifier.bounds import InputSet
from advverify.verifier.bounds.crown import output_lower_bounds
from advverify.verifier.bounds.ibp import ibp
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.nodes import Network
from advverify.verifier.norms import get_norm

from ..from_torch import from_torch
from .base import Step

METHODS = ("ibp", "crown-ibp")


@dataclass(frozen=True)
class Certified:
    """Options.

    Attributes:
        method: "ibp" or "crown-ibp".
        eps: final linf radius.
        share: final weight of the worst case; the ordinary loss keeps the rest.
        begin: share of the training before the radius starts to grow.
        full: share of the training at which radius and weight have arrived.
    """

    eps: float
    method: str = "ibp"
    share: float = 0.5
    begin: float = 0.1
    full: float = 0.6

    def __post_init__(self) -> None:
        """Check the options."""
        if self.method not in METHODS:
            raise InvalidInput(f"certified: method is one of {', '.join(METHODS)}, got '{self.method}'")
        if self.eps <= 0 or not 0 < self.share <= 1 or not 0 <= self.begin < self.full <= 1:
            raise InvalidInput("certified: needs eps > 0, 0 < share <= 1 and 0 <= begin < full <= 1")

    def ramp(self, progress: float) -> float:
        """How much of radius and share is in use, in [0, 1]."""
        return min(1.0, max(0.0, (progress - self.begin) / (self.full - self.begin)))

    def __call__(self, step: Step) -> Tensor:
        """The worst-case loss at the present radius."""
        network = from_torch(step.network, tuple(step.clean.shape[1:]))
        inputs = ball(step.clean, self.eps * self.ramp(step.progress))
        classes = network.output_size
        rows = torch.eye(classes)[step.labels].unsqueeze(1) - torch.eye(classes)  # f_y - f_k for every k
        rows = rows.to(step.clean.device)
        margins = self._margins(network, inputs, rows)
        return step.loss(-margins.float(), step.labels)

    def _margins(self, network: Network, inputs: InputSet, rows: Tensor) -> Tensor:
        """Lower bounds (B, classes) of f_y - f_k; exactly 0 for k = y."""
        bounds = ibp(network, inputs)
        if self.method == "ibp":
            output = bounds[network.output]
            middle, half = (output.lower + output.upper) / 2, (output.upper - output.lower) / 2
            wide = rows.to(middle.dtype)
            return (wide @ middle.unsqueeze(-1) - wide.abs() @ half.unsqueeze(-1)).squeeze(-1)
        offset = torch.zeros(rows.shape[:2], dtype=torch.float64, device=rows.device)
        return output_lower_bounds(network, inputs, rows, offset, bounds)


def ball(images: Tensor, eps: float) -> InputSet:
    """linf balls around images (B, channels, height, width), inside [0, 1], in float64."""
    center = images.detach().flatten(1).double()
    radius = center.new_full((len(center),), eps)
    whole = InputSet(torch.zeros_like(center), torch.ones_like(center), get_norm("inf"), center, radius)
    return whole.with_radius(radius)
