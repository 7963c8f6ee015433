"""What closes a leaf of a tree over a linear program's binaries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Path = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class DualLeaf:
    """Decisions (column, value), and multipliers of the rows, (rows,), that leave no point of interest with them.

    Multipliers have the signs of `SafeDual.bound`.
    """

    path: Path
    multipliers: np.ndarray
