"""Arithmetic on the smallest numbers as IEEE 754 has it, whatever the caller or a library has told the processor.

`torch.set_flush_denormal` and libraries built for speed make a thread take subnormal numbers for 0. Bounds allow for that where they compute
(`bounds.underflow`), but weights and images must be read as they are: a float32 weight of 1e-39 is no small matter once it is multiplied.
"""

from __future__ import annotations

from contextlib import ContextDecorator

import numpy as np


class DenormalsKept(ContextDecorator):
    """Inside, this thread keeps subnormal numbers; what was set before holds again after it. Also a decorator."""

    def __init__(self) -> None:
        """Nothing is asked or set yet."""
        self._flushed: list[bool] = []

    def __enter__(self) -> None:
        """Look, and set what is needed."""
        self._flushed.append(flushed())
        if self._flushed[-1]:
            _set_flush(False)

    def __exit__(self, *_: object) -> None:
        """As it was."""
        if self._flushed.pop():
            _set_flush(True)

    def _recreate_cm(self) -> DenormalsKept:
        """Each call of a decorated function has a memory of its own."""
        return DenormalsKept()


def flushed() -> bool:
    """Whether this thread takes subnormal numbers for 0."""
    return bool(np.nextafter(np.zeros(1), 1.0)[0] * np.ones(1)[0] == 0.0)


def _set_flush(on: bool) -> None:
    import torch

    torch.set_flush_denormal(on)
