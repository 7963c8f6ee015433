"""Leaves of a tree that takes all rows of an unsafe set together (`solvers.row_tree`) as multipliers of the checker's bounds.

A Farkas ray of the big-M relaxation and one backward pass of bound propagation are the same dual, written differently
(Salman et al., "A convex relaxation barrier to tight robustness verification of neural networks", NeurIPS 2019, section 4):
what the ray puts on a neuron's equation is the coefficient that the pass carries from the neuron's output to its input.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..bounds.relu_columns import ReluColumns
from ..encoding import MixedIntegerProgram
from ..network.nodes import Network
from ..solvers.row_tree import RowLeaf
from .trees import Leaves

_ZERO = 1e-12


def row_goal(network: Network, program: MixedIntegerProgram, leaves: Sequence[RowLeaf], rows: int) -> Leaves:
    """A goal of one tree from the leaves over a program of big-M rows.

    Args:
        network: that the program encodes, without maxima.
        program: of one polytope, whose rows come last in it.
        leaves: that cover everything.
        rows: of the polytope.
    """
    columns = ReluColumns(network)
    matrix = program.matrix.tocsc()
    equal = program.row_lower == program.row_upper
    count, total = len(leaves), columns.count
    phases = np.zeros((count, total), dtype=np.int8)
    slopes = np.zeros((count, total), dtype=np.float32)
    betas = np.zeros((count, total), dtype=np.float32)
    weights = np.zeros((count, rows), dtype=np.float32)
    neurons, phase, own, output = _neurons(columns, program, equal)
    neuron_of = dict(zip(phase.tolist(), neurons.tolist(), strict=True))
    for k, leaf in enumerate(leaves):
        onto = -leaf.ray  # of rows that are <= their upper sides, >= 0
        weight = np.maximum(onto[-rows:], 0.0)
        scale = 1.0 / max(float(weight.max(initial=0.0)), _ZERO)
        counted = np.where(equal, onto, 0.0)
        counted[-rows:] = onto[-rows:]
        passed = onto[own] * scale  # to what the neuron reads
        arriving = (matrix.T @ counted)[output] * scale + passed  # at its output; its own equation takes it off again
        for column, value in leaf.path:
            phases[k, neuron_of[column]] = 1 if value else -1
        split = phases[k, neurons]
        slope = np.clip(passed / np.where(arriving > _ZERO, arriving, np.inf), 0.0, 1.0)
        slopes[k, neurons] = np.where(split == 0, slope, 0.0)
        multiplier = np.where(split > 0, arriving - passed, np.where(split < 0, passed, 0.0))
        betas[k, neurons] = np.maximum(multiplier, 0.0)
        weights[k] = weight * scale
    return Leaves(np.zeros(count, dtype=np.int64), phases, slopes, betas, weights)


def _neurons(
    columns: ReluColumns, program: MixedIntegerProgram, equal: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of the neurons with a binary: their numbers, the columns of their binaries, their equations, their outputs' columns."""
    by_node = columns.by_node(torch.arange(sum(columns.sizes)))
    numbers, phases, outputs = [], [], []
    for i, phase in program.columns.phase.items():
        open_ = phase >= 0
        numbers.append(by_node[i].numpy()[open_])
        phases.append(phase[open_])
        outputs.append(program.columns.positive[i][open_])
    output = np.concatenate(outputs)
    # a neuron's own equation is written before all that read its output: the first equation that its column is in
    equations = program.matrix[equal].tocsc()
    first = np.array([equations.indices[equations.indptr[c] : equations.indptr[c + 1]].min() for c in output])
    return np.concatenate(numbers), np.concatenate(phases), np.flatnonzero(equal)[first], output
