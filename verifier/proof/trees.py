"""Leaves of a search as the arrays of a proof: trees in preorder, slopes, and multipliers along each path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Leaves:
    """Leaves of several trees; neurons are counted over all ReLUs in node order.

    Attributes:
        tree: (leaves,) number of the tree, from 0.
        phases: (leaves, neurons) int8: +1 split active, -1 inactive, 0 not split.
        slopes: (leaves, neurons) lower slopes; None where `passed` says more.
        betas: (leaves, neurons) multipliers, used where a neuron is split; likewise.
        weights: (leaves, most rows) of the polytope's rows, whose sum is bounded; None for neurons.
        passed: (leaves, neurons) coefficients that go on from neurons, in place of slopes and betas.
    """

    tree: NDArray[np.int64]
    phases: NDArray[np.int8]
    slopes: NDArray[np.float32] | None = None
    betas: NDArray[np.float32] | None = None
    weights: NDArray[np.float32] | None = None
    passed: NDArray[np.float32] | None = None


def single_rows(rows: NDArray[np.integer[Any]], count: int) -> NDArray[np.float32]:
    """Weights (leaves, count) that are 1 on one row a leaf."""
    return np.asarray(np.arange(count) == rows[:, None], dtype=np.float32)


def pack(leaves: Leaves, columns: NDArray[np.int64], counts: Sequence[int] = ()) -> dict[str, NDArray[Any]]:
    """Arrays `codes` and `columns`, with `passed`, or `slopes` and `betas`, for the neurons `columns`; for goals `weights`, too.

    Args:
        leaves: of all trees.
        columns: numbers of neurons.
        counts: for goals, how many rows the polytope of each tree has.

    Raises:
        ValueError: the leaves of some tree do not come from splitting one neuron at a time.
    """
    codes: list[int] = []
    order: list[int] = []
    betas: list[float] = []
    for tree in range(int(leaves.tree.max()) + 1):
        open_: list[tuple[NDArray[np.int64], list[int]]] = [(np.flatnonzero(leaves.tree == tree), [])]
        while open_:
            members, path = open_.pop()
            split = (leaves.phases[members] != 0).all(0)
            split[path] = False
            if len(members) == 1 and not split.any():
                codes.append(-1)
                order.append(int(members[0]))
                if leaves.betas is not None:
                    betas += leaves.betas[members[0], path].tolist()
                continue
            if not split.any():
                raise ValueError(f"tree {tree} does not split one neuron at a time")
            neuron = int(split.argmax())
            codes.append(neuron)
            active = leaves.phases[members, neuron] > 0
            if active.all() or not active.any():
                raise ValueError(f"tree {tree} lacks one side of a split")
            open_ += [(members[~active], [*path, neuron]), (members[active], [*path, neuron])]
    packed: dict[str, NDArray[Any]] = {
        "codes": np.array(codes, dtype=np.int32),
        "columns": columns.astype(np.int32),
    }
    if leaves.passed is not None:
        packed["passed"] = leaves.passed[order][:, columns].astype(np.float32)
    if leaves.slopes is not None:
        packed["slopes"] = np.rint(np.clip(leaves.slopes[order][:, columns], 0, 1) * SCALE).astype(np.uint16)
        packed["betas"] = np.array(betas, dtype=np.float32)
    if leaves.weights is not None:
        weights = [leaves.weights[leaf, : counts[leaves.tree[leaf]]] for leaf in order]
        packed["weights"] = np.concatenate(weights).astype(np.float32)
    return packed


SCALE = 65535
