"""The network as data: a DAG, in topological order, over a closed set of kinds of node.

    Input                     the flattened input tensor
    Affine  y = sum_k A_k x_k + b     dense, convolution, pooling by means, residual addition, concatenation, slices
    Relu    y = max(x, 0)             every piecewise-linear activation is written with these (`activations`)
    Max     y_g = max_{i in g} x_i    max pooling

Every node's value is a flat vector, so that reshaping costs nothing and neurons are addressed by (node, index).
Methods (bounds, encodings, proofs) handle these cases with `match`, and mypy proves that none is forgotten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from .operators import Operator


@dataclass(frozen=True, eq=False)
class Input:
    """The network's input; `size` entries."""

    size: int
    name: str = "input"


@dataclass(frozen=True, eq=False)
class Affine:
    """y = sum_k operators[k](x[inputs[k]]) + bias; `bias` has shape (size,)."""

    inputs: tuple[int, ...]
    operators: tuple[Operator, ...]
    bias: Tensor
    name: str = ""

    @property
    def size(self) -> int:
        """Number of outputs."""
        return int(self.bias.shape[0])


@dataclass(frozen=True, eq=False)
class Relu:
    """y = max(x[input], 0)."""

    input: int
    size: int
    name: str = ""


@dataclass(frozen=True, eq=False)
class Max:
    """y[g] = max over k of x[input][windows[g, k]]; `windows` is (size, window), members may repeat."""

    input: int
    windows: Tensor
    name: str = ""

    @property
    def size(self) -> int:
        """Number of outputs."""
        return int(self.windows.shape[0])


Node = Input | Affine | Relu | Max


def predecessors(node: Node) -> tuple[int, ...]:
    """Indices of the nodes that a node reads."""
    match node:
        case Input():
            return ()
        case Affine():
            return node.inputs
        case Relu() | Max():
            return (node.input,)


@dataclass(frozen=True, eq=False)
class Network:
    """A feed-forward piecewise-linear network.

    Attributes:
        nodes: topological order; node 0 is the input, the last node is the output.
        input_shape: shape of one input without the batch dimension, as a user's images have it.
        sha256: hash of the ONNX file, empty for networks built in memory.
        metadata: the ONNX file's metadata properties (the data card of a shipped network).
        notes: what a user should know of the import (a final softmax, weights of extreme range).
        ending: what the file applies to the outputs of these nodes ("Softmax", "LogSoftmax", "Sigmoid"; "" for nothing).
            It is increasing in every output, or keeps their order; the nodes compute its arguments, the logits.
        input_dtype: floating-point type in which the file takes its input, as numpy calls it.
        exact: the same network before anything was folded, with the file's own numbers to the last bit; None where reading
            them had to round.
        input_limit: largest absolute value of inputs for which nothing was left out that the file says. Limits of Clip, Max and Min
            that are the largest number of their type are, since no value comes near them; with larger inputs one may.
    """

    nodes: tuple[Node, ...]
    input_shape: tuple[int, ...]
    sha256: str = ""
    metadata: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    ending: str = ""
    input_dtype: str = "float64"
    exact: Network | None = None
    input_limit: float = math.inf

    def __post_init__(self) -> None:
        """Check order and sizes once, so that no method needs to."""
        if not self.nodes or not isinstance(self.nodes[0], Input):
            raise ValueError("node 0 must be the input")
        for i, node in enumerate(self.nodes):
            for j in predecessors(node):
                if not 0 <= j < i:
                    raise ValueError(f"node {i} ({node.name}) reads node {j}, which does not come before it")
            if isinstance(node, Affine):
                for j, operator in zip(node.inputs, node.operators, strict=True):
                    if operator.in_size != self.nodes[j].size or operator.out_size != node.size:
                        raise ValueError(f"node {i} ({node.name}): operator sizes do not fit its input or output")
            if isinstance(node, Relu) and node.size != self.nodes[node.input].size:
                raise ValueError(f"node {i} ({node.name}): a ReLU keeps the size of its input")

    @property
    def input_size(self) -> int:
        """Entries of one input."""
        return self.nodes[0].size

    @property
    def output_size(self) -> int:
        """Entries of one output."""
        return self.nodes[-1].size

    @property
    def output(self) -> int:
        """Index of the output node."""
        return len(self.nodes) - 1

    @cached_property
    def relus(self) -> tuple[int, ...]:
        """Indices of the ReLU nodes."""
        return tuple(i for i, node in enumerate(self.nodes) if isinstance(node, Relu))

    @cached_property
    def bounded(self) -> tuple[int, ...]:
        """Nodes whose bounds the methods need: inputs of ReLUs and maxima, in topological order, without repeats."""
        wanted = {node.input for node in self.nodes if isinstance(node, Relu | Max)}
        return tuple(sorted(wanted))

    @cached_property
    def linear_nodes(self) -> frozenset[int]:
        """Nodes that are affine functions of the input: no ReLU or maximum lies before them."""
        linear: set[int] = set()
        for i, node in enumerate(self.nodes):
            if not isinstance(node, Relu | Max) and linear.issuperset(predecessors(node)):
                linear.add(i)
        return frozenset(linear)

    @property
    def relu_count(self) -> int:
        """Number of ReLU neurons."""
        return sum(self.nodes[i].size for i in self.relus)

    @property
    def has_max(self) -> bool:
        """Whether there is a max pooling."""
        return any(isinstance(node, Max) for node in self.nodes)

    @cached_property
    def dtype(self) -> torch.dtype:
        """Precision of the parameters."""
        return next((n.bias.dtype for n in self.nodes if isinstance(n, Affine)), torch.float64)

    @cached_property
    def device(self) -> torch.device:
        """Where the parameters live."""
        return next((n.bias.device for n in self.nodes if isinstance(n, Affine)), torch.device("cpu"))

    @cached_property
    def in_float32(self) -> Network:
        """The copy for ascents and attacks, made once; of networks whose parameters do not change."""
        return self.to(torch.float32, self.device)

    def to(self, dtype: torch.dtype, device: torch.device | str = "cpu") -> Self:
        """A copy in another precision or on another device (itself where nothing changes)."""
        device = torch.device(device)
        if dtype == self.dtype and device == self.device:
            return self

        def convert(node: Node) -> Node:
            if isinstance(node, Affine):
                operators = tuple(operator.to(dtype, device) for operator in node.operators)
                return replace(node, operators=operators, bias=node.bias.to(device, dtype))
            if isinstance(node, Max):
                return replace(node, windows=node.windows.to(device))
            return node

        return replace(self, nodes=tuple(convert(node) for node in self.nodes))
