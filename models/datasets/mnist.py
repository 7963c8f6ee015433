"""MNIST and Fashion-MNIST from the four standard idx files, plain or .gz, fetched where they are missing."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from advverify.verifier.errors import InvalidInput

from .base import Dataset
from .fetch import Source, fetch
from .limits import check_values, read_up_to

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
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return _idx(stream, path)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidInput(f"{path}: not a readable gzip file ({error})") from error


def _idx(stream: IO[bytes] | gzip.GzipFile, path: Path) -> np.ndarray:
    """The array of an idx file: the header says how much there is to read."""
    head = stream.read(4)
    if len(head) < 4 or head[:3] != b"\x00\x00\x08":
        raise InvalidInput(f"{path}: not an idx file of bytes")
    sizes = stream.read(4 * head[3])
    if len(sizes) < 4 * head[3]:
        raise InvalidInput(f"{path}: truncated in its header")
    shape = [int(n) for n in np.frombuffer(sizes, ">u4")]
    count = check_values(str(path), shape)
    data = read_up_to(stream, count, str(path))
    if len(data) != count:
        raise InvalidInput(f"{path}: truncated: the header promises {shape} entries")
    if len(shape) > 3:
        raise InvalidInput(f"{path}: holds neither images nor labels, but {len(shape)} axes")
    return np.frombuffer(data, np.uint8).reshape(shape)
