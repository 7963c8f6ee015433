"""Lower bounds on linear functions of a ReLU network's values, in float64 with every rounding accounted for.

A backward pass carries coefficients from a node to the input; each ReLU is replaced by a line below or above it (any
slope in [0, 1] is valid below), each split constraint enters with a multiplier >= 0 (weak duality: any is valid). Or the
coefficient that goes on is given: whatever it is, what is left of the ReLU has its minimum at an end or at 0. The
coefficients, once computed, are taken as exact; what a step may have lost is at most gamma_n |a| |A| X with X a bound
on the magnitude of what is read (Higham, Accuracy and Stability of Numerical Algorithms, section 3.1). A product that is
too small to be rounded relatively is off by half the smallest number besides (section 2.1), which `floor` adds up. No
constant is a matter of taste: n counts roundings, in any order of summation. What overflows ends as infinity or NaN, and
a bound that is not a finite number proves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .network import Network, Rejected
from .operators import Array
from .region import SAFE, TINY, UNIT, Region, gamma

_ENTRIES = 1 << 18  # coefficients on one node in one pass: what a cache holds


@dataclass
class Bounds:
    """lower <= value <= upper of what each ReLU reads, by ReLU number; each (members, size)."""

    lower: list[Array]
    upper: list[Array]

    def split(self, phases: list[NDArray[np.int8]]) -> Bounds:
        """Cut to phases (members, size) by ReLU number: +1 active, -1 inactive, 0 open."""
        lower = [np.where(p > 0, np.maximum(b, 0.0), b) for p, b in zip(phases, self.lower, strict=True)]
        upper = [np.where(p < 0, np.minimum(b, 0.0), b) for p, b in zip(phases, self.upper, strict=True)]
        return Bounds(lower, upper)


class Relaxation:
    """Rounding losses on one region, and the passes that use them; every part of the region may use it too.

    Attributes:
        intervals: lower and upper sides of every node's values.
        loss: what a pass may lose at every node's entries, for each unit of a coefficient.
        floor: what it may lose at a node besides, by underflow of coefficients and products.
    """

    def __init__(self, network: Network, region: Region) -> None:
        """One pass of magnitudes."""
        self.network, self.region = network, region
        self.intervals: list[tuple[Array, Array]] = []
        self.loss: list[Array] = []
        self.floor: list[float] = []
        largest: list[Array] = []
        for i, node in enumerate(network.nodes):
            few = 8 * node.size  # products of a coefficient with a bias, a shift or a loss
            if i == 0:
                low, high = region.lower, region.upper
                loss, under = np.zeros(node.size), 0.0
            elif node.relu >= 0:
                low, high = (np.maximum(side, 0.0) for side in self.intervals[node.relu])
                loss = largest[node.relu] * gamma(node.size + network.readers[node.relu] + 8) + 8 * TINY
                under = few + 4 * float(largest[node.relu].sum())
            elif node.pool >= 0:
                low, high = (side[node.windows].max(-1) for side in self.intervals[node.pool])
                overlap = int(np.bincount(node.windows.ravel()).max())
                loss = (
                    largest[node.pool][node.windows].max(-1)
                    * gamma(node.size + overlap + network.readers[node.pool] + 8)
                    + 8 * TINY
                )
                under = few + 4 * float(largest[node.pool].sum())
            else:
                spread = np.abs(node.bias) + node.bias_error
                products = sum(term.forward_terms for _, term in node.terms) + 8
                loss = node.bias_error + spread * gamma(node.size + 4) + 4 * products * TINY
                middle, half, under = node.bias, node.bias_error + 4 * products * TINY, float(few)
                for j, term in node.terms:
                    (below, above), absolute = self.intervals[j], term.absolute()
                    middle = middle + term.apply((below + above) / 2)
                    half = half + absolute.apply((above - below) / 2 + TINY)
                    # A factor that is itself a quotient may be too small to be rounded relatively.
                    reached = absolute.apply(largest[j]) + 4 * TINY * float(largest[j].max(initial=0.0))
                    spread = spread + reached
                    loss = loss + gamma(term.backward_terms + network.readers[j] + 4) * reached
                    loss = loss + 8 * TINY * float(largest[j].max(initial=0.0))
                    half = half + 8 * TINY * float(largest[j].max(initial=0.0))
                    under += 2 * (term.backward_terms + 4) * float(largest[j].sum())
                terms = max((t.forward_terms for _, t in node.terms), default=0)
                half = half + SAFE * gamma(terms + 2 * len(node.terms) + 12) * spread
                low, high = middle - half, middle + half
            self.intervals.append((low, high))
            limit = network.unclipped.get(i, np.inf)
            if limit < np.inf and not (low.min() > -limit and high.max() < limit):
                raise Rejected("values may reach a limit of Clip that is the largest number of its type")
            largest.append(np.maximum(np.abs(low), np.abs(high)) * SAFE)
            self.loss.append(loss * SAFE)
            self.floor.append(under * TINY * SAFE + TINY)

    def lower_bounds(
        self,
        start: Mapping[int, Array],
        offset: Array,
        bounds: Bounds,
        owner: NDArray[np.int64],
        slopes: Mapping[int, Array] | None = None,
        betas: Mapping[int, Array] | None = None,
        region: Region | None = None,
        passed: Mapping[int, Array] | None = None,
    ) -> Array:
        """The minimum over the region of what `lower_lines` gives, (rows,)."""
        coefficients, offset, magnitude = self.lower_lines(start, offset, bounds, owner, slopes, betas, passed)
        value = (region or self.region).minimum(coefficients, offset, magnitude)
        if not np.isfinite(value).all():
            raise Rejected("a bound is not a finite number")
        return value

    def lower_lines(
        self,
        start: Mapping[int, Array],
        offset: Array,
        bounds: Bounds,
        owner: NDArray[np.int64],
        slopes: Mapping[int, Array] | None = None,
        betas: Mapping[int, Array] | None = None,
        passed: Mapping[int, Array] | None = None,
    ) -> tuple[Array, Array, Array]:
        """Coefficients (rows, inputs), offsets and magnitudes of linear functions of the input that lie below sums.

        The sums are of start[node] (rows, size) times value, plus offset (rows,).

        Args:
            start: coefficients by node.
            offset: constants.
            bounds: of ReLU inputs, by member; splits applied.
            owner: (rows,) the member whose bounds a row uses.
            slopes: by ReLU number, lower slopes (rows, size), NaN for the default; clipped to [0, 1].
            betas: by ReLU number, signed multipliers (rows, size) on what the ReLU reads: >= 0 where it is split
                inactive, <= 0 where active. Signs are the caller's to check.
            passed: by ReLU number, the coefficients p (rows, size) on what the ReLU reads, h, that go on from it, any
                finite numbers, NaN where slopes and betas say: a relu(h) >= p h + min over [l, u] of a relu(h) - p h.
        """
        number = {i: k for k, i in enumerate(self.network.relus)}
        pending, magnitude = dict(start), np.abs(offset)
        for i in range(max(pending), 0, -1):
            if i not in pending:
                continue
            a, node = pending.pop(i), self.network.nodes[i]
            lost = np.abs(a) @ self.loss[i] + self.floor[i]
            offset = offset - lost
            magnitude = magnitude + lost
            if node.pool >= 0:
                low, high = self._read(node.pool, bounds)
                if len(low) > 1:
                    low, high = low[owner], high[owner]
                part, step = self._pool(a, node.windows, low, high)
                pending[node.pool] = pending[node.pool] + part if node.pool in pending else part
            elif node.relu < 0:
                step = a @ node.bias
                for j, term in node.terms:
                    part = term.transposed(a)
                    pending[j] = pending[j] + part if j in pending else part
            else:
                k = number[i]
                low, high = bounds.lower[k], bounds.upper[k]
                if len(low) > 1:
                    low, high = low[owner], high[owner]
                below, above, shift = relax(low, high)
                if slopes is not None and k in slopes:
                    chosen = np.clip(slopes[k], 0.0, 1.0)
                    below = np.where((low < 0) & (high > 0) & ~np.isnan(chosen), chosen, below)
                drop, after = np.minimum(a, 0.0) * shift, a * np.where(a < 0, above, below)
                if passed is not None and k in passed:
                    given = ~np.isnan(passed[k])
                    p = np.where(given, passed[k], 0.0)
                    drop = np.where(given, least(a, p, low, high), drop)
                    after = np.where(given, p, after)
                    lost = np.abs(p) @ self.loss[i]
                    offset, magnitude = offset - lost, magnitude + lost
                step, a = drop.sum(-1), after
                if betas is not None and k in betas:
                    a = a + betas[k]
                    lost = np.abs(betas[k]) @ self.loss[i]
                    offset, magnitude = offset - lost, magnitude + lost
                pending[node.relu] = pending[node.relu] + a if node.relu in pending else a
            offset, magnitude = offset + step, magnitude + np.abs(step)
        coefficients = pending.get(0, np.zeros((len(offset), self.network.nodes[0].size)))
        magnitude = magnitude * (1 + gamma(8 * len(self.network.nodes)) * SAFE)
        return coefficients, offset, 4 * len(self.network.nodes) * magnitude

    def _read(self, j: int, bounds: Bounds) -> tuple[Array, Array]:
        """Bounds (members or 1, size) of what a maximum reads: of ReLUs those that are proved, else intervals."""
        if self.network.nodes[j].relu < 0:
            return self.intervals[j][0][None], self.intervals[j][1][None]
        k = self.network.relus.index(j)
        return np.maximum(bounds.lower[k], 0.0), np.maximum(bounds.upper[k], 0.0)

    @staticmethod
    def _pool(a: Array, windows: NDArray[np.int64], low: Array, high: Array) -> tuple[Array, Array]:
        """Coefficients on the members of maxima, and constants.

        A maximum is at least its member of largest lower bound, and equal to it where that beats all other members; else
        it is at most the largest upper bound.
        """
        below, above = low[:, windows], high[:, windows]
        best = below.argmax(-1)
        member = np.take_along_axis(np.broadcast_to(windows, below.shape), best[..., None], -1)[..., 0]
        others = np.where(windows == member[..., None], -np.inf, above).max(-1)
        sure = np.take_along_axis(below, best[..., None], -1)[..., 0] >= others
        step = (np.where(sure, 0.0, np.minimum(a, 0.0)) * above.max(-1)).sum(-1)
        kept = np.where(sure, a, np.maximum(a, 0.0))
        part = np.zeros((len(a), low.shape[1]))
        rows = np.broadcast_to(np.arange(len(a))[:, None], kept.shape)
        np.add.at(part, (rows, np.broadcast_to(member, kept.shape)), kept)
        return part, step

    def crown(self, bounds: Bounds, region: Region | None = None) -> Bounds:
        """Backward passes for every open neuron, ReLU by ReLU, with the default slopes; for each member."""
        result = Bounds([], [])
        for k, i in enumerate(self.network.relus):
            read = self.network.nodes[i].relu
            lower, upper = bounds.lower[k].copy(), bounds.upper[k].copy()
            members, neurons = np.nonzero((lower < 0) & (upper > 0))
            size = max(node.size for node in self.network.nodes[: i + 1])
            chunk = max(1, _ENTRIES // size)
            for begin in range(0, len(members), chunk):
                owner, index = members[begin : begin + chunk], neurons[begin : begin + chunk]
                for sign, side in ((1.0, lower), (-1.0, upper)):
                    start = np.zeros((len(index), self.network.nodes[read].size))
                    start[np.arange(len(index)), index] = sign
                    value = self.lower_bounds({read: start}, np.zeros(len(index)), result, owner, region=region)
                    side[owner, index] = (np.maximum if sign > 0 else np.minimum)(side[owner, index], sign * value)
            result.lower.append(np.minimum(lower, upper))
            result.upper.append(np.maximum(lower, upper))
        return result

    def start(self) -> Bounds:
        """Intervals of what ReLUs read, as bounds of one member."""
        read = [self.network.nodes[i].relu for i in self.network.relus]
        return Bounds([self.intervals[j][0][None] for j in read], [self.intervals[j][1][None] for j in read])


def least(a: Array, p: Array, low: Array, high: Array) -> Array:
    """The minimum of a relu(h) - p h over [low, high], which is at an end or at 0."""
    ends = [a * np.maximum(h, 0.0) - p * h for h in (low, high)]
    return np.asarray(np.minimum(np.minimum(*ends), np.where((low < 0) & (high > 0), 0.0, np.inf)))


def relax(low: Array, high: Array) -> tuple[Array, Array, Array]:
    """Default lower slope, upper slope and upper offset of ReLUs on [low, high]; the upper line holds as rounded."""
    down, up = np.minimum(low, 0.0), np.maximum(high, 0.0)
    slope = np.where(low >= 0, 1.0, np.where(high <= 0, 0.0, up / np.maximum(up - down, 1e-300)))
    shift = np.maximum(-slope * down, (1 - slope) * up) * (1 + 8 * UNIT) + 4 * TINY
    shift = np.where((low >= 0) | (high <= 0), 0.0, shift)
    below = np.where(low >= 0, 1.0, np.where(high <= 0, 0.0, (up > -down).astype(np.float64)))
    return below, slope, shift
