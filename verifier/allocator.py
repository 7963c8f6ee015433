"""Keeps freed memory in the process: tensors of some MiB come and go all the time.

glibc hands blocks of that size back to the system and asks for them afresh, and the system clears every page of them
again; on convolutional networks that costs as much as the arithmetic. What the process holds at most hardly changes.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# Of mallopt(3): the last argument of each is a size in bytes.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3


@cache
def keep_freed_memory() -> None:
    """Once a process; nothing happens where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, 1 << 30)
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
        mallopt(_TOP_PAD, 1 << 26)
