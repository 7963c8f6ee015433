"""Multipliers of leaves whose every phase is known: there the network is linear, and duals of a convex program are exact.

It is an LP over a box or an l1 ball, a second-order cone program over an l2 ball.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..checker.network import Network
from ..checker.operators import Array
from ..checker.region import Region

_CERTAIN = 10.0  # by how much an empty leaf's bound exceeds what its row could be


def leaf_duals(
    network: Network, region: Region, phases: NDArray[np.int8], split: NDArray[np.int64], row: Array
) -> Array:
    """Multipliers (split neurons,) for minimising row . output over a region where the split neurons keep their phases.

    Where the phases cannot all be kept, those of the least violation, large enough that any bound becomes positive
    (Farkas). Zeros where no solver finds either, and over an l0 ball.

    Args:
        network: the checker's.
        region: a box, or its intersection with a ball.
        phases: (neurons,) +1 or -1 for every ReLU.
        split: numbers of the neurons that carry constraints.
        row: (outputs,).
    """
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
    cost, rows, limits = maps[-1][:-1] @ row, -(before[:-1] * sign).T, before[-1] * sign
    if region.norm == "0":
        return np.zeros(len(split))
    found = _minimise(region, cost, rows, limits)
    if found is not None:
        return found[1]
    slack = np.concatenate([np.zeros(n), np.ones(len(rows))])
    found = _minimise(region, slack, np.hstack([rows, -np.eye(len(rows))]), limits)
    if found is None or found[0] <= 0:
        return np.zeros(len(split))
    size = np.abs(cost) @ np.maximum(np.abs(region.lower), np.abs(region.upper)) + abs(maps[-1][-1] @ row)
    return np.asarray(found[1] * _CERTAIN * (1 + size) / found[0])


def _minimise(region: Region, cost: Array, rows: Array, limits: Array) -> tuple[float, Array] | None:
    """The minimum of cost z over rows z <= limits, and the rows' multipliers; None where nothing is found.

    The first entries of z are the input, kept in the region; those after it only have to be >= 0.
    """
    n, more = len(region.lower), len(cost) - len(region.lower)
    if region.center is None or region.norm == "inf":
        from scipy.optimize import linprog

        bounds = [*zip(region.lower, region.upper, strict=True), *[(0, None)] * more]
        result = linprog(cost, rows, limits, bounds=bounds, method="highs")
        return (result.fun, np.maximum(-result.ineqlin.marginals, 0.0)) if result.status == 0 else None
    import cvxpy

    z = cvxpy.Variable(len(cost))
    held = [z[:n] >= region.lower, z[:n] <= region.upper, z[n:] >= 0]
    ball = cvxpy.norm(z[:n] - region.center, int(region.norm)) <= region.radius
    phases = rows @ z <= limits
    problem = cvxpy.Problem(cvxpy.Minimize(cost @ z), [phases, ball, *held])
    try:
        problem.solve(solver=cvxpy.CLARABEL)
    except cvxpy.SolverError:  # numerical trouble: no multipliers
        return None
    return (problem.value, np.maximum(phases.dual_value, 0.0)) if problem.status == cvxpy.OPTIMAL else None
