"""Any images from an .npz file: arrays `images` and `labels` (or x and y); bytes are divided by 255.

`npz:FILE#NAME` takes the arrays NAME and NAME_labels of a file that holds several sets.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from advverify.verifier.errors import InvalidInput

from .base import Dataset


def load(place: str, split: str) -> Dataset:
    """Read a file; `split` is not used.

    Raises:
        InvalidInput: the file is not there or does not hold the arrays.
    """
    file, _, name = place.partition("#")
    path = Path(file)
    if not path.is_file():
        raise InvalidInput(f"{path}: no such file; give npz:FILE with arrays 'images' and 'labels'")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidInput(f"{path}: not a readable .npz of plain arrays ({error})") from error
    pairs = [(name, f"{name}_labels")] if name else [("images", "labels"), ("x", "y"), ("x_test", "y_test")]
    for images, labels in pairs:
        if images in arrays and labels in arrays:
            return _dataset(path, arrays[images], arrays[labels])
    raise InvalidInput(f"{path}: holds {', '.join(arrays)}; needs arrays 'images' and 'labels', or npz:FILE#NAME")


def _dataset(path: Path, images: np.ndarray, labels: np.ndarray) -> Dataset:
    if images.ndim < 2 or labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise InvalidInput(f"{path}: images need a first axis of examples, labels must be a vector of integers")
    if images.ndim == 4 and images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)  # channels last to channels first
    if images.dtype == np.uint8:
        return Dataset.from_bytes(path.stem, images, labels)
    return Dataset(path.stem, images.astype(np.float64), labels.astype(np.int64))
