"""Builds a network node by node; fuses what can be fused exactly while it goes."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from math import prod

import numpy as np
import torch
from torch import Tensor

from .activations import PiecewiseLinear
from .nodes import Affine, Input, Max, Network, Node, Relu
from .operators import Operator, Scale, Select
from .simplify import fuse, simplify

SAFE = 0.99  # of a limit: more than the rounding of what values may reach
_KEPT = 1 << 13  # entries of all nodes up to which networks are kept as they were before folding


def tensor(array: np.ndarray) -> Tensor:
    """A float64 torch copy of an array."""
    return torch.from_numpy(np.array(array, dtype=np.float64))


class NetworkBuilder:
    """Appends nodes and hands back their indices. `finish` simplifies and freezes the network.

    `exact` says that all parameters so far are what the network's author wrote, none of them rounded; who reads them sets it.
    """

    def __init__(self, input_shape: tuple[int, ...], exact: bool = False) -> None:
        """Start with the input node."""
        self.input_shape, self.exact = input_shape, exact
        self.nodes: list[Node] = [Input(prod(input_shape))]
        self.input_limit = math.inf
        self._sizes: list[Tensor] = []

    def size(self, node: int) -> int:
        """Entries of a node."""
        return self.nodes[node].size

    def leave_out(self, node: int, limit: float) -> bool:
        """Leave out a limit of a node's absolute values; False where already inputs up to 1 may reach it.

        `input_limit` says for which inputs none of them is missed: values grow no faster than inputs do from there on.
        """
        largest = float(self._size_of(node).max())
        if not largest <= SAFE * limit:
            return False
        self.input_limit = min(self.input_limit, SAFE * limit / largest if largest > 0 else math.inf)
        return True

    def _size_of(self, node: int) -> Tensor:
        """Absolute values that a node's entries do not exceed (but for rounding) while those of the inputs do not exceed 1."""
        for known in self.nodes[len(self._sizes) : node + 1]:
            match known:
                case Input():
                    size = torch.ones(1, known.size, dtype=torch.float64)
                case Affine():
                    size = known.bias.abs()[None]
                    for j, operator in zip(known.inputs, known.operators, strict=True):
                        size = size + operator.absolute.apply(self._sizes[j])
                case Relu():
                    size = self._sizes[known.input]
                case Max():
                    size = self._sizes[known.input][:, known.windows].amax(-1)
            self._sizes.append(size)
        return self._sizes[node]

    def _append(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def affine(
        self, inputs: list[int], operators: list[Operator], bias: np.ndarray | Tensor | None = None, name: str = ""
    ) -> int:
        """sum_k operators[k](inputs[k]) + bias."""
        size = operators[0].out_size
        if bias is None:
            vector = torch.zeros(size, dtype=torch.float64)
        else:
            vector = bias if isinstance(bias, Tensor) else tensor(np.asarray(bias).ravel())
        return self._append(Affine(tuple(inputs), tuple(operators), vector, name))

    def add(self, left: int, right: int, sign: float = 1.0, name: str = "") -> int:
        """left + sign * right."""
        identity = Select.identity(self.size(left))
        factor = torch.full((self.size(right),), sign, dtype=torch.float64)
        return self.affine([left, right], [identity, identity if sign == 1.0 else Scale(factor)], None, name)

    def relu(self, node: int, name: str = "") -> int:
        """max(x, 0)."""
        return self._append(Relu(node, self.size(node), name))

    def maximum(self, node: int, windows: np.ndarray, name: str = "") -> int:
        """Maximum over the rows of `windows` (outputs, members): integer positions in the node."""
        return self._append(Max(node, torch.from_numpy(np.array(windows, dtype=np.int64)), name))

    def activation(self, node: int, function: PiecewiseLinear, name: str = "") -> int:
        """A piecewise-linear activation, as ReLUs (see `activations`)."""
        size = self.size(node)
        slopes, points = function.slopes, function.breakpoints
        if slopes == (0.0, 1.0) and points == (0.0,) and function.offset == 0.0:
            return self.relu(node, name)
        inputs, operators = [node], [_scaled(slopes[0], size)]
        for before, after, t in zip(slopes, slopes[1:], points, strict=False):
            shifted = node
            if t != 0.0:
                bias = torch.full((size,), -t, dtype=torch.float64)
                shifted = self.affine([node], [Select.identity(size)], bias, f"{name}:shift")
            self.exact = self.exact and Fraction(after) - Fraction(before) == Fraction(after - before)
            inputs.append(self.relu(shifted, f"{name}:{t:g}"))
            operators.append(_scaled(after - before, size))
        if slopes[0] == 0.0 and len(inputs) > 1:
            inputs, operators = inputs[1:], operators[1:]
        return self.affine(inputs, operators, np.full(size, function.offset), name)

    def plain(self, output: int) -> Network:
        """The network that ends in `output`, as it was built."""
        last, nodes = self.nodes[output], self.nodes[: output + 1]
        if not isinstance(last, Affine):  # bounds of an output are bounds of an affine expression
            zero = torch.zeros(last.size, dtype=torch.float64)
            nodes = [*nodes, Affine((output,), (Select.identity(last.size),), zero, "output")]
        return Network(tuple(nodes), self.input_shape, input_limit=self.input_limit)

    def finish(self, output: int, **info: object) -> Network:
        """The simplified network that ends in `output`."""
        plain = self.plain(output)
        exact = plain if self.exact and sum(node.size for node in plain.nodes) <= _KEPT else None
        return replace(simplify(plain), exact=exact, **info)  # type: ignore[arg-type]


def _scaled(factor: float, size: int) -> Operator:
    if factor == 1.0:
        return Select.identity(size)
    return fuse(Select.identity(size), Scale(torch.full((size,), factor, dtype=torch.float64)))
