"""Files as they travel to machines that share none with this one: by content, and found there by the hash of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from ..network.onnx_file import parts


@dataclass(frozen=True)
class Parcel:
    """A file, with those beside it that belong to it.

    Attributes:
        name: of the file, without its folder; how it ends says how it is read.
        files: its bytes under no name, and others by their place beside it.
    """

    name: str
    files: dict[str, bytes] = field(repr=False)

    @property
    def digest(self) -> str:
        """A hash of all that it holds."""
        total = hashlib.sha256(self.name.encode())
        for name, content in sorted(self.files.items()):
            total.update(f"\0{name}\0{len(content)}\0".encode())
            total.update(content)
        return total.hexdigest()


def pack_model(path: str) -> Parcel:
    """A network, with the files that hold its weights.

    Raises:
        OSError: it cannot be read.
    """
    return Parcel(Path(path).name, parts(Path(path)))


def pack_file(path: str) -> Parcel:
    """A file that stands for itself.

    Raises:
        OSError: it cannot be read.
    """
    return Parcel(Path(path).name, {"": Path(path).read_bytes()})


def unpack(parcel: Parcel, digest: str, folder: Path) -> Path:
    """Where a parcel lies in a folder of parcels, after it was put there whole if it was not there.

    Raises:
        OSError: it cannot be written.
    """
    place = folder / digest
    if not place.is_dir():
        part = Path(tempfile.mkdtemp(dir=folder))
        try:
            for name, content in parcel.files.items():
                file = part / (name or parcel.name)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
            os.replace(part, place)
        except OSError:
            shutil.rmtree(part, ignore_errors=True)
            if not place.is_dir():  # else another thread was first
                raise
    return place / parcel.name
