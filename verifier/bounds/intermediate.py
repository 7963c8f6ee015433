"""Bounds of intermediate neurons by alpha-CROWN: what LP-based tightening (OBBT) gives, at a hundredth of its cost.

Layer by layer, every neuron whose sign is open gets slopes of its own for each of its two bounds, so that at the
optimum each bound equals that of the LP relaxation (Salman et al., "A Convex Relaxation Barrier", NeurIPS 2019) with
the bounds of earlier layers already tightened; on request a small tree follows for each neuron (`neuron_split`). The
result holds for the region, hence for all targets.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from ..network.nodes import Affine, Network
from .alpha_crown import AlphaCrown, raise_bounds
from .backward import lower_and_upper
from .bounds import Bounds
from .crown import MEMORY_ENTRIES, selected, wanted_neurons
from .inputs import InputSet
from .neuron_split import NeuronSplit, tighten_node
from .receptive_field import receptive_field_of, sides
from .rounding import RoundingLoss


def tighten_intermediate(
    network: Network,
    inputs: InputSet,
    bounds: Bounds,
    options: AlphaCrown | None = None,
    float32_network: Network | None = None,
    stop: Callable[[], bool] = lambda: False,
    trees: NeuronSplit | None = None,
) -> Bounds:
    """Bounds of the same nodes, tightened where a sign is open.

    Args:
        network: the network.
        inputs: regions.
        bounds: known bounds of all nodes that ReLUs and maxima read.
        options: of the ascent.
        float32_network: the network in a lower precision, for the ascent.
        stop: asked between chunks of neurons; when it says yes the rest keeps its bounds.
        trees: split ReLUs for single neurons as well; for one region (a batch of one).
    """
    options = options or AlphaCrown(steps=10)
    deadline = time.perf_counter() + (0.0 if trees is None else trees.seconds)
    nodes = [i for i in network.bounded if isinstance(network.nodes[i], Affine) and i not in network.linear_nodes]
    for position, node in enumerate(nodes):
        order = selected(wanted_neurons(network, node, bounds[node]))
        losses = RoundingLoss.of(network, inputs, bounds)
        window = receptive_field_of(network, node) if inputs.boxed else None
        seen = network.nodes[: node + 1] if window is None else window.network.nodes
        size = sum(n.size for n in seen if not isinstance(n, Affine))
        chunk = max(1, MEMORY_ENTRIES // (2 * len(inputs) * size))
        for begin in range(0, order.shape[1], chunk):
            if stop():
                return bounds
            index = order[:, begin : begin + chunk]
            if window is None:
                start = lower_and_upper(network, node, index, losses[node])
                values = raise_bounds(
                    network,
                    inputs,
                    start,
                    bounds,
                    options=options,
                    threshold=torch.inf,
                    float32_network=float32_network,
                    losses=losses,
                ).bound
            else:
                float32_field = None if float32_network is None else receptive_field_of(float32_network, node)
                best = raise_bounds(
                    window.network,
                    window.inputs(inputs, index),
                    window.start(index, losses),
                    window.bounds(bounds, index),
                    options=options,
                    threshold=torch.inf,
                    float32_network=None if float32_field is None else float32_field.network,
                    losses=window.losses(losses, index),
                )
                values = sides(best.bound, index)
            bounds = bounds.tighten(Bounds({node: bounds[node].raised(index, values)}, "alpha-crown"))
        if trees is not None:
            left = deadline - time.perf_counter()
            bounds = tighten_node(
                network, inputs, bounds, node, left / (len(nodes) - position), trees, float32_network, losses
            )
    return bounds
