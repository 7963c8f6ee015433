"""Domains of the support tree: which pixels of an l0 ball change and which do not."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SupportDomain:
    """Part of an l0 ball around a center.

    Attributes:
        subproblem: number of the subproblem that it belongs to.
        status: (pixels,) int8; +1 counted as changed, -1 unchanged, 0 open.
    """

    subproblem: int
    status: NDArray[np.int8]

    @property
    def chosen(self) -> int:
        """Number of pixels that are counted as changed."""
        return int((self.status > 0).sum())

    def without(self, pixels: NDArray[np.int64]) -> SupportDomain:
        """Where these do not change either."""
        status = self.status.copy()
        status[pixels] = -1
        return SupportDomain(self.subproblem, status)


@dataclass
class Family:
    """A domain's parts, by the first pixel of a list that changes: the j-th has pixel j and none of those before it.

    Kept as one entry of the queue, however many they are: `bounds`, what is known of the parts before they are bounded
    themselves, must not fall. A family without pixels has one part, the domain.
    """

    domain: SupportDomain
    bounds: NDArray[np.float64]
    pixels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    taken: int = 0

    @property
    def bound(self) -> float:
        """That of the next part."""
        return float(self.bounds[self.taken])

    def take(self) -> SupportDomain:
        """The next part."""
        domain = self.domain
        if len(self.pixels):
            status = domain.status.copy()
            status[self.pixels[: self.taken]] = -1
            status[self.pixels[self.taken]] = 1
            domain = SupportDomain(domain.subproblem, status)
        self.taken += 1
        return domain


@dataclass
class Queue:
    """Open domains by their bounds, lowest first.

    Attributes:
        heap: families that have a part left.
        open: number of families and of domains that were taken but not closed, by number of the subproblem.
        left: subproblems that were given up; their domains are dropped.
    """

    heap: list[tuple[float, int, Family]] = field(default_factory=list)
    open: dict[int, int] = field(default_factory=dict)
    left: set[int] = field(default_factory=set)
    serial: int = 0

    def push(self, family: Family) -> None:
        """A family with a part left."""
        heapq.heappush(self.heap, (family.bound, self.serial, family))
        self.serial += 1
        self.open[family.domain.subproblem] = self.open.get(family.domain.subproblem, 0) + 1

    def pop(self, count: int) -> list[SupportDomain]:
        """Up to `count` of the worst domains; they stay counted as open until `close`."""
        taken: list[SupportDomain] = []
        while self.heap and len(taken) < count:
            _, _, family = heapq.heappop(self.heap)
            subproblem = family.domain.subproblem
            self.open[subproblem] -= 1
            if subproblem in self.left:
                continue
            taken.append(family.take())
            self.open[subproblem] += 1
            if family.taken < len(family.bounds):
                self.push(family)
        return taken

    def close(self, domain: SupportDomain) -> None:
        """A domain is settled, or its parts are in the queue."""
        self.open[domain.subproblem] -= 1


def bounds_by_first(alone: float, ranges: NDArray[np.float64], room: int) -> NDArray[np.float64]:
    """Bounds of the parts of a domain by the first pixel that changes, and of the part where none does; they rise.

    Args:
        alone: the bound where no open pixel changes.
        ranges: (count,) by how much each open pixel can lower it, largest first.
        room: how many of them may change, at least one.

    Returns:
        (count + 1,).
    """
    sums = np.lib.stride_tricks.sliding_window_view(np.append(ranges, np.zeros(room - 1)), room).sum(-1)
    return np.append(alone - sums, alone)


def heavier_half(ranges: NDArray[np.float64]) -> int:
    """How many of the first ranges, at least one, are half of all together."""
    total = ranges.cumsum()
    return int((total < total[-1] / 2).sum()) + 1
