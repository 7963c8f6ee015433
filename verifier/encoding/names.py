"""Names of columns and rows: kept as a label and indices a block, spelled out only for who writes a file."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Names:
    """Names of a program's columns, or of its rows, in order.

    Attributes:
        blocks: label and indices of each block, (count,) or (count, k): entry (3, 1) under the label `part2` is `part2_3_1`.
        order: for each column or row its place in the blocks taken together, -1 for one without a name.
    """

    blocks: tuple[tuple[str, np.ndarray], ...] = ()
    order: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @classmethod
    def of(cls, blocks: list[tuple[str, np.ndarray]]) -> Names:
        """All entries of some blocks, one after the other."""
        return cls(tuple(blocks), np.arange(sum(len(index) for _, index in blocks)))

    def take(self, chosen: np.ndarray) -> Names:
        """Those of some columns or rows, given by number or as a mask."""
        return self if not len(self.order) else Names(self.blocks, self.order[chosen])

    def and_more(self, count: int) -> Names:
        """These, and `count` without a name after them."""
        return Names(self.blocks, np.concatenate([self.order, np.full(count, -1)])) if len(self.order) else self

    def spelled(self, count: int, other: str) -> list[str]:
        """All names; one that is missing is `other` and its position, from 0."""
        known = ["_".join((label, *map(str, np.atleast_1d(i)))) for label, index in self.blocks for i in index]
        order = self.order if len(self.order) else np.full(count, -1)
        return [known[place] if place >= 0 else f"{other}_{i}" for i, place in enumerate(order)]
