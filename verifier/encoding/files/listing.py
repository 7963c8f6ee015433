"""A program with names: what the writers of all formats read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..program import MixedIntegerProgram

# what stands before a column's numbers; the first of these is the node of the network, where the name has one
_MEANINGS = {
    "x": "input",
    "relu": "output of the ReLU node, by neuron; stable the same where the bounds leave it one phase",
    "slack": "how far a ReLU lifts what it reads",
    "phase": "1 where a ReLU is active, 0 where it is not",
    "active": "what a group of inputs adds to an active ReLU, by neuron and group",
    "inactive": "what a group of inputs adds to an inactive ReLU",
    "copy": "what an active ReLU reads of a column, by neuron and column",
    "max": "output of the maximum node",
    "wins": "1 for the member of a window that is its maximum, by window and member",
    "distance": "distance from the image",
    "more": "by how much an input is raised",
    "less": "by how much an input is lowered",
    "changed": "1 where a pixel may change",
    "violation": "largest violation of an unsafe polytope's rows",
    "unsafe": "1 for the polytope that is reached",
}


@dataclass(frozen=True, eq=False)
class Row:
    """One row with one side: sum of values times columns, `sense` "<=", ">=" or "=", `side`."""

    name: str
    columns: np.ndarray
    values: np.ndarray
    sense: str
    side: float


@dataclass(frozen=True, eq=False)
class Listing:
    """A program, and what its file says in words.

    Attributes:
        program: what is written.
        comments: lines at the top, printable ASCII.
    """

    program: MixedIntegerProgram
    comments: tuple[str, ...] = ()

    @cached_property
    def columns(self) -> list[str]:
        """Names of the columns, all different."""
        return self.program.column_names.spelled(len(self.program.cost), "column")

    def rows(self) -> Iterator[Row]:
        """Rows with one side each, names all different; a row with two sides becomes two."""
        program = self.program
        names = program.row_names.spelled(program.matrix.shape[0], "row")
        matrix = program.matrix
        for i, name in enumerate(names):
            span = slice(matrix.indptr[i], matrix.indptr[i + 1])
            entries = matrix.indices[span], matrix.data[span]
            low, high = float(program.row_lower[i]), float(program.row_upper[i])
            if low == high:
                yield Row(name, *entries, "=", low)
                continue
            if np.isfinite(high):
                yield Row(name, *entries, "<=", high)
            if np.isfinite(low):
                yield Row(f"{name}_low" if np.isfinite(high) else name, *entries, ">=", low)

    @cached_property
    def heading(self) -> list[str]:
        """The comments, and what the names of the columns mean."""
        used = {name.partition("_")[0].rstrip("0123456789") for name in self.columns}
        return [*self.comments, *(f"{label}: {text}" for label, text in _MEANINGS.items() if label in used)]
