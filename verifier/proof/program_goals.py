"""Leaves of a tree over an unsafe set's program (`solvers.row_tree`, `solvers.lp_tree`) as multipliers of the checker's bounds.

Multipliers of the big-M relaxation and one backward pass of bound propagation are the same dual, written differently
(Salman et al., "A convex relaxation barrier to tight robustness verification of neural networks", NeurIPS 2019, section 4):
what they put on a neuron's equation is the coefficient that the pass carries from the neuron's output to its input. What is left
of the neuron is then minimised exactly (`checker.arithmetic.least`), so that nothing of a dual is lost.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ..bounds.relu_columns import ReluColumns
from ..encoding import MixedIntegerProgram
from ..network.nodes import Network
from ..solvers.dual_leaf import DualLeaf
from .trees import Leaves

_ZERO = 1e-12


def program_goal(network: Network, program: MixedIntegerProgram, leaves: Sequence[DualLeaf], rows: int) -> Leaves:
    """A goal of one tree from the leaves over a program of big-M rows.

    Args:
        network: that the program encodes, without maxima.
        program: of one polytope, whose rows come last in it.
        leaves: that cover everything; those of a program for margins say how deep the polytope is at least.
        rows: of the polytope.
    """
    columns = ReluColumns(network)
    count, total = len(leaves), columns.count
    phases = np.zeros((count, total), dtype=np.int8)
    passed = np.zeros((count, total), dtype=np.float32)
    weights = np.zeros((count, rows), dtype=np.float32)
    neurons, phase, own = _neurons(columns, program)
    neuron_of = dict(zip(phase.tolist(), neurons.tolist(), strict=True))
    for k, leaf in enumerate(leaves):
        onto = -leaf.multipliers  # of rows that are <= their upper sides, >= 0
        weight = np.maximum(onto[-rows:], 0.0)
        scale = 1.0 / max(float(weight.max(initial=0.0)), _ZERO)
        for column, value in leaf.path:
            phases[k, neuron_of[column]] = 1 if value else -1
        passed[k, neurons] = onto[own] * scale
        weights[k] = weight * scale
    return Leaves(np.zeros(count, dtype=np.int64), phases, weights=weights, passed=passed)


def _neurons(
    columns: ReluColumns, program: MixedIntegerProgram
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of the neurons with a binary: their numbers, the columns of their binaries, and their equations."""
    equal = program.row_lower == program.row_upper
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
    first = np.array(
        [equations.indices[equations.indptr[c] : equations.indptr[c + 1]].min() for c in output], dtype=np.int64
    )
    return np.concatenate(numbers), np.concatenate(phases), np.flatnonzero(equal)[first]
