"""A network of the verifier that shares a torch module's parameters, so that losses can be made of proved bounds."""

from __future__ import annotations

from math import prod

from torch import Tensor, nn

from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.nodes import Affine, Input, Network, Node, Relu
from advverify.verifier.network.operators import Conv2d, Dense, Operator, Select

from .architectures.lipschitz import MeanPool, Orthogonal, UnitRows, UnitSpectral
from .architectures.residual import ResidualBlock


class _Tracer:
    """Nodes so far, and the shape of what the next layer reads."""

    def __init__(self, image: tuple[int, ...], like: Tensor) -> None:
        self.nodes: list[Node] = [Input(prod(image))]
        self.shape, self.like = image, like

    @property
    def last(self) -> int:
        return len(self.nodes) - 1

    def affine(self, parts: list[tuple[int, Operator]], bias: Tensor | None, shape: tuple[int, ...]) -> None:
        """Append sum_k operators(inputs) + bias; a bias a channel is spread over the image."""
        size = prod(shape)
        if bias is None:
            bias = self.like.new_zeros(size)
        elif len(bias) != size:
            bias = bias.repeat_interleave(size // len(bias))
        self.nodes.append(Affine(tuple(j for j, _ in parts), tuple(o for _, o in parts), bias))
        self.shape = shape

    def relu(self) -> None:
        self.nodes.append(Relu(self.last, self.nodes[-1].size))

    def linear(self, weight: Tensor, stride: tuple[int, int] = (1, 1), pad: tuple[int, int] | None = None) -> Operator:
        """The operator of a weight on the present shape; kernels keep the image's size unless told otherwise."""
        if weight.ndim == 2:
            return Dense(weight)
        channels, height, width = self.shape
        rows, columns = (int(weight.shape[2]) // 2, int(weight.shape[3]) // 2) if pad is None else pad
        return Conv2d(weight, (channels, height, width), stride, (rows, columns, rows, columns))

    def shape_of(self, operator: Operator) -> tuple[int, ...]:
        return operator.out_shape if isinstance(operator, Conv2d) else (operator.out_size,)

    def block(self, block: ResidualBlock) -> None:
        terms, start, shape = block.terms(), self.last, self.shape
        inner = self.linear(terms.inner)
        self.affine([(start, inner)], terms.bias, self.shape_of(inner))
        self.relu()
        size = prod(shape)
        outer = Select.identity(size) if terms.outer is None else self.linear(terms.outer)
        hidden, self.shape = self.last, shape
        skip = Select.identity(size) if terms.skip is None else self.linear(terms.skip)
        self.affine([(start, skip), (hidden, outer)], None, shape)

    def layer(self, layer: nn.Module) -> None:
        if isinstance(layer, nn.Sequential):
            for child in layer:
                self.layer(child)
        elif isinstance(layer, nn.Flatten):
            self.shape = (prod(self.shape),)
        elif isinstance(layer, nn.Dropout):
            pass
        elif isinstance(layer, nn.ReLU):
            self.relu()
        elif isinstance(layer, ResidualBlock):
            self.block(layer)
        elif isinstance(layer, nn.AvgPool2d):
            side = int(layer.kernel_size)  # type: ignore[arg-type]
            self.pool(side, 1 / side**2)
        elif isinstance(layer, MeanPool):
            self.pool(layer.side, 1 / layer.side)
        elif isinstance(layer, UnitSpectral | Orthogonal | UnitRows):
            stride = layer.stride if isinstance(layer, UnitSpectral) else 1
            operator = self.linear(layer.effective(), (stride, stride))
            self.affine([(self.last, operator)], layer.bias, self.shape_of(operator))
        elif isinstance(layer, nn.Linear):
            self.affine([(self.last, Dense(layer.weight))], layer.bias, (layer.out_features,))
        elif isinstance(layer, nn.Conv2d):
            convolution = self.linear(layer.weight, layer.stride, layer.padding)  # type: ignore[arg-type]
            self.affine([(self.last, convolution)], layer.bias, self.shape_of(convolution))
        else:
            raise InvalidInput(
                f"losses made of bounds (ibp, crown-ibp, relu-stability) do not know the layer {type(layer).__name__}; "
                "choose another architecture or another defence"
            )

    def pool(self, side: int, factor: float) -> None:
        channels, height, width = self.shape
        weight = self.like.new_full((channels, 1, side, side), factor)
        operator = Conv2d(weight, (channels, height, width), (side, side), groups=channels)
        self.affine([(self.last, operator)], None, operator.out_shape)


def from_torch(module: nn.Module, image: tuple[int, ...]) -> Network:
    """The module as a `Network` whose weights are the module's own tensors, in the module's precision.

    Raises:
        InvalidInput: a layer that has no such form.
    """
    tracer = _Tracer(image, next(module.parameters()))
    tracer.layer(module)
    nodes = tracer.nodes
    assert isinstance(nodes[-1], Affine), "networks end in a head"
    return Network(tuple(nodes), image)
