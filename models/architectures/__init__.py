"""Network architectures as torch modules, all piecewise linear; one family a file, one line in `ARCHITECTURES`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from advverify.verifier.errors import InvalidInput

ARCHITECTURES = {
    "mlp": "mlp:mlp",
    "conv": "conv:conv",
    "resnet": "resnet:resnet",
}


def build(name: str, **options: Any) -> nn.Module:
    """A freshly initialised network.

    Raises:
        InvalidInput: there is no such architecture.
    """
    if name not in ARCHITECTURES:
        raise InvalidInput(f"unknown architecture '{name}': choose {', '.join(ARCHITECTURES)}")
    module, function = ARCHITECTURES[name].split(":")
    network: nn.Module = getattr(import_module(f".{module}", __package__), function)(**options)
    return network
