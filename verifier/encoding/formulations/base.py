"""What a formulation of the ReLU gets and gives, and the rows of a big M, which all of them have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from ..expression import Expression, equate
from ..program import ProgramBuilder, selection


@dataclass(frozen=True, eq=False)
class Neurons:
    """The ReLUs of one node that get a binary each.

    Attributes:
        node: number of the ReLU node in the network.
        index: which of its neurons, (count,).
        before: what they read, over the columns so far.
        lower: bounds of it, (count,), finite.
        upper: likewise.
        largest: the largest absolute bound of what any neuron of the node reads.
    """

    node: int
    index: np.ndarray
    before: Expression
    lower: np.ndarray
    upper: np.ndarray
    largest: float

    def __len__(self) -> int:
        """How many."""
        return len(self.index)


class Columns(NamedTuple):
    """Columns of ReLUs, (count,) each: outputs z, slacks s = z - h, and phases a."""

    positive: np.ndarray
    slack: np.ndarray
    phase: np.ndarray


class ReluFormulation(Protocol):
    """A way to write z = max(0, h) with a binary a."""

    def __call__(self, builder: ProgramBuilder, neurons: Neurons) -> Columns:
        """Add the columns and rows of some neurons."""


def big_m(
    builder: ProgramBuilder, neurons: Neurons, big_low: np.ndarray, big_high: np.ndarray, equation: bool = True
) -> Columns:
    """Write 0 <= z <= big_high a, 0 <= s <= big_low (1 - a), and h = z - s.

    Args:
        builder: gets columns and rows.
        neurons: whose.
        big_low: at least -h wherever the network goes, and at least 0; (count,).
        big_high: the same of h.
        equation: whether to write h = z - s; a formulation that implies it saves the row.
    """
    node, index, count = neurons.node, neurons.index, len(neurons)
    zero, one, rows = np.zeros(count), np.ones(count), np.arange(count)
    positive = builder.columns(zero, big_high, label=f"relu{node}", index=index)
    slack = builder.columns(zero, big_low, label=f"slack{node}", index=index)
    phase = builder.columns(zero, one, integer=True, label=f"phase{node}", index=index)
    if equation:
        equate(builder, neurons.before, positive, slack, f"reads{node}", index)
    shape, pair = (count, builder.count), np.concatenate([rows, rows])
    on = selection(pair, np.concatenate([positive, phase]), np.concatenate([one, -big_high]), shape)
    off = selection(pair, np.concatenate([slack, phase]), np.concatenate([one, big_low]), shape)
    builder.rows(on, -np.inf, 0.0, f"on{node}", index)
    builder.rows(off, -np.inf, big_low, f"off{node}", index)
    return Columns(positive, slack, phase)
