"""Bounds on regions, computed once: CROWN first, alpha-CROWN for intermediate neurons when an engine asks for it.

Large convolutional networks are bounded in float32 (on CPUs the float64 kernels are an order of magnitude slower),
everything else in float64 with float32 ascents; either way the bounds hold in spite of rounding (`bounds.rounding`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..bounds import Bounds, InputSet, crown
from ..bounds.activation_balls import NodeBalls
from ..bounds.alpha_crown import AlphaCrown
from ..bounds.intermediate import tighten_intermediate
from ..bounds.neuron_split import NeuronSplit
from ..bounds.rounding import Losses, RoundingLoss
from ..network.nodes import Affine, Network
from ..network.operators import Compose, Conv2d, Operator, Transposed
from ..specification import Region

MANY_UNSTABLE = 400  # ReLUs of a region from which on its LPs are too large for trees of them
_KEPT = 8  # regions remembered
_ASCENT = AlphaCrown(steps=10)
_SMALL = 1000  # ReLUs up to which convolutions stay in float64


class RegionBounds:
    """Bounds of one network on the regions that a search visits.

    Attributes:
        network: float64.
        bounding_network: the copy whose bounds count: itself, or the float32 one where it is large.
        float32_network: the float32 copy, for ascents.
    """

    def __init__(self, network: Network, balls: bool = True) -> None:
        """Nothing computed yet; `balls` says whether l2 balls around what nodes read may be used."""
        self.network, self.balls = network, balls
        self.float32_network = network.in_float32
        large = network.relu_count > _SMALL and any(_convolves(op) for op in _operators(network))
        # on GPUs all that is proved is float64: their kernels for less may round operands first (TF32)
        self.bounding_network = self.float32_network if large and network.device.type == "cpu" else network
        self._known: list[tuple[Region, Bounds]] = []
        self._losses: list[tuple[Region, Losses]] = []
        self._centers: Tensor | None = None  # those that `_balls` belong to
        self._balls: NodeBalls | None = None

    def inputs(self, *regions: Region) -> InputSet:
        """A batch of regions."""
        inputs = InputSet.from_regions(regions, torch.float64, self.network.device)
        if not self.balls or inputs.center is None:
            return inputs
        if self._centers is None or not torch.equal(self._centers, inputs.center):
            self._centers, self._balls = inputs.center, inputs.with_balls(self.network).balls
        return replace(inputs, balls=self._balls)

    def of(self, region: Region) -> Bounds:
        """The best bounds known on a region; IBP ∩ CROWN at least."""
        for other, bounds in self._known:
            if _same(other, region):
                return bounds
        larger = next((bounds for other, bounds in reversed(self._known) if _shrunk(region, other)), None)
        with torch.no_grad():
            bounds = crown(self.bounding_network, self.inputs(region), larger)
        self._remember(region, bounds)
        return bounds

    def knows(self, region: Region) -> bool:
        """Whether anything is known of a region that `of` would start from."""
        return any(_same(other, region) or _shrunk(region, other) for other, _ in self._known)

    def tighten(self, region: Region, seconds: float, stop: Callable[[], bool], helpers: int = 0) -> None:
        """alpha-CROWN on the intermediate neurons, and `seconds` of splitting for single neurons, with copies of the process."""
        trees = NeuronSplit(seconds, helpers=helpers) if seconds > 0 else None
        bounds = tighten_intermediate(
            self.bounding_network, self.inputs(region), self.of(region), _ASCENT, self.float32_network, stop, trees
        )
        self._remember(region, bounds)

    def losses(self, region: Region) -> Losses:
        """Rounding losses of the bounding network on a region; they hold on every part of it."""
        for other, losses in self._losses:
            if _same(other, region):
                return losses
        losses = RoundingLoss.of(self.bounding_network, self.inputs(region), self.of(region))
        self._losses = [*self._losses[-_KEPT:], (region, losses)]
        return losses

    def learn(self, region: Region, bounds: Bounds) -> None:
        """Bounds of all nodes that were proved elsewhere; from now on these count, and nothing that was known before."""
        self._losses = [entry for entry in self._losses if not _same(entry[0], region)]
        self._remember(region, bounds)

    def _remember(self, region: Region, bounds: Bounds) -> None:
        others = [entry for entry in self._known if not _same(entry[0], region)]
        self._known = [*others[-_KEPT:], (region, bounds)]


@dataclass(frozen=True)
class RegionBatch:
    """A batch of regions of one network, with their bounds and the rounding losses of the bounding network, or another."""

    inputs: InputSet
    bounds: Bounds
    losses: Losses

    @classmethod
    def of(cls, searches: Sequence[tuple[RegionBounds, Region]], exact: bool = False) -> RegionBatch:
        """Regions of several searches in the same network; those that nothing is known of are bounded together.

        `exact` asks for the losses of the float64 network: for outputs, where those of float32 may be all that is missing.
        """
        first = searches[0][0]
        fresh = [(known, region) for known, region in searches if not known.knows(region)]
        if len(fresh) > 1:
            with torch.no_grad():
                together = crown(first.bounding_network, first.inputs(*(region for _, region in fresh)))
            for k, (known, region) in enumerate(fresh):
                known.learn(region, together.rows(torch.tensor([k], device=first.network.device)))
        inputs = first.inputs(*(region for _, region in searches))
        network = first.network if exact else first.bounding_network
        if len(searches) == 1:
            region = searches[0][1]
            bounds = first.of(region)
            if network is first.bounding_network:
                return cls(inputs, bounds, first.losses(region))
        else:
            bounds = Bounds.stack([known.of(region) for known, region in searches])
        return cls(inputs, bounds, RoundingLoss.of(network, inputs, bounds))

    def rows(self, index: Tensor) -> RegionBatch:
        """Some of the regions, repeated or reordered; a single one is not copied."""
        if len(self.inputs) == 1:
            return RegionBatch(self.inputs.expand(len(index)), self.bounds.expand(len(index)), self.losses)
        return RegionBatch(self.inputs.rows(index), self.bounds.rows(index), self.losses.rows(index))


def tighten_all(searches: Sequence[tuple[RegionBounds, Region]], stop: Callable[[], bool]) -> None:
    """alpha-CROWN on the intermediate neurons of regions of several searches in the same network, batched."""
    first, stack = searches[0][0], RegionBatch.of(searches)
    bounds = tighten_intermediate(
        first.bounding_network, stack.inputs, stack.bounds, _ASCENT, first.float32_network, stop
    )
    for k, (known, region) in enumerate(searches):
        known.learn(region, bounds.rows(torch.tensor([k], device=first.network.device)))


def _operators(network: Network) -> list[Operator]:
    return [operator for node in network.nodes if isinstance(node, Affine) for operator in node.operators]


def _convolves(operator: Operator) -> bool:
    match operator:
        case Conv2d():
            return True
        case Compose():
            return any(_convolves(factor) for factor in operator.factors)
        case Transposed():
            return _convolves(operator.inner)
        case _:
            return False


def _same(a: Region, b: Region) -> bool:
    if (a.ball is None) != (b.ball is None):
        return False
    if a.ball is not None and b.ball is not None:
        if a.ball.radius != b.ball.radius or a.ball.norm.key != b.ball.norm.key:
            return False
        if not np.array_equal(a.ball.center, b.ball.center):
            return False
    return np.array_equal(a.lower, b.lower) and np.array_equal(a.upper, b.upper)


def _shrunk(inner: Region, outer: Region) -> bool:
    """Whether `inner` is `outer` with a smaller ball around the same center."""
    if inner.ball is None or outer.ball is None or inner.ball.radius > outer.ball.radius:
        return False
    same = inner.ball.norm.key == outer.ball.norm.key and np.array_equal(inner.ball.center, outer.ball.center)
    return same and np.array_equal(inner.lower, outer.lower) and np.array_equal(inner.upper, outer.upper)
