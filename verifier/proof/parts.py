"""Proofs by parts of the input region: halved boxes, and for l0 balls a choice of the pixels that change."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checker.check import Case, part_bound
from ..checker.region import Region
from ..engines.branch_and_bound.support.domain import bounds_by_first, heavier_half
from .file import Unproved


def parts(case: Case, polytope: int, deadline: float) -> dict[str, NDArray[Any]]:
    """Arrays of a step that parts the region until CROWN settles every part, depth first.

    Of l0 balls pixels are chosen, in the order of what they can lower the bound by, up to the one from which on it is
    positive; of boxes the side is halved that the bounds depend on most.

    Args:
        case: what the checker knows of the region.
        polytope: number of the unsafe set.
        deadline: by `time.perf_counter`.

    Raises:
        Unproved: time is out, or a box is too small to be halved.
    """
    unsafe = case.unsafe[polytope]
    dimensions: list[int] = []
    thresholds: list[float] = []
    open_: list[tuple[Region, list[int]]] = [(case.region, [])]  # with pixels to choose before a bound is worth it
    while open_:
        if time.perf_counter() > deadline:
            raise Unproved("no proof within the time limit")
        region, pixels = open_.pop()
        if not pixels:
            bound, lines = part_bound(case.network, region, unsafe)
            if bound > 0:
                dimensions.append(-1)
                thresholds.append(0.0)
                continue
            pixels = _pixels_to_choose(region, bound, lines[:1])
        if pixels:
            dimensions.append(-2 - pixels[0])
            thresholds.append(0.0)
            open_ += [(region.decided(pixels[0], False), pixels[1:]), (region.decided(pixels[0], True), [])]
            continue
        strength = np.abs(lines).max(0)
        side = int((np.maximum(strength, 0.1 * strength.max()) * (region.upper - region.lower)).argmax())
        middle = float((region.lower[side] + region.upper[side]) / 2)
        if not region.lower[side] < middle < region.upper[side]:
            raise Unproved("a box became too small to be halved")
        dimensions.append(side)
        thresholds.append(middle)
        open_ += [(region.half(side, middle, True), []), (region.half(side, middle, False), [])]
    return {"dimensions": np.array(dimensions, dtype=np.int32), "thresholds": np.array(thresholds)}


def _pixels_to_choose(region: Region, bound: float, line: NDArray[Any]) -> list[int]:
    """The open pixels of an l0 ball that matter to a bound with coefficients (1, n), those of the largest ranges first.

    If none of them changes, the bound is positive, or half of what all can lower it by is gone. None for a box.
    """
    if region.norm != "0" or region.center is None:
        return []
    pixels, room = np.flatnonzero(region.open), int(region.radius) - int(region.counted.sum())
    if room < 1 or len(pixels) == 0:
        return []
    ranges = region.ranges(line)[0, pixels]
    order = np.argsort(-ranges)
    pixels, ranges = pixels[order], ranges[order]
    parts = bounds_by_first(bound + float(ranges[:room].sum()), ranges, room)
    first = int((parts <= 0).sum()) if parts[-1] > 0 else heavier_half(ranges)
    return [int(pixel) for pixel in pixels[:first]]
