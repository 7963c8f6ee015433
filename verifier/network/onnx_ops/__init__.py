"""One family of ONNX operators a file; `READERS` maps an operator to `module:function`.

A reader takes (context, node, operands, attributes) and returns the value, or list of values, that the node computes.
Operands are numpy arrays (constants) or `Stream`s (values that depend on the network's input).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from ...errors import UnsupportedOperator
from ..builder import NetworkBuilder
from ..operators import Select

LARGEST_VALUE = 1 << 23  # entries of a value: twice the largest of VGG-16, far beyond what can be verified


REFUSED_WEIGHT = 1e8  # beyond it neither a MIP nor float32 can see the small ones


def fits(shape: Sequence[int]) -> bool:
    """Whether a value of this shape has entries, and not too many of them."""
    return all(n >= 1 for n in shape) and prod(shape) <= LARGEST_VALUE


def limits_of(value: np.ndarray | float) -> np.ndarray:
    """Constant limits of Clip, Max and Min in float64, infinite where there is none.

    Exporters write the largest number of a type for "none"; attributes are float32. Any other limit is one, however large.
    Whoever leaves such a limit out asks `Context.limits`.
    """
    array = np.asarray(value, dtype=np.float32) if isinstance(value, float) else np.asarray(value)
    if not np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float64)
    none = np.abs(array) >= np.finfo(array.dtype).max
    return np.where(none, np.copysign(np.inf, array), array.astype(np.float64))


@dataclass(frozen=True)
class Stream:
    """A value that depends on the input: a node of the network seen with an ONNX shape (batch dimension included)."""

    node: int
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse shapes that no honest file has.

        Raises:
            ValueError: an empty or enormous value.
        """
        if not fits(self.shape):
            raise ValueError(f"a value of shape {list(self.shape)}")

    @property
    def positions(self) -> np.ndarray:
        """Flat positions arranged in `shape`."""
        return np.arange(prod(self.shape)).reshape(self.shape)


Value = Stream | np.ndarray


@dataclass
class Context:
    """What readers share: the builder, the opset, and where in the graph they are."""

    builder: NetworkBuilder
    opset: int
    origin: str
    narrowed: bool = False  # whether a Cast makes float32 of the stream
    label: str = ""
    notes: list[str] = field(default_factory=list)
    widened: set[str] = field(default_factory=set)  # constants in float64, since the file's own type does not have them

    def unsupported(self, why: str) -> UnsupportedOperator:
        """An error that names the node."""
        return UnsupportedOperator(f"{self.origin}: {self.label}: {why}")

    def keep_exact(self, exact: bool) -> None:
        """Say whether the parameters that are about to be appended are the file's own, not rounded."""
        self.builder.exact = self.builder.exact and exact

    def check_factor(self, factor: np.ndarray, what: str) -> None:
        """Check factors that are computed from the file's numbers, as these are checked when they are read.

        Raises:
            UnsupportedOperator: one of a size that nothing here can work with.
        """
        largest = float(np.abs(factor).max(initial=0.0))
        if not largest <= REFUSED_WEIGHT:
            raise self.unsupported(
                f"{what} multiplies by {largest:.3g}; beyond {REFUSED_WEIGHT:g} neither a MIP nor float32 can see the small ones - rescale "
                "the network"
            )

    def limits(self, x: Stream, value: np.ndarray | float) -> np.ndarray:
        """`limits_of` a stream's values; `Network.input_limit` will say for which inputs those that are left out are not missed.

        Raises:
            UnsupportedOperator: values may come near one of these, the largest number of its type.
        """
        found, written = limits_of(value), np.abs(np.asarray(value, dtype=np.float64))
        left_out = written[np.isinf(found) & np.isfinite(written)]
        if left_out.size and not self.builder.leave_out(x.node, float(left_out.min())):
            raise self.unsupported(f"its values may reach the limit {left_out.min():.3g}: rescale the network")
        return found

    def limit(self, shape: Sequence[int]) -> None:
        """Check a shape before anything of its size is made.

        Raises:
            UnsupportedOperator: the result would be empty or enormous.
        """
        if not fits(shape):
            raise self.unsupported(f"the result would have shape {list(shape)}")

    def constant(self, value: Value | None, what: str) -> np.ndarray:
        """A constant operand.

        Raises:
            UnsupportedOperator: the operand depends on the network's input, or is missing.
        """
        if value is None or isinstance(value, Stream):
            raise self.unsupported(f"{what} must be a constant")
        return np.asarray(value)

    def stream(self, value: Value | None, what: str) -> Stream:
        """An operand that must depend on the input."""
        if not isinstance(value, Stream):
            raise self.unsupported(f"{what} must depend on the network's input")
        return value

    def select(self, source: Stream, positions: np.ndarray) -> Stream:
        """The entries of `source` at `positions` (-1 is zero), as a stream of the shape of `positions`."""
        if positions.shape == source.shape and np.array_equal(positions, source.positions):
            return source
        operator = Select.from_array(positions, prod(source.shape))
        if operator.is_identity:
            return Stream(source.node, positions.shape)
        return Stream(self.builder.affine([source.node], [operator], None, self.label), positions.shape)


def attribute_or_input(
    context: Context, operands: list[Value | None], attributes: dict[str, Any], name: str, position: int
) -> list[int] | None:
    """A list that older opsets keep in an attribute and newer ones in a constant input; None where there is none."""
    if name in attributes:
        return [int(v) for v in attributes[name]]
    if len(operands) > position and operands[position] is not None:
        return [int(v) for v in context.constant(operands[position], name).ravel()]
    return None


READERS = {
    "Gemm": "matmul:gemm",
    "MatMul": "matmul:matmul",
    "Conv": "conv:conv",
    "ConvTranspose": "conv:conv_transpose",
    "BatchNormalization": "normalization:batch_normalization",
    "Relu": "activation:relu",
    "LeakyRelu": "activation:leaky_relu",
    "PRelu": "activation:prelu",
    "Abs": "activation:absolute",
    "Clip": "activation:clip",
    "HardSigmoid": "activation:hard_sigmoid",
    "Max": "extremes:extreme",
    "Min": "extremes:extreme",
    "Where": "extremes:where",
    "Softmax": "activation:ending",
    "LogSoftmax": "activation:ending",
    "Sigmoid": "activation:ending",
    "Add": "arithmetic:add",
    "Sub": "arithmetic:subtract",
    "Mul": "arithmetic:multiply",
    "Div": "arithmetic:divide",
    "Neg": "arithmetic:negate",
    "Sum": "arithmetic:sum_all",
    "Identity": "shape:identity",
    "Dropout": "shape:identity",
    "Cast": "shape:cast",
    "Flatten": "shape:flatten",
    "Reshape": "shape:reshape",
    "Transpose": "shape:transpose",
    "Squeeze": "shape:squeeze",
    "Unsqueeze": "shape:unsqueeze",
    "Slice": "shape:slice_",
    "Split": "shape:split",
    "Concat": "shape:concat",
    "Gather": "shape:gather",
    "Pad": "shape:pad",
    "Expand": "shape:expand",
    "MaxPool": "pooling:max_pool",
    "AveragePool": "pooling:average_pool",
    "GlobalAveragePool": "reduce:global_average_pool",
    "GlobalMaxPool": "reduce:global_max_pool",
    "ReduceMean": "reduce:reduce_mean",
    "ReduceSum": "reduce:reduce_sum",
    "ReduceMax": "reduce:reduce_max",
    "ReduceMin": "reduce:reduce_min",
    "Resize": "resize:resize",
    "Upsample": "resize:resize",
    "Tile": "resize:tile",
    "DepthToSpace": "resize:depth_to_space",
    "SpaceToDepth": "resize:space_to_depth",
}
