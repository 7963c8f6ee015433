"""How far an execution of the file in its own floating point may be from the mathematics of its weights.

An executed node computes a rounded sum: |fl(W x + b) - (W x + b)| <= gamma(n) (|W| |x| + |b|) for n roundings, in any
order of summation, with or without fused multiply-adds (Higham, Accuracy and Stability of Numerical Algorithms, section
4.2). These errors travel to the output through slopes of ReLUs in [0, 1] (1 or 0 where the sign is known on both sides),
so rows C of the output are off by at most sum_i |J_i| d_i, with J_i the Jacobian from node i, enclosed by center and
radius. 16 roundings more than the file shows cover what runtimes fold at load time (a batch normalisation into the
convolution before it). Not covered: Winograd or Fourier convolutions, TF32, bfloat16.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from .arithmetic import Bounds, Relaxation
from .network import Rejected
from .operators import Array, Pick
from .region import SAFE, TINY, gamma

_FOLDED = 16  # roundings that a runtime may add to a node


def execution_error(relaxation: Relaxation, bounds: Bounds, rows: Array) -> Array:
    """Bounds of |rows y_executed - rows y| over the region, (rows,).

    Args:
        relaxation: of the network on the region.
        bounds: of what ReLUs read in exact arithmetic, one member.
        rows: (rows, outputs).

    Raises:
        Rejected: an execution may overflow, or has more roundings than such an analysis can bear.
    """
    nodes = relaxation.network.nodes
    if relaxation.network._type not in (TensorProto.FLOAT, TensorProto.DOUBLE):
        raise Rejected("executions in other precisions than float32 and float64 are not bounded")
    added, error = _forward(relaxation, bounds)
    lost = np.zeros(len(rows))
    pending = {len(nodes) - 1: (rows, np.zeros_like(rows))}  # center and radius of the Jacobian
    number = {i: k for k, i in enumerate(relaxation.network.relus)}
    for i in range(len(nodes) - 1, 0, -1):
        if i not in pending:
            continue
        (center, radius), node = pending.pop(i), nodes[i]
        lost = lost + (np.abs(center) + radius) @ added[i] + node.size * TINY
        if node.relu >= 0:
            low = bounds.lower[number[i]][0] - error[node.relu]
            high = bounds.upper[number[i]][0] + error[node.relu]
            parts = [(node.relu, *_through_relu(center, radius, low, high))]
        elif node.pool >= 0:  # a difference of maxima is a convex combination of differences
            shares = np.zeros((len(rows), nodes[node.pool].size))
            for member in node.windows.T:
                np.add.at(shares.T, member, (np.abs(center) + radius).T)
            parts = [(node.pool, np.zeros_like(shares), shares)]
        else:
            parts = []
            for j, term in node.terms:
                rounding = gamma(term.backward_terms + relaxation.network.readers[j] + 8)
                spread = term.absolute().transposed(radius + rounding * np.abs(center) + TINY)
                parts.append((j, term.transposed(center), spread + 4 * (term.backward_terms + 4) * TINY))
        for j, middle, spread in parts:
            before = pending.get(j, (0.0, 0.0))
            pending[j] = (before[0] + middle, (before[1] + spread) * SAFE)
    if not np.isfinite(lost).all():
        raise Rejected("the rounding errors of an execution cannot be bounded")
    return np.asarray(lost * SAFE)


def _forward(relaxation: Relaxation, bounds: Bounds) -> tuple[list[Array], list[Array]]:
    """For each node, the error that its own roundings add, and all the error that it can have."""
    network = relaxation.network
    unit = 2.0**-53 if network.double else 2.0**-24
    smallest, largest = (2.0**-1022, 2.0**1022) if network.double else (2.0**-126, 2.0**126)
    read = {network.nodes[i].relu: k for k, i in enumerate(network.relus)}
    size = [np.maximum(np.abs(relaxation.region.lower), np.abs(relaxation.region.upper))]
    added, error = [np.zeros(network.nodes[0].size)], [np.zeros(network.nodes[0].size)]
    for i, node in enumerate(network.nodes[1:], start=1):
        own = np.zeros(node.size)
        if node.relu >= 0:
            high = bounds.upper[network.relus.index(i)][0]
            total, off = np.maximum(high, 0.0), np.where(high + error[node.relu] <= 0, 0.0, error[node.relu])
        elif node.pool >= 0:
            total, off = size[node.pool][node.windows].max(-1), error[node.pool][node.windows].max(-1)
        else:
            maps = [(j, term.absolute()) for j, term in node.terms]
            total = sum((a.apply(size[j]) for j, a in maps), np.abs(node.bias) + node.bias_error)
            off = sum((a.apply(error[j]) for j, a in maps), own)
            moved = all(isinstance(term, Pick) and term.factor is None for _, term in maps)
            if not moved or node.bias_size.any():
                roundings = sum(term.forward_terms for _, term in maps) + len(maps) + _FOLDED
                if roundings * unit > 0.5:
                    raise Rejected("a node has too many roundings to bound an execution's error")
                share = roundings * unit / (1 - roundings * unit)
                summed = (total + node.bias_size + off) * SAFE
                if not (summed < largest).all():
                    raise Rejected("an execution may overflow")
                own = (share * summed + 2 * roundings * smallest) * SAFE
                off = (off + own) * SAFE
            limit = np.abs(np.stack(relaxation.intervals[i])).max(0)
            if i in read:
                limit = np.minimum(
                    limit, np.maximum(np.abs(bounds.lower[read[i]][0]), np.abs(bounds.upper[read[i]][0]))
                )
            total = np.minimum(total * SAFE, limit)
        size.append(total)
        added.append(own)
        error.append(off)
    return added, error


def _through_relu(center: Array, radius: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Center and radius of slopes times coefficients, where both values lie in [low, high]."""
    least, most = np.minimum(center - radius, 0.0), np.maximum(center + radius, 0.0)
    middle = np.where(low >= 0, center, np.where(high <= 0, 0.0, (least + most) / 2))
    spread = np.where(low >= 0, radius, np.where(high <= 0, 0.0, (most - least) / 2))
    return middle, spread * SAFE + TINY
