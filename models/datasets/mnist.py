"""MNIST and Fashion-MNIST from the four standard idx files, plain or .gz, fetched where they are missing."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from advverify.verifier.errors import InvalidInput

from .base import Dataset
from .fetch import Source, fetch

FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


_KNOWN = tuple(stem for stems in FILES.values() for stem in stems)
_MIRRORS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion-mnist": "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
}
_MD5 = {
    "mnist": {
        "train-images-idx3-ubyte": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte": "ec29112dd5afa0611ce80d1b7f02629c",
    },
    "fashion-mnist": {
        "train-images-idx3-ubyte": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte": "bb300cfdad3c16e7a12a480ee83cd310",
    },
}


def load(place: str, split: str) -> Dataset:
    """MNIST from a folder.

    Raises:
        InvalidInput: names the file that is missing or broken.
    """
    return _load("mnist", Path(place), split)


def load_fashion(place: str, split: str) -> Dataset:
    """Fashion-MNIST from a folder.

    Raises:
        InvalidInput: names the file that is missing or broken.
    """
    return _load("fashion-mnist", Path(place), split)


def _load(name: str, folder: Path, split: str) -> Dataset:
    images, labels = (_read_idx(name, folder, stem) for stem in FILES[split])
    if images.ndim != 3 or labels.ndim != 1:
        raise InvalidInput(f"{folder}: the idx files do not hold images and labels")
    return Dataset.from_bytes(name, images[:, None], labels)


def _find(name: str, folder: Path, stem: str) -> Path:
    for path in (folder / stem, folder / f"{stem}.gz"):
        if path.is_file():
            return path
    return fetch(Source(f"{stem}.gz", _MD5[name][stem], (f"{_MIRRORS[name]}{stem}.gz",)), folder, _KNOWN)


def _read_idx(name: str, folder: Path, stem: str) -> np.ndarray:
    path = _find(name, folder, stem)
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
