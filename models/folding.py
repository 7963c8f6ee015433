"""Networks as plain layers (Linear, Conv2d, ReLU, pooling, addition), for export and analysis.

Exporting spectral norms or power iterations fails or fills the file with them; so everything that computes its weights
is replaced by a layer that holds them (also under `torch.nn.utils.parametrizations`), batch normalisation enters the layer
before it, and dropout goes.
"""

from __future__ import annotations

import copy
from typing import Protocol, runtime_checkable

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized, type_before_parametrizations


@runtime_checkable
class Foldable(Protocol):
    """A module that computes its own weights."""

    def fold(self) -> nn.Module:
        """The same as plain layers."""


def fold(network: nn.Module) -> nn.Module:
    """A detached copy in evaluation mode, made of plain layers; computes the same function."""
    network = copy.deepcopy(network).eval()
    with torch.no_grad():
        for module in list(network.modules()):
            if is_parametrized(module):
                _hold(module)
        return _fold(network).eval()


def _hold(module: nn.Module) -> None:
    """Put the values of parametrized tensors in the place of what computes them.

    torch's own `remove_parametrizations` edits the module's class, which a copy has in common with its original.
    """
    names: list[str] = list(module.parametrizations)  # type: ignore[arg-type]
    values = {name: getattr(module, name).detach().clone() for name in names}
    module.__class__ = type_before_parametrizations(module)
    del module.parametrizations
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value, requires_grad=False))


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
