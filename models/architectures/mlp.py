"""Fully connected ReLU networks."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from advverify.verifier.errors import InvalidInput

STABILITY = "none"


def mlp(inputs: int, hidden: list[int], outputs: int, dropout: float = 0.0) -> nn.Module:
    """Flatten, then Linear, ReLU and Dropout alternating; nothing after the last Linear.

    Raises:
        InvalidInput: a layer without neurons.
    """
    if min(inputs, *hidden, outputs) < 1:
        raise InvalidInput(f"impossible shape: inputs {inputs}, hidden {hidden}, outputs {outputs}")
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise([inputs, *hidden]):
        layers += [nn.Linear(before, after), nn.ReLU(), *([nn.Dropout(dropout)] if dropout else [])]
    return nn.Sequential(*layers, nn.Linear(hidden[-1] if hidden else inputs, outputs))
