"""CROWN with optimised lower slopes (alpha) and multipliers of split constraints (beta).

Any alpha in [0, 1] and beta >= 0 give a valid bound; gradient ascent only makes it tighter.
Xu et al., "Fast and Complete", ICLR 2021 (alpha); Wang et al., "Beta-CROWN", NeurIPS 2021 (beta).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..network.nodes import Network, Relu
from .backward import LinearForm, Relaxation, backward
from .bounds import Bounds
from .crown import relaxations
from .inputs import InputSet
from .relaxation import ReluRelaxation


@dataclass(frozen=True)
class AlphaCrown:
    """Options: number of gradient steps, step sizes for alpha and beta, and their decay a step."""

    steps: int = 20
    alpha_step: float = 0.25
    beta_step: float = 0.1
    decay: float = 0.97


@dataclass
class Multipliers:
    """What the optimiser found, by ReLU node: `alpha` and `beta` (batch, rows, size), and the bound they prove."""

    alpha: dict[int, Tensor] = field(default_factory=dict)
    beta: dict[int, Tensor] = field(default_factory=dict)

    def rows(self, index: Tensor) -> Multipliers:
        """Some of the batch."""
        return Multipliers({i: t[index] for i, t in self.alpha.items()}, {i: t[index] for i, t in self.beta.items()})


@dataclass
class Optimised:
    """Best bound (batch, rows) of each member, its linear form, and its multipliers."""

    bound: Tensor
    form: LinearForm
    multipliers: Multipliers


def optimise(
    network: Network,
    inputs: InputSet,
    rows: Tensor,
    offset: Tensor,
    bounds: Bounds,
    splits: Mapping[int, Tensor] | None = None,
    start: Multipliers | None = None,
    options: AlphaCrown | None = None,
    enough: float = 0.0,
) -> Optimised:
    """Maximise the lower bound of rows (batch, count, outputs) times output plus offset (batch, count).

    Args:
        network: the network.
        inputs: regions.
        rows: coefficients on the outputs.
        offset: constants.
        bounds: of what ReLUs and maxima read; splits already applied to them.
        splits: by ReLU node, (batch, size): +1 split active, -1 split inactive, 0 not split.
        start: multipliers to begin with (a parent's).
        options: how long and how fast.
        enough: stop as soon as every bound is above this.
    """
    options = options or AlphaCrown()
    base = relaxations(network, bounds)
    unstable = {i: bounds[n.input].unstable.unsqueeze(1) for i, n in enumerate(network.nodes) if isinstance(n, Relu)}
    alpha: dict[int, Tensor] = {}
    beta: dict[int, Tensor] = {}
    signs: dict[int, Tensor] = {}
    for i, mask in unstable.items():
        relaxation = base[i]
        assert isinstance(relaxation, ReluRelaxation)
        shape = (len(inputs), rows.shape[1], mask.shape[-1])
        if bool(mask.any()):
            first = relaxation.lower_slope if start is None or i not in start.alpha else start.alpha[i]
            alpha[i] = first.expand(shape).clone()
        if splits is not None and bool((splits[i] != 0).any()):
            signs[i] = -splits[i].to(rows.dtype).unsqueeze(1)
            known = None if start is None else start.beta.get(i)
            beta[i] = torch.zeros(shape, dtype=rows.dtype, device=rows.device) if known is None else known.clone()
    parameters = [*alpha.values(), *beta.values()]
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    best: Optimised | None = None

    def evaluate(keep: bool) -> tuple[Tensor, LinearForm]:
        slopes: dict[int, Relaxation] = dict(base)
        for i, value in alpha.items():
            relaxation = base[i]
            assert isinstance(relaxation, ReluRelaxation)
            slopes[i] = relaxation.with_slopes(value, unstable[i])
        signed = {i: signs[i] * value.clamp(min=0) for i, value in beta.items()}
        form = backward(network, {network.output: rows}, offset, slopes, signed, keep_relu=keep)
        return inputs.minimum(form.coefficients, form.offset), form

    for step in range(options.steps + 1):
        last = step == options.steps or not parameters
        for p in parameters:
            p.requires_grad_(not last)
        with torch.set_grad_enabled(not last):
            bound, form = evaluate(keep=True)
        best = _keep_best(best, bound, form, alpha, beta)
        if last or bool((best.bound.amax(-1) > enough).all()):
            break
        gradients = torch.autograd.grad(bound.sum(), parameters)
        with torch.no_grad():
            scale = options.decay**step
            for k, (p, g) in enumerate(zip(parameters, gradients, strict=True)):
                first_moment, second_moment = moments[k]
                first_moment.mul_(0.9).add_(g, alpha=0.1)
                second_moment.mul_(0.999).addcmul_(g, g, value=0.001)
                corrected = first_moment / (1 - 0.9 ** (step + 1))
                size = (second_moment / (1 - 0.999 ** (step + 1))).sqrt().add_(1e-12)
                rate = options.alpha_step if k < len(alpha) else options.beta_step
                p.requires_grad_(False)
                p.add_(corrected / size, alpha=rate * scale)
                p.clamp_(0, 1) if k < len(alpha) else p.clamp_(min=0)
    assert best is not None
    return best


def _keep_best(
    best: Optimised | None, bound: Tensor, form: LinearForm, alpha: dict[int, Tensor], beta: dict[int, Tensor]
) -> Optimised:
    """Row by row the better of what was known and what has just been evaluated."""
    bound = bound.detach()
    new = LinearForm(form.coefficients.detach(), form.offset.detach(), {i: t.detach() for i, t in form.at_relu.items()})
    if best is None:
        held = Multipliers(
            {i: t.detach().clone() for i, t in alpha.items()}, {i: t.detach().clone() for i, t in beta.items()}
        )
        return Optimised(bound, new, held)
    better = (bound > best.bound).unsqueeze(-1)

    def choose(old: Tensor, fresh: Tensor) -> Tensor:
        return torch.where(better, fresh.detach(), old)

    return Optimised(
        torch.maximum(bound, best.bound),
        LinearForm(
            choose(best.form.coefficients, new.coefficients),
            torch.where(better.squeeze(-1), new.offset, best.form.offset),
            {i: choose(t, new.at_relu[i]) for i, t in best.form.at_relu.items()},
        ),
        Multipliers(
            {i: choose(t, alpha[i]) for i, t in best.multipliers.alpha.items()},
            {i: choose(t, beta[i]) for i, t in best.multipliers.beta.items()},
        ),
    )
