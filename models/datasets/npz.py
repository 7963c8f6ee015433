"""Any images from an .npz file: arrays `images` and `labels` (or x and y); what uint8 becomes, `units` says.

`npz:FILE#NAME` takes the arrays NAME and NAME_labels of a file that holds several sets.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from advverify.verifier.errors import InvalidInput, no_file

from .base import INTEGERS, Dataset
from .limits import check_values, read_up_to

_PREFIX, _LONGEST, _WIDEST = 12, 1 << 16, 32  # bytes: magic, version and length of a header; the header; a value


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
        with zipfile.ZipFile(path) as archive:
            arrays = {member.removesuffix(".npy"): member for member in archive.namelist() if member.endswith(".npy")}
            pairs = [(name, f"{name}_labels")] if name else [("images", "labels"), ("x", "y"), ("x_test", "y_test")]
            for pair in pairs:
                if all(each in arrays for each in pair):
                    return _dataset(path, *(_array(path, archive, arrays[each]) for each in pair))
    except InvalidInput:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise a dozen unrelated types about broken files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidInput(f"{path}: not a readable .npz of plain arrays ({reason})") from error
    held = ", ".join(arrays) or "no arrays"
    lonely = next((both for both in pairs if both[0] in arrays), None)
    if lonely is not None:
        raise InvalidInput(f"{path}: has images '{lonely[0]}' but no labels '{lonely[1]}' (it holds {held})")
    raise InvalidInput(f"{path}: holds {held}; needs arrays 'images' and 'labels', or npz:FILE#NAME")


def _array(path: Path, archive: zipfile.ZipFile, member: str) -> np.ndarray:
    """An array of the archive, whose header is looked at before anything is made of it.

    Raises:
        InvalidInput: it is none of plain values, or holds another number of them than its header says, or too many.
    """
    where = f"{path}: {member}"
    with archive.open(member) as stream:
        begin = stream.read(_PREFIX)
        if not begin.startswith(np.lib.format.MAGIC_PREFIX) or len(begin) < _PREFIX or begin[6] not in (1, 2):
            raise InvalidInput(f"{where}: not an array as numpy.savez writes it")
        short = begin[6] == 1
        length = int.from_bytes(begin[8:10] if short else begin[8:12], "little")
        if length > _LONGEST:
            raise InvalidInput(f"{where}: a header of {length} bytes; those of plain arrays are short")
        head = begin[8:] + stream.read(length - 2 if short else length)
        read = np.lib.format.read_array_header_1_0 if short else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(io.BytesIO(head))
        if dtype.hasobject:
            raise InvalidInput(f"{path}: not a readable .npz of plain arrays (arrays of Python objects)")
        if dtype.itemsize > _WIDEST or dtype.subdtype is not None:
            raise InvalidInput(f"{where}: values of type {str(dtype)[:40]}; needs numbers")
        wanted = check_values(where, shape) * dtype.itemsize
        data = read_up_to(stream, wanted, where)
        if len(data) < wanted:
            raise InvalidInput(f"{where}: truncated: the header promises {wanted} bytes")
        return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


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
