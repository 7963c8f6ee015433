"""The norms: one file each, one line in `NORMS`.

A norm knows distances, how to bring a point back into ball ∩ box, and - what bound propagation lives on - the exact
minimum of a linear function over ball ∩ box and the radius up to which that minimum stays non-negative.
"""

from __future__ import annotations

from importlib import import_module

from ..errors import InvalidInput
from .base import Norm, UnitBall

NORMS = {"0": "l0:L0", "1": "l1:L1", "2": "l2:L2", "inf": "linf:Linf"}

__all__ = ["NORMS", "Norm", "UnitBall", "get_norm"]


def get_norm(name: str | float | int, channels: int = 1) -> Norm:
    """The norm called `name`; `channels` > 1 makes norm 0 count pixels of that many tied colour channels.

    Raises:
        InvalidInput: there is no such norm.
    """
    key = str(name).lower()
    if key not in NORMS:
        key = key.removeprefix("l").removesuffix(".0")
    if key not in NORMS:
        raise InvalidInput(f"unknown norm '{name}': choose 0, 1, 2 or inf")
    module, attribute = NORMS[key].split(":")
    kind = getattr(import_module(f".{module}", __package__), attribute)
    norm: Norm = kind(channels) if kind.unit_ball is UnitBall.COUNT else kind()
    return norm
