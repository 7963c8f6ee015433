"""Which ReLU to split: scores (batch, N) over all ReLUs in node order, higher is better.

-1 where there is nothing to split.

    slack   how much of the relaxation's error at the bound's own minimiser a ReLU accounts for; these errors sum up
            to the gap between bound and network there
    babsr   Bunel et al., "Branch and Bound for Piecewise Linear Neural Network Verification", JMLR 2020: how much the
            bound changes, to first order, when the relaxation of one ReLU becomes exact
    both    the best ReLUs of either in turn, for a search that compares some of them
    auto    babsr where every split tightens the bounds of later layers as well: it prefers early ReLUs, which pays there
            alone; slack where bounds stay as they are
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..network.nodes import Affine, Network, Relu
from .bounds import Bounds

SCORES = ("auto", "slack", "babsr", "both")


def slack(
    network: Network,
    bounds: Bounds,
    weights: Mapping[int, Tensor],
    alpha: Mapping[int, Tensor],
    values: Sequence[Tensor],
    before: int | None = None,
) -> Tensor:
    """Error at the minimiser, and a small share of the triangle's area to break ties.

    Args:
        network: the network.
        bounds: of the domains.
        weights: by ReLU, coefficients (batch, size) on its output in the bound to be raised.
        alpha: by ReLU, lower slopes (batch, size).
        values: of every node (batch, size), at the minimiser.
        before: only ReLUs before this node.
    """
    parts = []
    for i in network.relus:
        if before is not None and i >= before:
            break
        lower, upper, slope, open_ = _triangle(network, bounds, i)
        value = values[_read(network, i)]
        weight = weights.get(i, torch.zeros_like(value))
        exact = value.clamp(min=0)
        above = (slope * (value - lower) - exact).clamp(min=0)
        below = (exact - alpha.get(i, torch.zeros_like(value)) * value).clamp(min=0)
        error = torch.where(weight < 0, -weight * above, weight * below)
        area = weight.abs() * (-lower * slope)
        parts.append(torch.where(open_, error + 0.05 * area, torch.full_like(error, -1.0)))
    return torch.cat(parts, -1)


def babsr(network: Network, bounds: Bounds, weights: Mapping[int, Tensor]) -> Tensor:
    """Loss of the upper line's intercept, and the better or worse of the two changes through the layer's bias."""
    parts = []
    for i in network.relus:
        lower, _, slope, open_ = _triangle(network, bounds, i)
        node = network.nodes[_read(network, i)]
        bias = node.bias if isinstance(node, Affine) else torch.zeros_like(lower[0])
        weight = weights.get(i, torch.zeros_like(lower))
        intercept = weight.clamp(max=0) * (slope * lower)
        active, inactive = bias * (slope - 1) * weight, bias * slope * weight
        score = (intercept + torch.maximum(active, inactive)).abs()
        parts.append(torch.where(open_, score, torch.full_like(score, -1.0)))
    return torch.cat(parts, -1)


def _read(network: Network, relu: int) -> int:
    node = network.nodes[relu]
    assert isinstance(node, Relu)
    return node.input


def _triangle(network: Network, bounds: Bounds, relu: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bounds cut to l <= 0 <= u, the upper slope, and which are open."""
    interval = bounds[_read(network, relu)]
    lower, upper = interval.lower.clamp(max=0), interval.upper.clamp(min=0)
    return lower, upper, upper / (upper - lower).clamp(min=1e-300), interval.unstable
