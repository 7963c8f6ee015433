"""Fully connected ReLU networks."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def mlp(inputs: int, hidden: list[int], outputs: int) -> nn.Module:
    """Flatten, then Linear and ReLU alternating; no activation after the last Linear."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise([inputs, *hidden]):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1] if hidden else inputs, outputs))
