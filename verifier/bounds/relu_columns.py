"""All ReLUs of a network, batched: phases and multipliers as one row a domain, or by node."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..network.nodes import Network


class ReluColumns:
    """The columns of the ReLU nodes before a node (of all of them by default), or only some of these columns.

    Attributes:
        relus: indices of the nodes.
        sizes: neurons of each.
        chosen: (columns,) positions among all neurons of `relus`, or None where every neuron has a column.
    """

    def __init__(self, network: Network, before: int | None = None, chosen: Tensor | None = None) -> None:
        """Count the neurons."""
        self.relus = [i for i in network.relus if before is None or i < before]
        self.sizes = [network.nodes[i].size for i in self.relus]
        self.chosen = chosen

    @property
    def count(self) -> int:
        """Number of columns."""
        return sum(self.sizes) if self.chosen is None else len(self.chosen)

    def by_node(self, columns: Tensor) -> dict[int, Tensor]:
        """(..., columns) as (..., size) a node; neurons without a column get zeros."""
        whole = columns
        if self.chosen is not None:
            whole = columns.new_zeros((*columns.shape[:-1], sum(self.sizes)))
            whole[..., self.chosen] = columns
        return dict(zip(self.relus, whole.split(self.sizes, -1), strict=True))

    def flat(self, by_node: Mapping[int, Tensor], lead: tuple[int, ...]) -> Tensor:
        """(*lead, size) a node as (*lead, columns) in float32; nodes that are left out give zeros."""
        parts = [
            by_node[i].to(torch.float32) if i in by_node else torch.zeros(*lead, size)
            for i, size in zip(self.relus, self.sizes, strict=True)
        ]
        whole = torch.cat(parts, -1)
        return whole if self.chosen is None else whole[..., self.chosen]
