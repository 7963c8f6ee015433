"""What all residual networks share: a block s <- S s + W relu(K s + b), a lift before and a head behind the blocks, and where
there are several stages a bridge between them, which halves the images and widens the state.

A family (plain, antisymmetric, Hamiltonian, ...) says what S, K, b and W are as functions of its parameters. Training,
folding to plain layers and bounds through live parameters read nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from advverify.verifier.errors import InvalidInput

from . import linear_maps

BETWEEN = ("pool", "stride")


@dataclass(frozen=True)
class Terms:
    """Weights of a block; S is the identity where `skip` is None, and W where `outer` is None."""

    inner: Tensor
    bias: Tensor
    outer: Tensor | None = None
    skip: Tensor | None = None


class ResidualBlock(nn.Module, ABC):
    """s <- S s + W relu(K s + b)."""

    @abstractmethod
    def terms(self) -> Terms:
        """The weights at present, differentiable in the parameters."""

    def forward(self, state: Tensor) -> Tensor:
        """One step."""
        terms = self.terms()
        hidden = torch.relu(linear_maps.apply(terms.inner, state, terms.bias))
        if terms.outer is not None:
            hidden = linear_maps.apply(terms.outer, hidden)
        return (state if terms.skip is None else linear_maps.apply(terms.skip, state)) + hidden

    def fold(self) -> FoldedBlock:
        """The block as plain layers."""
        return FoldedBlock(self.terms())

    def smooth(self) -> tuple[Tensor, ...]:
        """Parameters that should change little from block to block (Haber & Ruthotto); none by default."""
        return ()

    def halve(self) -> None:
        """Half the step, in place, where the step is no option of the family but in the parameters."""

    def state_size(self) -> int:
        """Features or channels of the state."""
        return int(self.terms().inner.shape[1])

    def finer_state(self, size: int) -> Tensor | None:
        """P (size, size) where a state of half the step is P times one of the whole step; None where they are the same."""
        return None


class FoldedBlock(nn.Module):
    """A residual block of plain Linear or Conv2d layers, for export and analysis."""

    def __init__(self, terms: Terms) -> None:
        """Detach the weights."""
        super().__init__()
        self.inner = linear_maps.as_layer(terms.inner, terms.bias)
        self.outer = None if terms.outer is None else linear_maps.as_layer(terms.outer, None)
        self.skip = None if terms.skip is None else linear_maps.as_layer(terms.skip, None)

    def forward(self, state: Tensor) -> Tensor:
        """One step."""
        hidden = torch.relu(self.inner(state))
        if self.outer is not None:
            hidden = self.outer(hidden)
        kept: Tensor = state if self.skip is None else self.skip(state)
        return kept + hidden


@dataclass(frozen=True)
class Shape:
    """Where the blocks of a residual network live.

    Attributes:
        image: (channels, height, width) of the input.
        width: of the state: features of a fully connected network, channels of a convolutional one.
        kernel: side of the kernels, or None for a fully connected network.
        stride: of the lift, convolutional networks only.
        pool: side of the mean pooling before the head, convolutional networks only.
        stages: of a convolutional network; each further one has images of half the side and `widen` times the channels.
        between: what halves the images, "pool" (mean pooling, then 1x1) or "stride" (3x3 of stride 2).
        widen: factor of the channels from stage to stage.
        lift: side of the first layer's kernels, odd; convolutional networks only.
        stage: this one, from 0.
    """

    image: tuple[int, int, int]
    width: int
    kernel: int | None
    stride: int = 1
    pool: int = 1
    stages: int = 1
    between: str = "pool"
    widen: int = 2
    lift: int = 3
    stage: int = 0

    @classmethod
    def of(
        cls,
        image: list[int],
        width: int | None = None,
        channels: int | None = None,
        stride: int = 1,
        pool: int = 1,
        stages: int = 1,
        between: str = "pool",
        widen: int = 2,
        lift: int = 3,
    ) -> Shape:
        """From the options of a recipe: `width` for a fully connected network or `channels` for a convolutional one.

        Raises:
            InvalidInput: both or neither, or sizes that cannot be.
        """
        if (width is None) == (channels is None):
            raise InvalidInput("give `width` (fully connected) or `channels` (convolutional), one of the two")
        size = width if width is not None else channels
        assert size is not None
        if len(image) != 3 or min(*image, size, stride, pool, stages, widen) < 1:
            raise InvalidInput(
                f"impossible shape: image {image}, width {size}, stride {stride}, pool {pool}, stages {stages}, widen {widen}"
            )
        if lift < 1 or lift % 2 == 0:
            raise InvalidInput(f"lift is the odd side of a kernel, got {lift}")
        if between not in BETWEEN:
            raise InvalidInput(f"between is one of {', '.join(BETWEEN)}, got '{between}'")
        if width is not None and stages > 1:
            raise InvalidInput("stages are those of a convolutional network: give `channels` instead of `width`")
        kernel = None if width is not None else 3
        shape = cls((image[0], image[1], image[2]), size, kernel, stride, pool, stages, between, widen, lift)
        rows, columns = shape.sides
        if kernel is not None and (rows % 2 ** (stages - 1) or columns % 2 ** (stages - 1)):
            raise InvalidInput(f"images of {rows}x{columns} cannot be halved {stages - 1} times; choose fewer stages")
        rows, columns = shape.last.sides
        if kernel is not None and (rows % pool or columns % pool):
            raise InvalidInput(f"images of {rows}x{columns} cannot be pooled by {pool}")
        return shape

    def at(self, stage: int) -> Shape:
        """The shape of a stage."""
        return replace(self, stage=stage, width=self.width * self.widen ** (stage - self.stage))

    @property
    def last(self) -> Shape:
        """The shape of the last stage."""
        return self.at(self.stages - 1)

    def rows(self, hidden: int | None) -> int:
        """ReLUs (or channels of them) of a block of this stage: `hidden` is that of the first one, None for the width."""
        return self.width if hidden is None else hidden * self.widen**self.stage

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of the state's images."""
        return -(-self.image[1] // self.stride) // 2**self.stage, -(-self.image[2] // self.stride) // 2**self.stage

    @property
    def features(self) -> int:
        """Inputs of the head."""
        if self.kernel is None:
            return self.width
        rows, columns = self.last.sides
        return self.last.width * (rows // self.pool) * (columns // self.pool)


def even(width: int, family: str) -> int:
    """Half of a state of two parts.

    Raises:
        InvalidInput: an odd width.
    """
    if width % 2:
        raise InvalidInput(f"{family}: the state has two halves, so its width must be even, got {width}")
    return width // 2


def residual_network(
    shape: Shape, blocks: int, outputs: int, block: Callable[[Shape], nn.Module], dropout: float = 0.0
) -> nn.Sequential:
    """Lift, `blocks` blocks a stage, head; the lift, the bridges and the head are unconstrained, dropout is before the head.

    Raises:
        InvalidInput: no blocks or no outputs.
    """
    check_depth(blocks, outputs)
    layers: list[nn.Module]
    if shape.kernel is None:
        channels, height, width = shape.image
        layers = [nn.Flatten(), nn.Linear(channels * height * width, shape.width)]
    else:
        side, edge = shape.lift, shape.lift // 2
        layers = [nn.Conv2d(shape.image[0], shape.width, side, stride=shape.stride, padding=edge)]
    layers += staged(shape, blocks, block, bridge)
    if shape.kernel is not None:
        layers += [*([nn.AvgPool2d(shape.pool)] if shape.pool > 1 else []), nn.Flatten()]
    layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(shape.features, outputs))


def staged(
    shape: Shape,
    blocks: int,
    block: Callable[[Shape], nn.Module],
    between: Callable[[Shape, Shape], list[nn.Module]],
) -> list[nn.Module]:
    """The blocks of all stages, with bridges between them."""
    layers: list[nn.Module] = []
    for stage in range(shape.stages):
        if stage:
            layers += between(shape.at(stage - 1), shape.at(stage))
        layers += [block(shape.at(stage)) for _ in range(blocks)]
    return layers


def bridge(before: Shape, after: Shape) -> list[nn.Module]:
    """From one stage to the next: half the side, more channels."""
    if before.between == "stride":
        return [nn.Conv2d(before.width, after.width, 3, stride=2, padding=1)]
    return [nn.AvgPool2d(2), nn.Conv2d(before.width, after.width, 1)]


def check_depth(blocks: int, outputs: int) -> None:
    """Refuse networks of nothing.

    Raises:
        InvalidInput: no blocks or fewer than two outputs.
    """
    if blocks < 1 or outputs < 2:
        raise InvalidInput(f"a residual network needs blocks >= 1 and outputs >= 2, got {blocks} and {outputs}")
