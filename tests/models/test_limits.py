"""Files of images that unpack to more than anybody wants: refused before memory is taken for them."""

import gzip
import io
import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from advverify.models.datasets import load_dataset
from advverify.models.datasets.limits import MOST_VALUES
from advverify.verifier.errors import InvalidInput


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


def mnist(folder: Path, images: bytes) -> str:
    (folder / "t10k-images-idx3-ubyte.gz").write_bytes(images)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + struct.pack(">I", 1) + b"\x03")
    return f"mnist:{folder}"


def test_a_small_file_that_unpacks_to_much(tmp_path: Path) -> None:
    """Two members of zeros, 64 MiB each, behind a header that promises 16 bytes."""
    bomb = gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", 1, 4, 4) + bytes(16)) + 2 * gzip.compress(
        bytes(64 << 20), 1
    )
    before = peak()
    with pytest.raises(InvalidInput, match="holds more than the 16 bytes"):
        load_dataset(mnist(tmp_path, bomb))
    assert peak() - before < 32


@pytest.mark.parametrize("sizes", [(0xFFFFFFFF, 28, 28), (1 << 16, 1 << 10, 1 << 10)])
def test_headers_that_promise_too_much(sizes: tuple[int, ...], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=f"up to {MOST_VALUES >> 20} million values are read"):
        load_dataset(mnist(tmp_path, gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", *sizes))))


def archive(path: Path, header: bytes, content: bytes, version: int = 1) -> str:
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    labels = io.BytesIO()
    np.save(labels, np.arange(1))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("images.npy", b"\x93NUMPY" + bytes((version, 0)) + size + header + content)
        target.writestr("labels.npy", labels.getvalue())
    return f"npz:{path}"


@pytest.mark.parametrize(
    ("header", "version", "message"),
    [
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1000000000000)}", 1, "million values are read"),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 9)}", 1, "truncated: the header promises 72 bytes"),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1)}", 1, "holds more than the 8 bytes"),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 1)}", 1, "million values"),
        (b"{'descr': '|O', 'fortran_order': False, 'shape': (1, 1)}", 1, "arrays of Python objects"),
        (b"{'descr': '<U9999', 'fortran_order': False, 'shape': (1, 1)}", 1, "needs numbers"),
        (b" " * (1 << 24), 2, "a header of 16777216 bytes"),
        (b"[" * 9000, 2, "not a readable .npz of plain arrays"),
    ],
    ids=range(8),
)
def test_arrays_under_headers_that_lie(header: bytes, version: int, message: str, tmp_path: Path) -> None:
    before = peak()
    with pytest.raises(InvalidInput, match=message):
        load_dataset(archive(tmp_path / "a.npz", header, bytes(40), version))
    assert peak() - before < 64


def test_what_numpy_writes_is_read(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for images in (
        rng.random((3, 1, 4, 4)),
        np.asfortranarray(rng.random((3, 5))),
        rng.random((3, 4)).astype(np.float32),
    ):
        np.savez_compressed(tmp_path / "a.npz", images=images, labels=np.arange(3), other="words")
        data = load_dataset(f"npz:{tmp_path / 'a.npz'}")
        assert np.array_equal(data.images, images.astype(np.float64)) and data.labels.tolist() == [0, 1, 2]


def test_an_image_that_says_it_is_huge(tmp_path: Path) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(buffer, "png")
    content = bytearray(buffer.getvalue())
    content[16:24] = struct.pack(">II", 60000, 60000)
    with zipfile.ZipFile(tmp_path / "test.zip", "w") as target:
        target.writestr("test/cat/1.png", bytes(content))
    with pytest.raises(InvalidInput, match="not a readable image|is 60000x60000"):
        load_dataset(f"cifar10:{tmp_path}")
