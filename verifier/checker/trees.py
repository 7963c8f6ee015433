"""Trees over ReLU phases as a proof file has them, and the bounds that their leaves come to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arithmetic import Bounds, Relaxation
from .model_file import Rejected
from .operators import Array
from .statement import Source

_LEAVES = 64  # leaves that are refined together


class Trees:
    """Trees over ReLU phases, their leaves and multipliers.

    Attributes:
        count: number of trees.
        tree: (leaves,) the tree of each leaf.
    """

    def __init__(
        self, arrays: Source, name: str, relaxation: Relaxation, bounds: Bounds, refine: bool, by_passed: bool = False
    ) -> None:
        """Read the trees of step `name`; `bounds` are those that hold without any split.

        `by_passed` where leaves have `passed` in place of slopes and betas.
        """
        self.relaxation, self.bounds, self.refine = relaxation, bounds, refine
        sizes = [relaxation.network.nodes[i].size for i in relaxation.network.relus]
        self.first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        total = int(self.first[-1])
        codes = arrays.get(f"{name}.codes", np.int32, (None,))
        self.columns = arrays.get(f"{name}.columns", np.int32, (None,))
        if ((codes < -1) | (codes >= total)).any() or ((self.columns < 0) | (self.columns >= total)).any():
            raise Rejected(f"step {name}: there is no such neuron")
        self.splits: list[tuple[int, int, int]] = []  # neuron, the split above (-1: none) and the side of it
        self.above: list[tuple[int, int]] = []  # likewise of each leaf
        owners, depths = list[int](), list[int]()
        self.count = 0
        open_: list[tuple[int, int]] = []
        for code in codes.tolist():
            if not open_:
                open_.append((-1, 0))
                self.count += 1
            above, side = open_.pop()
            if code < 0:
                self.above.append((above, side))
                owners.append(self.count - 1)
            else:
                self.splits.append((code, above, side))
                depths.append(1 if above < 0 else depths[above] + 1)
                open_ += [(len(self.splits) - 1, -1), (len(self.splits) - 1, 1)]
        if open_ or not self.count:
            raise Rejected(f"step {name}: a tree ends before its leaves do")
        self.tree = np.array(owners, dtype=np.int64)
        shape = len(owners), len(self.columns)
        self.passed = arrays.get(f"{name}.passed", np.float32, shape) if by_passed else None
        if self.passed is not None:
            if not np.isfinite(self.passed).all():
                raise Rejected(f"step {name}: a coefficient is not finite")
            return
        self.slopes = arrays.get(f"{name}.slopes", np.uint16, shape)
        lengths = [0 if above < 0 else depths[above] for above, _ in self.above]
        betas = arrays.get(f"{name}.betas", np.float32, (sum(lengths),))
        self.betas = np.split(np.maximum(betas, 0).astype(np.float64), np.cumsum(lengths)[:-1])
        if not np.isfinite(betas).all():
            raise Rejected(f"step {name}: a multiplier is not finite")

    def path(self, leaf: int) -> list[tuple[int, int]]:
        """The neurons split above a leaf and the leaf's sides of them, from the root on."""
        above, side = self.above[leaf]
        found = []
        while above >= 0:
            neuron, higher, own = self.splits[above]
            found.append((neuron, side))
            above, side = higher, own
        return found[::-1]

    def values(self, start: Any) -> Array:
        """For each tree the lowest bound of its leaves; `start(leaves)` says what is bounded: node, rows, offsets."""
        result = np.full(self.count, np.inf)
        largest = max(node.size for node in self.relaxation.network.nodes)
        chunk = max(1, min(_LEAVES if self.refine else 1024, (1 << 20) // largest))
        for begin in range(0, len(self.tree), chunk):
            leaves = np.arange(begin, min(begin + chunk, len(self.tree)))
            node, rows, offset = start(leaves)
            np.minimum.at(result, self.tree[leaves], self._bounds(leaves, node, rows, offset))
        return result

    def _bounds(self, leaves: NDArray[np.int64], node: int, rows: Array, offset: Array) -> Array:
        total = int(self.first[-1])
        phases = np.zeros((len(leaves), total), dtype=np.int8)
        for position, leaf in enumerate(leaves):
            for neuron, sign in self.path(int(leaf)):
                phases[position, neuron] = sign
        bounds, split = self.bounds, bool(phases.any())
        if split:
            bounds = bounds.split(self._by_relu(phases))
            if self.refine:
                bounds = self.relaxation.crown(bounds)
        owner = np.arange(len(leaves)) if split else np.zeros(len(leaves), dtype=np.int64)
        chosen = np.full((len(leaves), total), np.nan)
        if self.passed is not None:
            chosen[:, self.columns] = self.passed[leaves]
            passed = dict(enumerate(self._by_relu(chosen)))
            return self.relaxation.lower_bounds({node: rows}, offset, bounds, owner, passed=passed)
        signed = np.zeros((len(leaves), total))
        for position, leaf in enumerate(leaves):
            for (neuron, sign), beta in zip(self.path(int(leaf)), self.betas[leaf], strict=True):
                signed[position, neuron] = -sign * beta
        chosen[:, self.columns] = self.slopes[leaves] / 65535.0
        betas = {k: part for k, part in enumerate(self._by_relu(signed)) if part.any()}
        slopes = dict(enumerate(self._by_relu(chosen)))
        return self.relaxation.lower_bounds({node: rows}, offset, bounds, owner, slopes, betas)

    def _by_relu(self, values: NDArray[Any]) -> list[NDArray[Any]]:
        return np.split(values, self.first[1:-1], axis=1)
