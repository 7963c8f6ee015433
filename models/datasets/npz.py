"""Any images from an .npz file: arrays `images` and `labels` (or x and y); what uint8 becomes, `units` says.

`npz:FILE#NAME` takes the arrays NAME and NAME_labels of a file that holds several sets.
"""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from advverify.verifier.errors import InvalidInput, no_file

from .base import INTEGERS, Dataset


def load(place: str, split: str) -> Dataset:
    """Read a file; `split` is not used.

    Raises:
        InvalidInput: the file is not there or does not hold the arrays.
    """
    file, _, name = place.partition("#")
    path = Path(file)
    if not path.is_file():
        raise InvalidInput(f"{path}: {no_file(path)}; give npz:FILE with arrays 'images' and 'labels'")
    if not zipfile.is_zipfile(path):  # numpy would take it for an array or a pickle
        raise InvalidInput(f"{path}: not an .npz file; write it with numpy.savez(FILE, images=..., labels=...)")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = "arrays of Python objects" if "allow_pickle" in str(error) else str(error)
        raise InvalidInput(f"{path}: not a readable .npz of plain arrays ({reason})") from error
    pairs = [(name, f"{name}_labels")] if name else [("images", "labels"), ("x", "y"), ("x_test", "y_test")]
    for images, labels in pairs:
        if images in arrays and labels in arrays:
            return _dataset(path, arrays[images], arrays[labels])
    held = ", ".join(arrays) or "no arrays"
    lonely = next((both for both in pairs if both[0] in arrays), None)
    if lonely is not None:
        raise InvalidInput(f"{path}: has images '{lonely[0]}' but no labels '{lonely[1]}' (it holds {held})")
    raise InvalidInput(f"{path}: holds {held}; needs arrays 'images' and 'labels', or npz:FILE#NAME")


def _dataset(path: Path, images: np.ndarray, labels: np.ndarray) -> Dataset:
    if images.ndim < 2 or labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InvalidInput(f"{path}: images need a first axis of examples, labels must be a vector of integers")
    if not (np.issubdtype(images.dtype, np.number) or images.dtype == np.bool_) or np.iscomplexobj(images):
        raise InvalidInput(f"{path}: the images are of type {images.dtype}; needs real numbers")
    channels_last = images.ndim == 4 and images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3)
    if channels_last:
        images = images.transpose(0, 3, 1, 2)
    if images.dtype == np.uint8:
        return replace(Dataset.from_bytes(path.stem, images, labels), channels_last=channels_last)
    units = INTEGERS if np.issubdtype(images.dtype, np.integer) else ""
    return Dataset(path.stem, images.astype(np.float64), labels.astype(np.int64), units, channels_last)
