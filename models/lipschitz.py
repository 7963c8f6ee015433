"""Lipschitz constants in l2 of folded networks, and the certificates that follow from them.

For every pair of classes, |(f_y - f_k)(x) - (f_y - f_k)(x')| <= c_yk ||x - x'||_2 with c_yk = ||w_y - w_k|| times the
constant of everything before the head; so no input closer than min_k (f_y - f_k) / c_yk changes class y
(Tsuzuku et al., NeurIPS 2018). Constants are computed in float64 from the float32 weights that are exported.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from .architectures import linear_maps
from .architectures.lipschitz import MeanPool
from .architectures.residual import FoldedBlock

_ROUND_UP = 1 + 1e-9


def lipschitz_bound(layer: nn.Module) -> float | None:
    """An upper bound on the l2 Lipschitz constant of a folded network; None where a layer's is not known."""
    if isinstance(layer, nn.Sequential):
        product = 1.0
        for child in layer:
            factor = lipschitz_bound(child)
            if factor is None:
                return None
            product *= factor
        return product * _ROUND_UP
    if isinstance(layer, FoldedBlock):
        return _block(layer)
    if isinstance(layer, nn.Linear | nn.Conv2d):
        return linear_maps.spectral_bound(layer.weight)
    if isinstance(layer, nn.ReLU | nn.Flatten):
        return 1.0
    if isinstance(layer, nn.AvgPool2d) and layer.kernel_size == layer.stride and layer.padding == 0:
        return 1.0 / float(layer.kernel_size)  # type: ignore[arg-type]
    if isinstance(layer, MeanPool):
        return 1.0
    return None


def _block(block: FoldedBlock) -> float:
    """s <- S s + W relu(K s + b): norms of the parts, or the bound of a gradient flow where W is nearly -K^T T, T >= 0.

    Then the Jacobian is I - K'^T D K' + (W + K^T T) D K with K' = T^(1/2) K and 0 <= D <= I.
    """
    inner = _weight(block.inner)
    parts = 1.0 if block.skip is None else linear_maps.spectral_bound(_weight(block.skip))
    outer = None if block.outer is None else _weight(block.outer)
    norm = linear_maps.spectral_bound(inner)
    product = parts + norm * (1.0 if outer is None else linear_maps.spectral_bound(outer))
    if outer is None or block.skip is not None:
        return product
    back = linear_maps.transposed(outer)  # as K is laid out
    scale = -(back * inner).flatten(1).sum(1) / inner.flatten(1).square().sum(1).clamp(min=1e-300)
    if bool((scale < 0).any()):
        return product
    flow = linear_maps.spectral_bound(linear_maps.scaled(inner, scale.sqrt())) ** 2
    rest = linear_maps.spectral_bound(back + linear_maps.scaled(inner, scale)) * norm
    return min(product, max(1.0, flow - 1.0) + rest)


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight.detach().double()


def pair_constants(folded: nn.Sequential) -> np.ndarray | None:
    """c_yk of a folded network that ends in a Linear head, (classes, classes); None where no bound is known."""
    body, head = folded[:-1], folded[-1]
    constant = lipschitz_bound(body)
    if constant is None or not isinstance(head, nn.Linear):
        return None
    weight = _weight(head)
    pairs: np.ndarray = (torch.cdist(weight, weight, compute_mode="donot_use_mm_for_euclid_dist") * constant).numpy()
    return pairs * _ROUND_UP


def certificate(logits: np.ndarray, label: int, pairs: np.ndarray) -> float:
    """Radius in l2 within which `label` stays on top; 0 where it is not on top."""
    others = np.arange(len(logits)) != label
    return max(0.0, float(((logits[label] - logits[others]) / pairs[label, others]).min()) * (1 - 1e-9))
