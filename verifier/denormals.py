"""Arithmetic on the smallest numbers as IEEE 754 has it, whatever the caller or a library has told the processor.

`torch.set_flush_denormal` and libraries built for speed make a thread take subnormal numbers for 0. Bounds allow for that where they
compute (`bounds.underflow`), but weights and images must be read as they are: a float32 weight of 1e-39 is no small matter once it is
multiplied. What is set holds for one thread: those that torch starts for itself keep what they were started with, and read no files.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def denormals_kept() -> Iterator[None]:
    """Inside, this thread keeps subnormal numbers; what was set before holds again after it. `@denormals_kept()` is a decorator."""
    was = flushed()
    if was:
        _set_flush(False)
    try:
        yield
    finally:
        if was:
            _set_flush(True)


def flushed() -> bool:
    """Whether this thread takes subnormal numbers for 0."""
    return bool(np.nextafter(np.zeros(1), 1.0)[0] * np.ones(1)[0] == 0.0)


def _set_flush(on: bool) -> None:
    import torch

    torch.set_flush_denormal(on)
