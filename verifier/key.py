"""The one content key: equal questions have equal keys, wherever an answer is kept (`--out`, batch stores, proof files)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from advverify import __version__

KEY_VERSION = 4  # of what is hashed here, and how


def content_key(parts: Mapping[str, Any], *arrays: np.ndarray) -> str:
    """A hash of everything that an answer depends on, as 32 hexadecimal digits.

    The version of advverify is part of it, since another version may answer better. What cannot change an answer (threads,
    devices, paths, names) is the caller's to leave out.

    Args:
        parts: names and plain values (what JSON knows), in any order.
        arrays: numbers of any shape, hashed as float64 with their shapes.

    Raises:
        TypeError: a value that JSON does not know.
    """
    head = {
        "key": KEY_VERSION,
        "version": __version__,
        "parts": dict(parts),
        "shapes": [array.shape for array in arrays],
    }
    digest = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()[:32]
