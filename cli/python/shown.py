"""Figures that notebooks show; needs matplotlib."""

from __future__ import annotations

import io

from matplotlib.figure import Figure


class Shown(Figure):
    """A figure that shows itself in a notebook without `pyplot`, which would keep it open."""

    def _repr_png_(self) -> bytes:
        """Return the picture."""
        stream = io.BytesIO()
        self.savefig(stream, format="png", dpi=100)
        return stream.getvalue()
