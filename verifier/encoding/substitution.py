"""Values of neurons over the inputs and the outputs of some ReLUs alone: those of a known phase are substituted.

An active ReLU is what it reads, an inactive one is 0, so that neither needs a column: one backward pass of a row carries it through
them (`Operator.adjoint`) down to the inputs and to the ReLUs that are kept. A convolutional network of 4,804 ReLUs of which 47
are unstable becomes a program of 47 binaries and 142 rows instead of 1,799.

The entries are sums of products, which round; `loss` says how far a row may be off at inputs of the region (`bounds.rounding`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from ..bounds import Bounds, InputSet
from ..bounds.rounding import Losses, RoundingLoss, lost
from ..network.nodes import Affine, Input, Max, Network, Relu
from ..specification import Region
from .expression import Expression
from .formulations import Formulation
from .program import ProgramBuilder

_CHUNK = 256  # rows of one backward pass
_MOST = 5_000_000  # entries of all rows together, up to which a program is written like this


@dataclass(frozen=True, eq=False)
class Substituted:
    """Functions over the inputs (rows, n), over the ReLUs that are kept, by node (rows, kept), and a constant, (rows,)."""

    inputs: Tensor
    kept: Mapping[int, Tensor]
    constant: Tensor
    loss: Tensor


def substituted(
    network: Network,
    node: int,
    rows: Tensor,
    active: Mapping[int, Tensor],
    kept: Mapping[int, Tensor],
    losses: Losses | None = None,
) -> Substituted:
    """Functions `rows` (count, size) of a node's neurons over the inputs and the ReLUs that are kept.

    Args:
        network: without maxima.
        node: whose neurons the rows are about.
        rows: (count, size).
        active: by ReLU node, which neurons are what they read; those neither active nor kept are 0; (size,).
        kept: by ReLU node, which neurons stay; (size,).
        losses: without them the result's loss is 0.

    Raises:
        ValueError: the network has maxima.
    """
    constant = torch.zeros(len(rows), dtype=rows.dtype)
    loss = torch.zeros(len(rows), dtype=torch.float64) + (0.0 if losses is None else losses.floor)
    pending, stay = {node: rows}, dict[int, Tensor]()
    for i in range(node, 0, -1):
        if i not in pending:
            continue
        row, this = pending.pop(i), network.nodes[i]
        if losses is not None:
            loss = loss + lost(row[None], losses[i])[0].double()
        match this:
            case Affine():
                constant = constant + row @ this.bias
                passed = [(j, operator.adjoint(row)) for j, operator in zip(this.inputs, this.operators, strict=True)]
            case Relu():
                stay[i] = row[:, kept[i]]
                passed = [(this.input, row * (active[i] & ~kept[i]))]
            case Max() | Input():
                raise ValueError("maxima cannot be substituted")
            case _:
                assert_never(this)
        for j, part in passed:
            pending[j] = pending[j] + part if j in pending else part
    return Substituted(pending.get(0, rows.new_zeros((len(rows), network.input_size))), stay, constant, loss)


def fitted(form: Formulation, network: Network, bounds: Bounds) -> Formulation:
    """The formulation that a program is written by: without substitution for maxima, or where it would be too large."""
    rows = bounds.unstable_count(network)
    fits = not network.has_max and rows * (network.input_size + rows) <= _MOST
    return replace(form, substitute=form.substitute and form.fix_stable and fits)


class SubstitutedValues:
    """Values of nodes as a program's columns, stable ReLUs substituted."""

    def __init__(self, network: Network, builder: ProgramBuilder, bounds: Bounds, region: Region) -> None:
        """Bounds are valid for the inputs of interest in the region; they say which ReLUs are stable."""
        self._network, self._builder = network.to(torch.float64, "cpu"), builder
        self._columns: dict[int, np.ndarray] = {}
        nodes = [(i, node) for i, node in enumerate(network.nodes) if isinstance(node, Relu)]
        self._active = {i: bounds[node.input].lower[0].cpu() >= 0 for i, node in nodes}
        self._kept = {i: bounds[node.input].unstable[0].cpu() for i, node in nodes}
        self._losses = RoundingLoss.of(self._network, InputSet.from_regions([region]), bounds)

    def put(self, node: int, columns: np.ndarray) -> None:
        """Learn the columns of a node's values, (size,); -1 where there is none."""
        self._columns[node] = columns

    def take(self, node: int, neurons: np.ndarray) -> Expression:
        """Some neurons of a node."""
        chosen = torch.from_numpy(neurons)
        parts = []
        for part in chosen.split(_CHUNK):
            rows = torch.zeros((len(part), self._network.nodes[node].size), dtype=torch.float64)
            rows[torch.arange(len(part)), part] = 1.0
            parts.append(self._over_columns(node, rows))
        return _stacked(parts, self._builder.count)

    def combine(self, node: int, matrix: np.ndarray) -> Expression:
        """Functions `matrix` (rows, size) of a node's neurons."""
        parts = [self._over_columns(node, rows) for rows in torch.from_numpy(matrix).double().split(_CHUNK)]
        return _stacked(parts, self._builder.count)

    def _over_columns(self, node: int, rows: Tensor) -> Expression:
        found = substituted(self._network, node, rows, self._active, self._kept, self._losses)
        dense = np.zeros((len(rows), self._builder.count))
        dense[:, self._columns[0]] = found.inputs.numpy()
        for i, part in found.kept.items():
            dense[:, self._columns[i][self._kept[i].numpy()]] += part.numpy()
        return Expression(sp.csr_matrix(dense), found.constant.numpy(), found.loss.numpy())


def _stacked(parts: list[Expression], columns: int) -> Expression:
    if not parts:
        return Expression(sp.csr_matrix((0, columns)), np.zeros(0), np.zeros(0))
    if len(parts) == 1:
        return parts[0]
    matrix = sp.csr_matrix(sp.vstack([part.matrix for part in parts]))
    constant, loss = (
        np.concatenate(each) for each in zip(*((part.constant, part.loss) for part in parts), strict=True)
    )
    return Expression(matrix, constant, loss)
