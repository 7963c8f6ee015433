"""Bound propagation for all open pairs at once, each step for what the cheaper ones left open.

CROWN; then alpha-CROWN on the outputs. For distances CROWN is also run on a ladder of smaller balls, which gives a
lower side where the full ball gives none.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..bounds import InputSet, crown
from ..bounds.alpha_crown import AlphaCrown, raise_bounds
from ..bounds.backward import LinearForm, Start
from ..specification import Region
from .state import Pair, SearchState

_LADDER = (0.9, 0.75, 0.6, 0.45, 0.3, 0.2, 0.1, 0.05)


def value_of(state: SearchState, bound: Tensor, form: LinearForm, inputs: InputSet) -> Tensor:
    """What a bound proves, in the units of the query; (batch,), best over rows.

    A violation for certification. For distances: the radius up to which the linear bound stays positive, and
    infinity where it does on the whole search region.
    """
    if not state.distances:
        return bound.amax(-1)
    radius = inputs.certified_radius(form.coefficients, form.offset, form.bend)
    if state.count_norm:  # r changed entries do no harm, so the distance is at least r + 1
        radius = radius + 1
    radius = torch.where(bound > 0, torch.full_like(radius, torch.inf), radius)
    return radius.amax(-1)


class Propagate:
    """Settles most pairs in milliseconds."""

    name = "propagate"

    def run(self, state: SearchState, deadline: float) -> None:
        """Case by case."""
        for case in state.excluded.cases:
            region = state.search_region(case.region)
            for step in (self._crown, self._ladder, self._alpha):
                pairs = [pair for pair in state.open_pairs if pair.case is case]
                if pairs and not state.done and state.elapsed < deadline:
                    step(state, region, pairs)

    def _crown(self, state: SearchState, region: Region, pairs: list[Pair]) -> None:
        if "unstable_relus" not in state.statistics:
            state.statistics["unstable_relus"] = state.bounds(region).unstable_count(state.network)
        self._bound(state, region, pairs, AlphaCrown(steps=0))

    def _ladder(self, state: SearchState, region: Region, pairs: list[Pair]) -> None:
        """One batch of shrinking balls: what is proved on a ball of radius r is a distance of at least r."""
        if not state.distances or state.count_norm or region.ball is None or not np.isfinite(region.ball.radius):
            return
        radii = [share * region.ball.radius for share in _LADDER]
        balls = [state.query.specification.with_radius(radius).region for radius in radii]
        inputs, network = state.region_bounds.inputs(*balls), state.region_bounds.working
        with torch.no_grad():
            bounds = crown(network, inputs)
            rows, offset = state.rows(pairs)
            for k, pair in enumerate(pairs):
                count = len(balls)
                start = Start.output(network, rows[k].expand(count, -1, -1), offset[k].expand(count, -1))
                best = raise_bounds(network, inputs, start, bounds, options=AlphaCrown(steps=0))
                values = torch.minimum(
                    value_of(state, best.bound, best.form, inputs), torch.tensor(radii, dtype=torch.float64)
                )
                state.prove(pair, min(float(values.max()), state.goal), self.name)

    def _alpha(self, state: SearchState, region: Region, pairs: list[Pair]) -> None:
        self._bound(state, region, pairs, AlphaCrown(steps=20))

    def _bound(self, state: SearchState, region: Region, pairs: list[Pair], options: AlphaCrown) -> None:
        """Bounds on the outputs, in chunks of bounded memory."""
        known, bounds = state.region_bounds, state.bounds(region)
        losses = known.losses(region)
        ceiling = state.goal if state.distances else float("inf")  # nothing is proved beyond the search region
        chunk = max(1, (1 << 22) // max(n.size for n in state.network.nodes))
        whole = known.inputs(region)
        for begin in range(0, len(pairs), chunk):
            part = pairs[begin : begin + chunk]
            inputs = whole.expand(len(part))
            rows, offset = state.rows(part)
            best = raise_bounds(
                known.working,
                inputs,
                Start.output(known.working, rows, offset),
                bounds.expand(len(part)),
                options=options,
                fast=known.fast,
                losses=losses,
            )
            values = value_of(state, best.bound, best.form, inputs)
            for pair, value in zip(part, values.tolist(), strict=True):
                state.prove(pair, min(value, ceiling), self.name)
