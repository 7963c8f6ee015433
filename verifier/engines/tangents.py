"""Tangents of l2 balls, with which linear programs know of them."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from ..encoding import MixedIntegerProgram

ROUNDING = 1e-12  # by which tangents are loosened, relative to their terms


def with_tangent(
    program: MixedIntegerProgram, center: np.ndarray, unit: np.ndarray, radius: float | None
) -> MixedIntegerProgram:
    """With unit (x - center) <= radius, or <= the column of the distance; a little looser, for rounding."""
    unit = unit * (1 - ROUNDING)
    row = sp.lil_matrix((1, len(program.cost)))
    row[0, program.columns.inputs] = unit
    limit = float(unit @ center) + ROUNDING * float(np.abs(unit) @ np.abs(center))
    if radius is None:
        row[0, program.columns.distance] = -1.0
    else:
        limit += radius
    return program.with_rows(sp.csr_matrix(row), np.array([-np.inf]), np.array([limit]))
