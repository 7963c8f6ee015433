"""A proof while it is being written: the header and arrays that `checker.check` describes."""

from __future__ import annotations

import io
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checker.check import FORMAT, VERSION
from ..checker.network import Rejected
from ..checker.statement import Statement


class Unproved(Exception):
    """Why there is no proof."""


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

    def add_case(self, statement: Statement) -> dict[str, Any]:
        """Write down what is to be proved of a region; returns the entry, whose steps are empty."""
        name, ball = str(len(self.header["cases"])), statement.norm is not None
        self.arrays |= {f"{name}.lower": statement.lower, f"{name}.upper": statement.upper}
        if statement.center is not None:
            self.arrays[f"{name}.center"] = statement.center
        for p, (matrix, offset) in enumerate(statement.unsafe):
            self.arrays |= {f"{name}.matrix.{p}": matrix, f"{name}.offset.{p}": offset}
        entry: dict[str, Any] = {
            "norm": statement.norm,
            "radius": float(statement.radius) if ball else None,
            "channels": statement.channels,
            "polytopes": len(statement.unsafe),
            "float32": statement.float32,
            "claim": "distance" if statement.distance else "safe",
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

    def drop_step(self) -> None:
        """Take the last step of the last case back, with its arrays."""
        steps = self.header["cases"][-1]["steps"]
        steps.pop()
        prefix = f"{len(self.header['cases']) - 1}.{len(steps)}."
        self.arrays = {name: array for name, array in self.arrays.items() if not name.startswith(prefix)}

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
            os.chmod(temporary, 0o666 & ~_umask())  # as any file that is written: proofs are for others to check
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise


def _umask() -> int:
    """What new files are not allowed; it can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
