"""Multipliers of leaves whose every phase is known: there the network is linear, and an LP's row duals are exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .checker.arithmetic import Region
from .checker.network import Array, Network


def leaf_duals(
    network: Network, region: Region, phases: NDArray[np.int8], split: NDArray[np.int64], row: Array
) -> Array:
    """Multipliers (split neurons,) for minimising row . output over a box where the split neurons keep their phases.

    Zeros where the LP has no optimum (an empty leaf is left to its other multipliers).

    Args:
        network: the checker's.
        region: only its box counts.
        phases: (neurons,) +1 or -1 for every ReLU.
        split: numbers of the neurons that carry constraints.
        row: (outputs,).
    """
    from scipy.optimize import linprog

    n = network.nodes[0].size
    maps: list[Array] = [np.vstack([np.eye(n), np.zeros((1, n))])]  # value = x @ map[:-1] + map[-1]
    read: list[Array] = []
    first = 0
    for node in network.nodes[1:]:
        if node.relu >= 0:
            own = phases[first : first + node.size] > 0
            first += node.size
            read.append(maps[node.relu])
            maps.append(np.where(own, maps[node.relu], 0.0))
        else:
            total = np.zeros((n + 1, node.size))
            total[-1] = node.bias
            for j, term in node.terms:
                total = total + term.apply(maps[j])
            maps.append(total)
    before = np.concatenate(read, axis=1)[:, split]
    sign = phases[split].astype(np.float64)
    result = linprog(
        maps[-1][:-1] @ row,
        -(before[:-1] * sign).T,
        before[-1] * sign,
        bounds=np.stack([region.lower, region.upper], axis=1),
        method="highs",
    )
    return np.maximum(-result.ineqlin.marginals, 0.0) if result.status == 0 else np.zeros(len(split))
