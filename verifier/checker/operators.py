"""Linear maps between flat float64 vectors, as the checker knows them.

Each knows itself, its transpose, its entrywise absolute value, and how many roundings one entry of either product takes at most; the
rounding bounds of `arithmetic` are made of these.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Indices = NDArray[np.int64]


class Pick:
    """y[i] = factor[i] * x[index[i]], and 0 where the index is -1; a factor may have been rounded `rounded` times."""

    def __init__(self, index: Indices, size: int, factor: Array | None = None, rounded: int = 1) -> None:
        self.index, self.size, self.factor, self.rounded = index, size, factor, rounded
        self.kept = index >= 0
        most = int(np.bincount(index[self.kept]).max(initial=0))
        self.once, products = most <= 1, 0 if factor is None else rounded + 1  # roundings
        self.forward_terms, self.backward_terms = products, most + products

    def apply(self, x: Array) -> Array:
        """The product with vectors (..., size)."""
        y = np.where(self.kept, x[..., self.index], 0.0)
        return y if self.factor is None else y * self.factor

    def transposed(self, y: Array) -> Array:
        """The product of the transpose with vectors."""
        x = np.zeros((*y.shape[:-1], self.size))
        moved = (y if self.factor is None else y * self.factor)[..., self.kept]
        if self.once:
            x[..., self.index[self.kept]] = moved
        else:
            np.add.at(x.T, self.index[self.kept], moved.T)
        return x

    def absolute(self) -> Pick:
        """The map whose entries are the absolute values."""
        return Pick(self.index, self.size, None if self.factor is None else np.abs(self.factor), self.rounded)


class Windows:
    """y[g, o, p] = sum over k of weight[g, o, k] x[index[g, p, k]], and 0 for an index of -1: grouped convolutions.

    A dense layer is one group with one window that holds all inputs.
    """

    def __init__(self, weight: Array, index: Indices, size: int) -> None:
        self.weight, self.index, self.size = weight, index, size
        flat = index.swapaxes(1, 2).ravel()
        order = np.argsort(flat, kind="stable")[np.count_nonzero(flat < 0) :]
        counts = np.bincount(flat[order], minlength=size)
        most = int(counts.max(initial=0))
        self.meets = np.full((most, size), flat.size)  # entries of the windows that are input i, one a row
        self.meets[np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts), flat[order]] = order
        self.once = most == 1 and len(order) == size
        self.forward_terms, self.backward_terms = weight.shape[2] + 1, weight.shape[1] * most + 1

    def apply(self, x: Array) -> Array:
        """The product with vectors (..., size)."""
        read = np.concatenate([x, np.zeros((*x.shape[:-1], 1))], axis=-1)[..., self.index]
        return np.asarray(self.weight @ read.swapaxes(-1, -2)).reshape(*x.shape[:-1], -1)

    def transposed(self, y: Array) -> Array:
        """The product of the transpose with vectors."""
        groups, outputs, members = self.weight.shape
        if self.once:
            given = y.reshape(*y.shape[:-1], groups, outputs, -1)
            return np.asarray((self.weight.swapaxes(1, 2) @ given).reshape(*y.shape[:-1], -1)[..., self.meets[0]])
        # Rows become columns: what is picked for an input lies together, for all of them.
        rows = y.reshape(-1, y.shape[-1])
        given = rows.T.reshape(groups, outputs, -1)
        read = np.empty((groups * members * self.index.shape[1] + 1, len(rows)))
        np.matmul(self.weight.swapaxes(1, 2), given, out=read[:-1].reshape(groups, members, -1))
        read[-1] = 0.0
        total = np.zeros((self.size, len(rows)))
        for entry in self.meets:
            total += read[entry]
        return np.ascontiguousarray(total.T).reshape(*y.shape[:-1], self.size)

    def absolute(self) -> Windows:
        """The map whose entries are the absolute values."""
        return Windows(np.abs(self.weight), self.index, self.size)


Linear = Pick | Windows
