"""MNIST and its relatives from the four standard idx files, plain or .gz."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from advverify.verifier.errors import InvalidInput

from .base import Dataset

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def load(place: str, split: str) -> Dataset:
    """Read a folder.

    Raises:
        InvalidInput: names the file that is missing or broken.
    """
    images, labels = (_read_idx(Path(place), stem) for stem in FILES[split])
    if images.ndim != 3 or labels.ndim != 1:
        raise InvalidInput(f"{place}: the idx files do not hold images and labels")
    return Dataset.from_bytes("mnist", images[:, None], labels)


def _read_idx(folder: Path, stem: str) -> np.ndarray:
    for path in (folder / stem, folder / f"{stem}.gz"):
        if not path.is_file():
            continue
        try:
            raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except (OSError, EOFError) as error:
            raise InvalidInput(f"{path}: not a readable gzip file ({error})") from error
        if len(raw) < 4 or raw[:3] != b"\x00\x00\x08":
            raise InvalidInput(f"{path}: not an idx file of bytes")
        rank = raw[3]
        shape = np.frombuffer(raw, ">u4", rank, 4) if len(raw) >= 4 + 4 * rank else np.zeros(0)
        data = np.frombuffer(raw, np.uint8, offset=4 + 4 * rank)
        if len(shape) != rank or len(data) != int(np.prod(shape.astype(np.int64))):
            raise InvalidInput(f"{path}: truncated: the header promises {shape.tolist()} entries")
        return data.reshape(shape.astype(np.int64))
    raise InvalidInput(f"{folder}: needs the file {stem} or {stem}.gz of MNIST's standard distribution")
