"""Regions of inputs: the minimum of linear functions over them, with every rounding accounted for, and their parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .network import Rejected
from .operators import Array

UNIT = 2.0**-53
SAFE = 1.0 + 1e-6  # covers the roundings of the error terms themselves
TINY = 2.0**-1074  # the smallest number: twice what a product or quotient may lose beside its relative rounding


def gamma(terms: int) -> float:
    """n u / (1 - n u)."""
    return terms * UNIT / (1 - terms * UNIT)


@dataclass
class Region:
    """A box, intersected with a ball around `center` of norm "1", "2" or "0" (or with none: a linf ball is a box).

    For norm 0, `channels` entries make up a pixel, plane after plane, and those `chosen` (pixels,) are counted as changed.
    """

    lower: Array
    upper: Array
    norm: str = "inf"
    center: Array | None = None
    radius: float = np.inf
    channels: int = 1
    chosen: NDArray[np.bool_] | None = None

    @classmethod
    def of(
        cls, lower: Array, upper: Array, norm: str, center: Array | None, radius: float, channels: int = 1
    ) -> Region:
        """From the statement; the box is cut to the ball's bounding box, rounded outwards."""
        if center is None:
            return cls(lower, upper)
        if norm != "0" and np.isfinite(radius):
            lower = np.maximum(lower, np.nextafter(center - radius, -np.inf))
            upper = np.minimum(upper, np.nextafter(center + radius, np.inf))
        return cls(lower, upper, norm, center, radius, channels)

    def half(self, dimension: int, threshold: float, above: bool) -> Region:
        """The part on one side of a hyperplane x[dimension] = threshold, which belongs to both."""
        lower, upper = self.lower.copy(), self.upper.copy()
        if above:
            lower[dimension] = max(lower[dimension], threshold)
        else:
            upper[dimension] = min(upper[dimension], threshold)
        return replace(self, lower=lower, upper=upper)

    @property
    def counted(self) -> NDArray[np.bool_]:
        """(pixels,): those that are counted as changed."""
        pixels = len(self.lower) // self.channels
        return np.zeros(pixels, dtype=np.bool_) if self.chosen is None else self.chosen

    @property
    def open(self) -> NDArray[np.bool_]:
        """(pixels,): those that may change but are not counted yet."""
        free = (self.lower < self.upper).reshape(self.channels, -1).any(0)
        return np.asarray(free & ~self.counted)

    def decided(self, pixel: int, changes: bool) -> Region:
        """The part of an l0 ball where a pixel is counted as changed, or the part where it is as in the center.

        Every input of the ball is in one of them. Once as many pixels are counted as the radius allows, or none is open, a
        box is left.

        Raises:
            Rejected: there is no such choice.
        """
        counted = self.counted.copy()
        if self.norm != "0" or self.center is None or not np.isfinite(self.radius) or not 0 <= pixel < len(counted):
            raise Rejected(f"there is no pixel {pixel} to choose")
        fixed = np.zeros_like(counted)
        if changes:
            counted[pixel] = True
            if counted.sum() > self.radius:
                raise Rejected("no more pixels may change")
        else:
            fixed[pixel] = True
        full = counted.sum() + 1 > self.radius
        entries = np.tile(fixed | (full & ~counted), self.channels)
        lower, upper = np.where(entries, self.center, self.lower), np.where(entries, self.center, self.upper)
        part = replace(self, lower=lower, upper=upper, chosen=counted)
        return Region(lower, upper) if full or not part.open.any() else part

    def ranges(self, a: Array) -> Array:
        """How far each pixel of an l0 ball can lower a x, a (rows, n); (rows, pixels)."""
        return np.asarray((np.abs(a) * self._room(a)).reshape(len(a), self.channels, -1).sum(1))

    def _room(self, a: Array) -> Array:
        """How far each input can move from the center to where a x falls, (rows, n)."""
        assert self.center is not None
        low, high = np.minimum(self.lower - self.center, 0.0), np.maximum(self.upper - self.center, 0.0)
        return np.where(a > 0, -low, high)

    def minimum(self, a: Array, offset: Array, magnitude: Array) -> Array:
        """Lower bounds of a x + offset over the region, a (rows, n); `magnitude` bounds the terms of `offset`."""
        size = np.maximum(np.abs(self.lower), np.abs(self.upper))
        terms = np.abs(a) @ size
        if self.norm in ("inf", "") or self.center is None or not np.isfinite(self.radius):
            value = np.where(a > 0, a * self.lower, a * self.upper).sum(-1) + offset
            return np.asarray(value - gamma(a.shape[1] + 4) * SAFE * (terms + magnitude) - (4 * a.shape[1] + 16) * TINY)
        if self.norm == "0":
            ranges, counted = self.ranges(a), self.counted
            others = np.sort(ranges[:, ~counted], axis=-1)
            count = min(int(self.radius) - int(counted.sum()), others.shape[1])
            paid = ranges[:, counted].sum(-1) + others[:, others.shape[1] - count :].sum(-1)
            change = -paid
        else:  # a = inner + outer; the ball pays for outer by its dual norm, the box for inner
            room, w = self._room(a), np.abs(a)
            outer = self._outer(w, room)
            inner = w - outer
            most = outer.max(-1)
            if self.norm == "2":  # of entries divided by the largest: no square that matters becomes 0 or infinite
                share = outer / np.where(most > 0, most, 1.0)[:, None]
                most = most * np.sqrt((share * share).sum(-1))
            ball = self.radius * most
            paid = (inner * room).sum(-1) + ball
            change = -paid
        value = a @ self.center + change + offset
        terms = 2 * terms + np.abs(a) @ np.abs(self.center) + paid
        lost = gamma(3 * a.shape[1] + 16) * SAFE * (terms + magnitude)
        return np.asarray(value - lost - (8 * a.shape[1] + 32 + 4 * self.radius) * TINY)

    def _outer(self, w: Array, room: Array) -> Array:
        """The share of |a| that is paid by the ball; any entries of [0, |a|] are valid, these come near the best."""
        if self.norm == "1":
            order = np.argsort(-w, axis=-1)
            spent = np.cumsum(np.take_along_axis(room, order, -1), -1)
            first = np.minimum((spent < self.radius).sum(-1), w.shape[1] - 1)
            level = np.take_along_axis(np.take_along_axis(w, order, -1), first[:, None], -1)
            level = np.where(spent[:, -1:] <= self.radius, 0.0, level)
            return np.asarray(np.minimum(w, level))
        low, high = np.full((len(w), 1), 1e-12), np.full((len(w), 1), 1e12)
        for _ in range(60):  # bisection for t: the best move is min(room, t |a|)
            middle = np.sqrt(low * high)
            moved = np.minimum(room, middle * w)
            inside = (moved * moved).sum(-1, keepdims=True) <= self.radius**2
            low, high = np.where(inside, middle, low), np.where(inside, high, middle)
        return np.asarray(np.minimum(w, room / low))
