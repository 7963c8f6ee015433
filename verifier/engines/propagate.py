"""Bound propagation: IBP ∩ CROWN for all open pairs at once, then alpha-CROWN for those that stay open."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..bounds import InputSet
from ..bounds.alpha_crown import AlphaCrown, optimise
from ..bounds.backward import LinearForm
from .state import Pair, SearchState


def stacked_rows(state: SearchState, pairs: list[Pair]) -> tuple[Tensor, Tensor]:
    """Rows (pairs, most rows, outputs) and offsets (pairs, most rows) of C y - d; short polytopes repeat a row."""
    most = max(len(pair.polytope.offset) for pair in pairs)
    index = [np.minimum(np.arange(most), len(pair.polytope.offset) - 1) for pair in pairs]
    rows = np.stack([pair.polytope.matrix[i] for pair, i in zip(pairs, index, strict=True)])
    offset = np.stack([-pair.polytope.offset[i] for pair, i in zip(pairs, index, strict=True)])
    network = state.network
    return (
        torch.from_numpy(rows).to(network.device, network.dtype),
        torch.from_numpy(offset).to(network.device, network.dtype),
    )


def value_of(state: SearchState, bound: Tensor, form: LinearForm, inputs: InputSet) -> Tensor:
    """What a bound proves, in the units of the query; (batch,), best over rows.

    A violation for certification. For distances: the radius up to which the linear bound stays positive, and
    infinity where it does on the whole search region.
    """
    if not state.distances:
        return bound.amax(-1)
    radius = inputs.certified_radius(form.coefficients, form.offset)
    if state.count_norm:  # r changed entries do no harm, so the distance is at least r + 1
        radius = radius + 1
    radius = torch.where(bound > 0, torch.full_like(radius, torch.inf), radius)
    return radius.amax(-1)


class Propagate:
    """Settles most pairs in milliseconds."""

    name = "propagate"

    def run(self, state: SearchState, deadline: float) -> None:
        """All open pairs, case by case, in chunks of bounded memory."""
        for case in state.query.specification.cases:
            pairs = [pair for pair in state.open_pairs if pair.case is case]
            if not pairs or state.done or state.elapsed > deadline:
                continue
            region = state.search_region(case.region)
            bounds = state.bounds(region)
            if "unstable_relus" not in state.statistics:
                relus = {n.input for n in state.network.nodes if hasattr(n, "input") and n.input in bounds}
                state.statistics["unstable_relus"] = sum(int(bounds[i].unstable.sum()) for i in relus)
            ceiling = state.goal if state.distances else torch.inf
            for options in (AlphaCrown(steps=0), AlphaCrown(steps=20)):
                pairs = [pair for pair in pairs if state.is_open(pair)]
                chunk = max(1, (1 << 22) // max(n.size for n in state.network.nodes))
                for begin in range(0, len(pairs), chunk):
                    part = pairs[begin : begin + chunk]
                    inputs = state.inputs([region]).expand(len(part))
                    rows, offset = stacked_rows(state, part)
                    best = optimise(state.network, inputs, rows, offset, bounds.expand(len(part)), options=options)
                    values = value_of(state, best.bound, best.form, inputs)
                    for pair, value in zip(part, values.tolist(), strict=True):
                        state.prove(pair, min(value, ceiling), self.name)
