"""What neurons read, written as functions of a program's columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

import numpy as np
import scipy.sparse as sp

from ..network.nodes import Affine, Input, Max, Network, Relu
from .program import MixedIntegerProgram, selection


@dataclass(frozen=True, eq=False)
class Preactivation:
    """What the unstable ReLUs of a node read, as functions of the columns, and the columns of their outputs and phases.

    Attributes:
        node: that they read.
        neurons: which of its neurons.
        weights: (neurons, columns).
        bias: (neurons,).
        output: columns, (neurons,).
        phase: columns, (neurons,).
    """

    node: int
    neurons: np.ndarray
    weights: sp.csr_matrix
    bias: np.ndarray
    output: np.ndarray
    phase: np.ndarray


def preactivations(network: Network, program: MixedIntegerProgram, only: int | None = None) -> list[Preactivation]:
    """Of all unstable ReLUs, or those that read one node; the same however many rows are added."""
    found = []
    for i, phase in program.columns.phase.items():
        node = network.nodes[i]
        assert isinstance(node, Relu)
        neurons = np.flatnonzero(phase >= 0)
        if len(neurons) and only in (None, node.input):
            weights, bias = _over_columns(network, node.input, program, neurons)
            weights.eliminate_zeros()
            columns = program.columns.positive[i][neurons], phase[neurons]
            found.append(Preactivation(node.input, neurons, weights, bias, *columns))
    return found


def _over_columns(
    network: Network, i: int, program: MixedIntegerProgram, neurons: np.ndarray
) -> tuple[sp.csr_matrix, np.ndarray]:
    """Some neurons of a node as functions of the columns of inputs, ReLUs and maxima."""
    node = network.nodes[i]
    match node:
        case Input():
            columns = program.columns.inputs[neurons]
        case Relu():
            columns = program.columns.positive[i][neurons]
        case Max():
            columns = program.columns.maximum[i][neurons]
        case Affine():
            matrix = sp.csr_matrix((len(neurons), len(program.cost)))
            constant = node.bias.double().cpu().numpy()[neurons]
            for j, operator in zip(node.inputs, node.operators, strict=True):
                weight = operator.to_sparse()[neurons]
                read = _over_columns(network, j, program, np.arange(network.nodes[j].size))
                matrix, constant = matrix + weight @ read[0], constant + weight @ read[1]
            return sp.csr_matrix(matrix), constant
        case _:
            assert_never(node)
    present = np.flatnonzero(columns >= 0)
    shape = (len(neurons), len(program.cost))
    return selection(present, columns[present], np.ones(len(present)), shape), np.zeros(len(neurons))
