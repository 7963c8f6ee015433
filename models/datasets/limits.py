"""How much a file of images may hold: said before memory is taken for it, since a small file may unpack to anything."""

from __future__ import annotations

import gzip
import math
from collections.abc import Sequence
from typing import IO

from advverify.verifier.errors import InvalidInput

MOST_VALUES = 1 << 28  # of all images, which take 2 GiB as float64
MOST_IMAGE = 1 << 22  # bytes of the file of one image


def check_values(where: str, shape: Sequence[int]) -> int:
    """The number of values of an array.

    Raises:
        InvalidInput: more than are read.
    """
    count = math.prod(int(n) for n in shape)
    if count > MOST_VALUES or any(n < 0 for n in shape):
        raise InvalidInput(
            f"{where}: an array of shape {_short(shape)}; up to {MOST_VALUES >> 20} million values are read, split the set"
        )
    return count


def read_up_to(stream: IO[bytes] | gzip.GzipFile, count: int, where: str) -> bytes:
    """All that a stream still holds.

    Raises:
        InvalidInput: more than `count` bytes.
    """
    data = stream.read(count + 1)
    if len(data) > count:
        raise InvalidInput(f"{where}: holds more than the {count} bytes that it may")
    return data


def _short(shape: Sequence[int]) -> str:
    text = " x ".join(str(int(n)) for n in shape[:6])
    return text + (" x ..." if len(shape) > 6 else "")
