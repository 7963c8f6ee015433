"""Networks made of networks: without maxima, restricted to an affine subspace, with linear functions of the input beside
the outputs, or applied to many images with one perturbation.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import numpy as np
import torch

from .activations import clip
from .builder import SAFE, NetworkBuilder
from .nodes import Affine, Input, Max, Network, Relu
from .operators import Dense, Select


def _copy(builder: NetworkBuilder, network: Network, start: int) -> int:
    """Append a network that reads node `start`; returns its output."""
    place = {0: start}
    for i, node in enumerate(network.nodes[1:], start=1):
        match node:
            case Affine():
                builder.nodes.append(replace(node, inputs=tuple(place[j] for j in node.inputs)))
            case Relu() | Max():
                builder.nodes.append(replace(node, input=place[node.input]))
            case Input():
                raise AssertionError("the input is node 0")
        place[i] = len(builder.nodes) - 1
    return place[network.output]


def _input_limit(network: Network, origin: np.ndarray, gain: float, valid: tuple[float, float] | None) -> float:
    """The limit of perturbations whose effect on the inputs is `gain` times as large at most, from `origin`."""
    limit = network.input_limit
    if math.isinf(limit) or (valid is not None and max(map(abs, valid)) <= limit):
        return math.inf
    left = SAFE * (limit - float(np.abs(origin).max(initial=0.0)))
    if left < 0:  # no perturbation at all
        return -1.0
    return left / gain if gain > 0 else math.inf


def max_to_relu(network: Network) -> Network:
    """Write every maximum as a knock-out tournament of max(a, b) = b + relu(a - b).

    Branch and bound then has nothing but ReLU phases to split.
    """
    builder = NetworkBuilder(network.input_shape)
    builder.input_limit = network.input_limit
    place = {0: 0}
    for i, node in enumerate(network.nodes[1:], start=1):
        match node:
            case Affine():
                inputs = [place[j] for j in node.inputs]
                place[i] = builder.affine(inputs, list(node.operators), node.bias, node.name)
            case Relu():
                place[i] = builder.relu(place[node.input], node.name)
            case Max():
                source, size = place[node.input], builder.size(place[node.input])
                picks = [Select(node.windows[:, k].contiguous(), size) for k in range(node.windows.shape[1])]
                entries = [builder.affine([source], [pick], None, node.name) for pick in picks]
                while len(entries) > 1:
                    winners = []
                    for a, b in zip(entries[::2], entries[1::2], strict=False):
                        difference = builder.relu(builder.add(a, b, -1.0, node.name), node.name)
                        winners.append(builder.add(b, difference, 1.0, node.name))
                    entries = winners + ([entries[-1]] if len(entries) % 2 else [])
                place[i] = entries[0]
            case _:
                raise TypeError("a network has one input node, at its front")
    return builder.finish(place[network.output], sha256=network.sha256, metadata=network.metadata, notes=network.notes)


def restricted(
    network: Network, origin: np.ndarray, basis: np.ndarray, valid: tuple[float, float] | None = None
) -> Network:
    """v -> network(origin + basis v), for origin (n,) and basis (n, m), clipped to a valid range where it is given."""
    builder = NetworkBuilder((int(basis.shape[1]),))
    builder.input_limit = _input_limit(network, origin, float(np.abs(basis).sum(1).max(initial=0.0)), valid)
    matrix = torch.from_numpy(np.array(basis, dtype=np.float64))
    start = builder.affine([0], [Dense(matrix)], np.asarray(origin, dtype=np.float64), "subspace")
    if valid is not None:
        start = builder.activation(start, clip(*valid), "valid")
    return builder.finish(_copy(builder, network, start))


def with_input_rows(network: Network, rows: np.ndarray) -> Network:
    """x -> (network(x), rows x), for rows (count, inputs): constraints that couple inputs become rows of outputs."""
    builder = NetworkBuilder(network.input_shape, exact=network.exact is not None)
    builder.input_limit = network.input_limit
    outputs, count = network.output_size, len(rows)
    copied = _copy(builder, network.exact or network, 0)
    place = torch.cat([torch.arange(outputs), torch.full((count,), -1)])
    matrix = torch.zeros(outputs + count, network.input_size, dtype=torch.float64)
    matrix[outputs:] = torch.from_numpy(np.array(rows, dtype=np.float64))
    joined = builder.affine([copied, 0], [Select(place, outputs), Dense(matrix)], None, "coupled")
    digest = hashlib.sha256(network.sha256.encode() + np.ascontiguousarray(rows, dtype=np.float64).tobytes())
    return builder.finish(
        joined,
        sha256=digest.hexdigest() if network.sha256 else "",
        metadata=network.metadata,
        notes=network.notes,
        ending=network.ending,
        input_dtype=network.input_dtype,
    )


def with_one_perturbation(
    network: Network, images: np.ndarray, labels: np.ndarray, valid: tuple[float, float] | None
) -> Network:
    """delta -> for every image, the largest f_k - f_label over the other classes k at image + delta; (images,).

    Args:
        network: a classifier.
        images: (count, n).
        labels: (count,).
        valid: range to which image + delta is clipped; None leaves it.
    """
    size, classes = images.shape[1], network.output_size
    builder = NetworkBuilder((size,))
    builder.input_limit = _input_limit(network, images, 1.0, valid)
    inputs, operators = [], []
    for k, (image, label) in enumerate(zip(images, labels, strict=True)):
        moved = builder.affine([0], [Select.identity(size)], np.asarray(image, dtype=np.float64), f"image{k}")
        if valid is not None:
            moved = builder.activation(moved, clip(*valid), f"valid{k}")
        others = [c for c in range(classes) if c != label]
        rows = torch.zeros(classes - 1, classes, dtype=torch.float64)
        rows[torch.arange(classes - 1), torch.tensor(others)] = 1.0
        rows[:, int(label)] = -1.0
        differences = builder.affine([_copy(builder, network, moved)], [Dense(rows)], None, f"margins{k}")
        inputs.append(builder.maximum(differences, np.arange(classes - 1)[None], f"worst{k}"))
        operators.append(Dense(torch.eye(len(images), dtype=torch.float64)[:, k : k + 1]))
    return builder.finish(builder.affine(inputs, operators, None, "worst"))  # type: ignore[arg-type]
