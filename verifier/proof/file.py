"""A proof while it is being written: the header and arrays that `checker.check` describes."""

from __future__ import annotations

import io
import json
import math
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..norms.l0 import L0
from ..specification import Case
from .checker.check import FORMAT, VERSION
from .checker.network import Rejected


class ProofFile:
    """Grows step by step; the checker's `Case` can read it at any time."""

    def __init__(self, model_sha256: str, about: dict[str, Any]) -> None:
        """No case yet."""
        self.header: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "model_sha256": model_sha256,
            "about": about,
            "cases": [],
        }
        self.arrays: dict[str, NDArray[Any]] = {}

    def add_case(self, case: Case, executed: bool) -> dict[str, Any]:
        """Write down a region and its unsafe set; returns the entry, whose steps are empty."""
        name, region, ball = str(len(self.header["cases"])), case.region, case.region.ball
        if ball is not None and math.isinf(ball.radius):
            ball = None
        self.arrays |= {f"{name}.lower": region.lower, f"{name}.upper": region.upper}
        if ball is not None:
            self.arrays[f"{name}.center"] = ball.center
        for p, polytope in enumerate(case.unsafe):
            self.arrays[f"{name}.matrix.{p}"] = np.asarray(polytope.matrix, dtype=np.float64)
            self.arrays[f"{name}.offset.{p}"] = np.asarray(polytope.offset, dtype=np.float64)
        entry: dict[str, Any] = {
            "norm": None if ball is None else ball.norm.name,
            "radius": None if ball is None else float(ball.radius),
            "channels": ball.norm.channels if ball is not None and isinstance(ball.norm, L0) else 1,
            "polytopes": len(case.unsafe),
            "executed": executed,
            "steps": [],
        }
        self.header["cases"].append(entry)
        return entry

    def add_step(self, step: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
        """One more step of the last case."""
        steps = self.header["cases"][-1]["steps"]
        prefix = f"{len(self.header['cases']) - 1}.{len(steps)}"
        self.arrays |= {f"{prefix}.{name}": array for name, array in arrays.items()}
        steps.append(step)

    def get(self, name: str, dtype: type, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """As the checker's own reading of a file."""
        if name not in self.arrays or self.arrays[name].dtype != np.dtype(dtype):
            raise Rejected(f"array {name} is missing or of another type")
        return self.arrays[name]

    def save(self, path: Path) -> None:
        """Write the file; it is there whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".proof-")
        try:
            with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("header.json", json.dumps(self.header, allow_nan=False))
                for name, array in self.arrays.items():
                    buffer = io.BytesIO()
                    np.lib.format.write_array(buffer, np.ascontiguousarray(array), allow_pickle=False)
                    archive.writestr(f"{name}.npy", buffer.getvalue())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
