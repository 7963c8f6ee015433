"""CROWN with optimised lower slopes (alpha) and multipliers of split constraints (beta).

Any alpha in [0, 1] and beta >= 0 give a valid bound; gradient ascent only makes it tighter.
Xu et al., "Fast and Complete", ICLR 2021 (alpha); Wang et al., "Beta-CROWN", NeurIPS 2021 (beta).

The gradient needs no automatic differentiation: the bound is linear in the coefficients that arrive at a neuron, and
its derivative with respect to them is the value that the relaxed network takes there at the minimiser. One forward
pass through the relaxation (`relaxed_forward`) therefore gives all of it. The ascent may run in a lower precision than
the network's; what is returned is evaluated afresh in the network's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..deadline import check
from ..network.nodes import Network, Relu
from .backward import LinearForm, Relaxation, Start, backward, relaxed_forward
from .bounds import Bounds
from .crown import relaxations
from .inputs import InputSet
from .relaxation import ReluRelaxation
from .rounding import Losses, RoundingLoss

_SHRINK = 0.75  # a batch is cut down to its open members when they are at most this share of it


@dataclass(frozen=True)
class AlphaCrown:
    """Options: number of gradient steps, step sizes for alpha and beta, and their decay a step."""

    steps: int = 20
    alpha_step: float = 0.25
    beta_step: float = 0.1
    decay: float = 0.97


@dataclass
class Multipliers:
    """What the optimiser found, by ReLU node: `alpha` and `beta`, each (batch, rows, size)."""

    alpha: dict[int, Tensor] = field(default_factory=dict)
    beta: dict[int, Tensor] = field(default_factory=dict)

    def select(self, index: Tensor) -> Multipliers:
        """Some of the batch."""
        return Multipliers({i: t[index] for i, t in self.alpha.items()}, {i: t[index] for i, t in self.beta.items()})


@dataclass
class Optimised:
    """Best bound (batch, rows) of each member, its linear form, its minimiser (batch, rows, n), and its multipliers."""

    bound: Tensor
    form: LinearForm
    point: Tensor
    multipliers: Multipliers


@dataclass(frozen=True)
class _Problem:
    """One bound to be raised: what is bounded, over which regions, with which relaxations and split signs."""

    network: Network
    inputs: InputSet
    start: Start
    base: Mapping[int, Relaxation]
    unstable: Mapping[int, Tensor]
    signs: Mapping[int, Tensor]

    def to(self, network: Network) -> _Problem:
        """The same in the precision of another copy of the network."""
        dtype = network.dtype
        return _Problem(
            network,
            self.inputs.to(dtype),
            self.start.to(dtype),
            {i: relaxation.to(dtype) for i, relaxation in self.base.items()},
            self.unstable,
            {i: sign.to(dtype) for i, sign in self.signs.items()},
        )

    def select(self, index: Tensor) -> _Problem:
        """Some of the batch."""
        return _Problem(
            self.network,
            self.inputs.rows(index),
            self.start.select(index),
            {i: relaxation.rows(index) for i, relaxation in self.base.items()},
            {i: mask[index] for i, mask in self.unstable.items()},
            {i: sign[index] for i, sign in self.signs.items()},
        )

    def form(self, multipliers: Multipliers, losses: Losses | None = None) -> tuple[LinearForm, dict[int, Relaxation]]:
        """The linear form of some multipliers, and the relaxations used; proved where `losses` are given."""
        used: dict[int, Relaxation] = dict(self.base)
        for i, value in multipliers.alpha.items():
            relaxation = self.base[i]
            assert isinstance(relaxation, ReluRelaxation)
            used[i] = relaxation.with_slopes(value, self.unstable[i])
        signed = {i: self.signs[i] * value for i, value in multipliers.beta.items()}
        return backward(self.network, self.start, used, signed, keep_outputs=True, losses=losses), used

    def gradient(
        self, form: LinearForm, point: Tensor, used: Mapping[int, Relaxation], multipliers: Multipliers
    ) -> Multipliers:
        """Derivative of the bound with respect to the multipliers (envelope theorem: the minimiser is a constant)."""
        reads = {i: node.input for i, node in enumerate(self.network.nodes) if isinstance(node, Relu)}
        wanted = {reads[i] for i in (*multipliers.alpha, *multipliers.beta)}
        values = relaxed_forward(self.network, point, used, form, wanted)
        result = Multipliers()

        def moved(i: int) -> Tensor:
            read = values[reads[i]]
            return read - form.tangent_point[i] if i in form.tangent_point else read

        for i in multipliers.alpha:
            if i in form.at_output:
                raised = form.at_output[i].clamp(min=0) * moved(i)
                result.alpha[i] = torch.where(self.unstable[i], raised, 0.0)
        for i in multipliers.beta:
            result.beta[i] = self.signs[i] * moved(i)
        return result


class _Adam:
    """Kingma & Ba's ascent on a dictionary of boxes, out of place."""

    def __init__(self, highest: float, step: float, decay: float) -> None:
        self.highest, self.step, self.decay = highest, step, decay
        self.first: dict[int, Tensor] = {}
        self.second: dict[int, Tensor] = {}
        self.count = 0

    def ascend(self, values: dict[int, Tensor], gradient: dict[int, Tensor]) -> dict[int, Tensor]:
        self.count += 1
        rate = self.step * self.decay ** (self.count - 1) / (1 - 0.9**self.count)
        moved = dict(values)
        for i, g in gradient.items():
            if i in self.first:
                self.first[i].mul_(0.9).add_(g, alpha=0.1)
                self.second[i].mul_(0.999).addcmul_(g, g, value=0.001)
            else:
                self.first[i], self.second[i] = g * 0.1, g * g * 0.001
            size = (self.second[i] / (1 - 0.999**self.count)).sqrt_().add_(1e-12)
            moved[i] = torch.addcdiv(values[i], self.first[i], size, value=rate).clamp_(0, self.highest)
        return moved

    def select(self, index: Tensor) -> None:
        """Forget all but some of the batch."""
        self.first = {i: t[index] for i, t in self.first.items()}
        self.second = {i: t[index] for i, t in self.second.items()}


def raise_bounds(
    network: Network,
    inputs: InputSet,
    start: Start,
    bounds: Bounds,
    splits: Mapping[int, Tensor] | None = None,
    known: Multipliers | None = None,
    options: AlphaCrown | None = None,
    threshold: float = 0.0,
    float32_network: Network | None = None,
    losses: Losses | None = None,
) -> Optimised:
    """Maximise the lower bounds of linear functions of nodes.

    Args:
        network: the network.
        inputs: regions.
        start: what to bound, (batch, rows) functions of nodes, in the network's precision and with float64 offsets.
        bounds: of what ReLUs and maxima read; splits already applied to them.
        splits: by ReLU node, (batch, size): +1 split active, -1 split inactive, 0 not split.
        known: multipliers to begin with (a parent's).
        options: how long and how fast.
        threshold: stop as soon as some row of every member is above this.
        float32_network: the network in a lower precision, for the ascent.
        losses: those of these regions or of larger ones; computed where not given.

    Returns:
        Bounds that hold in spite of rounding.
    """
    options = options or AlphaCrown()
    losses = losses or RoundingLoss.of(network, inputs, bounds)
    last = max(start.weights)
    base = relaxations(network, bounds, last + 1, inputs)
    batch, rows = start.offset.shape
    unstable: dict[int, Tensor] = {}
    signs: dict[int, Tensor] = {}
    first = Multipliers()
    ascent_dtype = (float32_network or network).dtype
    for i, relaxation in base.items():
        node = network.nodes[i]
        if not isinstance(node, Relu):
            continue
        assert isinstance(relaxation, ReluRelaxation)
        mask = bounds[node.input].unstable.unsqueeze(1)
        if bool(mask.any()):
            unstable[i] = mask
            slopes = relaxation.lower_slope if known is None or i not in known.alpha else known.alpha[i]
            first.alpha[i] = slopes.to(ascent_dtype).expand(batch, rows, -1)
        if splits is not None and bool((splits[i] != 0).any()):
            signs[i] = -splits[i].to(network.dtype).unsqueeze(1)
            zero = torch.zeros((), dtype=ascent_dtype, device=network.device)
            first.beta[i] = (zero if known is None or i not in known.beta else known.beta[i].to(ascent_dtype)).expand(
                batch, rows, node.size
            )
    problem = _Problem(network, inputs, start, base, unstable, signs)
    with torch.no_grad():
        found = first
        if options.steps > 0 and (first.alpha or first.beta):
            found = _ascend(problem.to(float32_network or network), first, options, threshold)
        exact = Multipliers(
            {i: t.to(network.dtype) for i, t in found.alpha.items()},
            {i: t.to(network.dtype) for i, t in found.beta.items()},
        )
        form, _ = problem.form(exact, losses)
        bound = inputs.minimum(form.coefficients, form.offset)
        point = inputs.minimizer(form.coefficients.to(inputs.lower.dtype))
    return Optimised(bound, form, point, exact)


def _ascend(problem: _Problem, first: Multipliers, options: AlphaCrown, threshold: float) -> Multipliers:
    """The best multipliers met on the way; members whose bound is above `threshold` leave the batch."""
    alpha_steps = _Adam(1.0, options.alpha_step, options.decay)
    beta_steps = _Adam(torch.inf, options.beta_step, options.decay)
    current, best, highest = first, first, torch.full_like(problem.start.offset, -torch.inf)
    members = torch.arange(len(highest), device=highest.device)
    left: list[tuple[Tensor, Multipliers]] = []
    for step in range(options.steps + 1):
        check()
        form, used = problem.form(current)
        bound, point = problem.inputs.lagrangian(form.coefficients, form.offset)
        best = _better(best, current, bound > highest)
        highest = torch.maximum(highest, bound)
        open_ = highest.amax(-1) <= threshold
        count = int(open_.sum())
        if step == options.steps or count == 0:
            break
        gradient = problem.gradient(form, point, used, current)
        current = Multipliers(
            alpha_steps.ascend(current.alpha, gradient.alpha), beta_steps.ascend(current.beta, gradient.beta)
        )
        if count <= _SHRINK * len(open_):
            left.append((members[~open_], best.select(~open_)))
            problem, current, best = problem.select(open_), current.select(open_), best.select(open_)
            highest, members = highest[open_], members[open_]
            alpha_steps.select(open_)
            beta_steps.select(open_)
    if not left:
        return best
    left.append((members, best))
    order = torch.cat([index for index, _ in left]).argsort()
    parts = [part for _, part in left]
    return Multipliers(
        {i: torch.cat([part.alpha[i] for part in parts])[order] for i in best.alpha},
        {i: torch.cat([part.beta[i] for part in parts])[order] for i in best.beta},
    )


def _better(old: Multipliers, new: Multipliers, improved: Tensor) -> Multipliers:
    """Row by row the new multipliers where they improved the bound."""
    if bool(improved.all()):
        return new
    mask = improved.unsqueeze(-1)
    return Multipliers(
        {i: torch.where(mask, t, old.alpha[i]) for i, t in new.alpha.items()},
        {i: torch.where(mask, t, old.beta[i]) for i, t in new.beta.items()},
    )
