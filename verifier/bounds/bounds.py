"""Bounds on the values of nodes, batched, with where each came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..network.nodes import Network, Relu


@dataclass(frozen=True)
class Interval:
    """lower <= value <= upper; both (batch, size)."""

    lower: Tensor
    upper: Tensor

    @classmethod
    def around(cls, center: Tensor, reach: Tensor) -> Interval:
        """center - reach to center + reach, rounded outwards."""
        infinity = torch.full_like(center, torch.inf)
        return cls(torch.nextafter(center - reach, -infinity), torch.nextafter(center + reach, infinity))

    def intersect(self, other: Interval) -> Interval:
        """The tighter side of each; sides that cross by rounding are made to meet."""
        lower = torch.maximum(self.lower, other.lower)
        upper = torch.minimum(self.upper, other.upper)
        return Interval(torch.minimum(lower, upper), torch.maximum(lower, upper))

    def rows(self, index: Tensor) -> Interval:
        """Some of the batch."""
        return Interval(self.lower[index], self.upper[index])

    def raised(self, index: Tensor, values: Tensor) -> Interval:
        """Neurons `index` (batch, rows) tightened by `values` (batch, 2 rows): lower bounds, then minus upper bounds."""
        count = index.shape[1]
        lower = torch.maximum(self.lower.gather(1, index), values[:, :count])
        upper = torch.minimum(self.upper.gather(1, index), -values[:, count:])
        return self.intersect(Interval(self.lower.scatter(1, index, lower), self.upper.scatter(1, index, upper)))

    @property
    def unstable(self) -> Tensor:
        """Which ReLUs reading this node may be in either phase; (batch, size)."""
        return (self.lower < 0) & (self.upper > 0)


@dataclass(frozen=True)
class Bounds:
    """Intervals of the nodes that ReLUs and maxima read, by node index."""

    intervals: Mapping[int, Interval] = field(default_factory=dict)
    source: str = ""

    def __getitem__(self, node: int) -> Interval:
        """Interval of a node."""
        return self.intervals[node]

    def __contains__(self, node: int) -> bool:
        """Whether the node has bounds."""
        return node in self.intervals

    def unstable_count(self, network: Network) -> int:
        """Number of open signs of what ReLUs read, over the whole batch."""
        return int(self.unstable_counts(network).sum())

    def unstable_counts(self, network: Network) -> Tensor:
        """The same of each member, (batch,)."""
        read = {node.input for node in network.nodes if isinstance(node, Relu)}
        return torch.stack([self[j].unstable.sum(-1) for j in read]).sum(0) if read else torch.zeros(1)

    def unstable_relus(self, network: Network, before: int | None = None) -> dict[int, Tensor]:
        """By ReLU node (before a node), which of its ReLUs may be in either phase; (batch, size)."""
        result: dict[int, Tensor] = {}
        for i in network.relus:
            node = network.nodes[i]
            if isinstance(node, Relu) and (before is None or i < before):
                result[i] = self[node.input].unstable
        return result

    def tighten(self, other: Bounds) -> Bounds:
        """Intersection, node by node."""
        merged = dict(self.intervals)
        for node, interval in other.intervals.items():
            merged[node] = merged[node].intersect(interval) if node in merged else interval
        return Bounds(merged, other.source or self.source)

    def clipped(self, network: Network, phases: Mapping[int, Tensor]) -> Bounds:
        """Cut to phases by ReLU node: +1 active, -1 inactive, 0 open; each (batch, size)."""
        intervals = dict(self.intervals)
        for i, phase in phases.items():
            node = network.nodes[i]
            assert isinstance(node, Relu)
            old = intervals[node.input]
            lower = torch.where(phase > 0, old.lower.clamp(min=0), old.lower)
            upper = torch.where(phase < 0, old.upper.clamp(max=0), old.upper)
            intervals[node.input] = Interval(lower, upper)
        return Bounds(intervals, self.source)

    @classmethod
    def stack(cls, parts: Sequence[Bounds]) -> Bounds:
        """Several batches as one; all of them know the same nodes."""
        lower = {node: torch.cat([part[node].lower for part in parts]) for node in parts[0].intervals}
        upper = {node: torch.cat([part[node].upper for part in parts]) for node in parts[0].intervals}
        return cls({node: Interval(lower[node], upper[node]) for node in lower}, parts[0].source)

    def rows(self, index: Tensor) -> Bounds:
        """Some of the batch."""
        return Bounds({node: interval.rows(index) for node, interval in self.intervals.items()}, self.source)

    def expand(self, count: int) -> Bounds:
        """The only member of a batch of one, repeated."""
        return Bounds(
            {n: Interval(i.lower.expand(count, -1), i.upper.expand(count, -1)) for n, i in self.intervals.items()},
            self.source,
        )
