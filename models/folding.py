"""Networks as plain layers (Linear, Conv2d, ReLU, pooling, addition), for export and analysis.

Exporting spectral norms or power iterations fails or fills the file with them; so everything that computes its weights
is replaced by a layer that holds them, batch normalisation enters the layer before it, and dropout goes.
"""

from __future__ import annotations

import copy
from typing import Protocol, runtime_checkable

import torch
from torch import nn


@runtime_checkable
class Foldable(Protocol):
    """A module that computes its own weights."""

    def fold(self) -> nn.Module:
        """The same as plain layers."""


def fold(network: nn.Module) -> nn.Module:
    """A detached copy in evaluation mode, made of plain layers; computes the same function."""
    network = copy.deepcopy(network).eval()
    with torch.no_grad():
        return _fold(network).eval()


def _fold(module: nn.Module) -> nn.Module:
    if isinstance(module, Foldable):
        return module.fold()
    if not isinstance(module, nn.Sequential):
        return module
    layers: list[nn.Module] = []
    for child in module:
        plain = _fold(child)
        if isinstance(plain, nn.Dropout):
            continue
        if isinstance(plain, nn.BatchNorm2d) and layers and isinstance(layers[-1], nn.Conv2d):
            layers[-1] = nn.utils.fusion.fuse_conv_bn_eval(layers[-1], plain)
        elif isinstance(plain, nn.Sequential):
            layers.extend(plain)
        else:
            layers.append(plain)
    return nn.Sequential(*layers)
