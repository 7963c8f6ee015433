"""CIFAR-10 from its binary or Python batches, or from folders or zips of class-named images; fetched where missing."""

from __future__ import annotations

import io
import pickle
import tarfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from advverify.verifier.errors import InvalidInput

from .base import Dataset
from .fetch import Source, fetch
from .limits import MOST_IMAGE, read_up_to

_SIDE = 32  # pixels

_ARCHIVE = Source(
    "cifar-10-binary.tar.gz",
    "c32a1d4ab5d03f1284b67883e8d87530",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_KNOWN = ("cifar-10", "data_batch", "test_batch", "train", "test")
_BATCHES = {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]}


def load(place: str, split: str) -> Dataset:
    """Read a folder, whichever of the three layouts it has.

    Raises:
        InvalidInput: none of the layouts is there, or a file is broken.
    """
    folder = Path(place)
    standard = _standard(folder, split)
    if standard is not None:
        return standard
    found = list(_named_images(folder, split))
    if found:
        images = np.stack([image for image, _ in found]).transpose(0, 3, 1, 2)
        return Dataset.from_bytes("cifar10", images, np.array([label for _, label in found]))
    if (folder / split).is_dir() or any(folder.glob(f"{split}*.zip")):  # its images are meant, and nothing is fetched
        raise InvalidInput(
            f"{folder}: no images in {split}*.zip or the folder {split}; needs {split}/<class>/*.png or .jpg, the classes are "
            f"{', '.join(CLASSES)}"
        )
    try:
        _unpack(fetch(_ARCHIVE, folder, _KNOWN), folder / "cifar-10-batches-bin")
    except InvalidInput as error:
        raise InvalidInput(
            f"{folder}: holds no CIFAR-10: needs {_BATCHES[split][0]}.bin or {_BATCHES[split][0]} of the standard "
            f"distribution, or {split}/<class>/*.png or .jpg as a folder or inside a {split}*.zip ({error})"
        ) from error
    standard = _standard(folder, split)
    assert standard is not None
    return standard


def _standard(folder: Path, split: str) -> Dataset | None:
    """From the batches of either standard distribution, where they are."""
    for root in (folder, folder / "cifar-10-batches-bin", folder / "cifar-10-batches-py"):
        if all((root / f"{name}.bin").is_file() for name in _BATCHES[split]):
            return _from_binary([root / f"{name}.bin" for name in _BATCHES[split]])
        if all((root / name).is_file() for name in _BATCHES[split]):
            return _from_python([root / name for name in _BATCHES[split]])
    return None


def _unpack(archive: Path, folder: Path) -> None:
    """The batches, and nothing else, of the fetched archive."""
    folder.mkdir(exist_ok=True)
    with tarfile.open(archive) as pack:
        for name in (f"{stem}.bin" for stems in _BATCHES.values() for stem in stems):
            content = pack.extractfile(f"cifar-10-batches-bin/{name}")
            assert content is not None, "the archive's hash was checked"
            (folder / name).write_bytes(content.read())


def _from_binary(paths: list[Path]) -> Dataset:
    raw = b"".join(path.read_bytes() for path in paths)
    if not raw or len(raw) % 3073:
        raise InvalidInput(f"{paths[0]}: not a CIFAR-10 binary batch (records of 3073 bytes)")
    records = np.frombuffer(raw, np.uint8).reshape(-1, 3073)
    return Dataset.from_bytes("cifar10", records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0])


class _ArraysOnly(pickle.Unpickler):
    """Admits numpy arrays and nothing else, so that a batch cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        """Only what numpy arrays are made of."""
        allowed = {("_reconstruct", "multiarray"), ("ndarray", "numpy"), ("dtype", "numpy"), ("encode", "_codecs")}
        if (name, module.split(".")[-1]) in allowed and module.split(".")[0] in ("numpy", "_codecs"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"refuses {module}.{name}")


def _from_python(paths: list[Path]) -> Dataset:
    images, labels = [], []
    for path in paths:
        try:
            batch = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="bytes").load()
            images.append(np.asarray(batch[b"data"], dtype=np.uint8).reshape(-1, 3, 32, 32))
            labels.append(np.asarray(batch[b"labels"], dtype=np.int64))
        except Exception as error:  # unpickling and numpy raise whatever a broken stream leads them to
            why = " ".join(str(error).split())[:200] or type(error).__name__
            raise InvalidInput(f"{path}: not a CIFAR-10 Python batch ({why})") from error
    return Dataset.from_bytes("cifar10", np.concatenate(images), np.concatenate(labels))


def _named_images(folder: Path, split: str) -> Iterator[tuple[np.ndarray, int]]:
    """Images under <split>/<class>/ of a folder or of the zips that start with the split's name, in name order."""
    for label, name in enumerate(CLASSES):
        for path in sorted((folder / split / name).glob("*")):
            with path.open("rb") as stream:
                yield _decode(read_up_to(stream, MOST_IMAGE, str(path)), str(path)), label
    for archive in sorted(folder.glob(f"{split}*.zip")):
        try:
            with zipfile.ZipFile(archive) as pack:
                members = sorted(m for m in pack.namelist() if m.startswith(f"{split}/") and not m.endswith("/"))
                for member in members:
                    parts = member.split("/")
                    if len(parts) == 3 and parts[1] in CLASSES:
                        with pack.open(member) as stream:
                            content = read_up_to(stream, MOST_IMAGE, f"{archive}:{member}")
                        yield _decode(content, f"{archive}:{member}"), CLASSES.index(parts[1])
        except InvalidInput:
            raise
        except Exception as error:  # zipfile and the three ways to pack raise a dozen unrelated types
            why = " ".join(str(error).split())[:200]
            raise InvalidInput(f"{archive}: not a readable zip ({why})") from error


def _decode(raw: bytes, where: str) -> np.ndarray:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what broken metadata says; the pixels are what counts
            with Image.open(io.BytesIO(raw)) as image:
                width, height = image.size
                if (width, height) == (_SIDE, _SIDE):  # before anything is unpacked
                    return np.asarray(image.convert("RGB"))
    except Exception as error:  # Pillow's readers raise a dozen unrelated types about broken files
        raise InvalidInput(f"{where}: not a readable image") from error
    raise InvalidInput(f"{where}: is {width}x{height}, CIFAR-10 images are 32x32")
