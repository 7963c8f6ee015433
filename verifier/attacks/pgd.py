"""Projected gradient descent on the violation, for every norm, all problems and restarts in one batch.

Madry et al., ICLR 2018. Each iterate is projected first and differentiated at the projected point: a clamp inside the
differentiated graph would kill the gradient at pixels that sit at the edge of the valid range.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..bounds import InputSet
from ..norms import UnitBall
from .base import Problem, never, project

_SHRINK = 0.75  # a batch is cut down to the descents that go on when they are at most this share of it


@dataclass(frozen=True)
class Pgd:
    """Options: gradient steps, restarts, step sizes relative to the radius.

    The first restart begins at the center, unless `random_start`; the others at random points. After `trial` steps (0: not
    at all) descents are given up that still have more than `hope` of the violation that they began with. Once `stop` says so
    no further step is taken.
    """

    steps: int = 40
    restarts: int = 4
    first_step: float = 0.5
    last_step: float = 0.01
    momentum: float = 0.7
    stop_at_success: bool = True
    random_start: bool = False
    trial: int = 0
    hope: float = 1.0
    stop: Callable[[], bool] = field(default=never, compare=False)

    def __call__(self, problem: Problem, generator: torch.Generator) -> Tensor:
        """Best point of all restarts for each problem."""
        count, restarts = len(problem), self.restarts
        batch = problem.rows_of(torch.arange(count, device=problem.inputs.lower.device).repeat_interleave(restarts))
        best, lowest = self.descend(batch, starts(batch.inputs, self.random_start, restarts, generator), restarts)
        winner = lowest.view(count, restarts).argmin(-1)
        return best.view(count, restarts, -1)[torch.arange(count, device=best.device), winner]

    def descend(self, batch: Problem, starts: Tensor, group: int = 1) -> tuple[Tensor, Tensor]:
        """The best point of each descent and its violation, from starts (B, n).

        With `stop_at_success` a descent ends when its `group` of consecutive ones has an unsafe point.
        """
        x = project(batch.inputs, starts)
        best = x.clone()
        lowest = torch.full((len(batch),), torch.inf, dtype=x.dtype, device=x.device)
        velocity, first = torch.zeros_like(x), lowest
        members = torch.arange(len(batch), device=x.device)  # that still descend
        ratio = (self.last_step / self.first_step) ** (1 / max(self.steps - 1, 1))
        for step in range(self.steps + 1):
            x = x.detach().requires_grad_(True)
            loss, value = batch.losses(x)
            with torch.no_grad():
                better = value < lowest[members]
                lowest[members] = torch.where(better, value, lowest[members])
                best[members] = torch.where(better.unsqueeze(-1), x, best[members])
            first = value.detach() if step == 0 else first
            going = self._going(lowest, first, step, group)[members]
            if step == self.steps or not bool(going.any()) or self.stop():
                break
            (gradient,) = torch.autograd.grad(loss.sum(), x)
            with torch.no_grad():
                scale = gradient.abs().sum(-1, keepdim=True).clamp(min=1e-300)
                velocity = self.momentum * velocity + gradient / scale
                x = project(batch.inputs, x + self.first_step * ratio**step * ball_step(batch.inputs, x, -velocity))
            if int(going.sum()) <= _SHRINK * len(going):
                kept = going.nonzero().squeeze(-1)
                batch, x, velocity, members = batch.rows_of(kept), x[kept], velocity[kept], members[kept]
        return best, lowest

    def _going(self, lowest: Tensor, first: Tensor, step: int, group: int) -> Tensor:
        """Which descents (B,) are worth another step."""
        going = torch.ones_like(lowest, dtype=torch.bool)
        if self.stop_at_success:
            going = (lowest.view(-1, group).amin(-1) >= 0).repeat_interleave(group)
        if step > 0 and step == self.trial:
            going = going & (lowest <= self.hope * first)
        return going


def starts(inputs: InputSet, random_start: bool, restarts: int, generator: torch.Generator) -> Tensor:
    """Center (or middle of the box) for the first restart of each problem, random points for the others."""
    middle = (inputs.lower + inputs.upper) / 2 if inputs.center is None else inputs.center
    noise = torch.rand(middle.shape, generator=generator, dtype=middle.dtype, device=middle.device)
    x = inputs.lower + noise * (inputs.upper - inputs.lower)
    if random_start:
        return x
    first = torch.arange(len(inputs), device=x.device) % restarts == 0
    return torch.where(first.unsqueeze(-1), middle, x)


def ball_step(inputs: InputSet, x: Tensor, descent: Tensor) -> Tensor:
    """The step from x along `descent` (B, n) that is steepest in the regions' norm, of the size of the region."""
    half = (inputs.upper - inputs.lower) / 2
    if inputs.is_box or inputs.norm is None or inputs.norm.unit_ball is UnitBall.COUNT:
        return descent.sign() * half
    assert inputs.radius is not None
    slack = torch.where(descent > 0, inputs.upper - x, x - inputs.lower)
    return inputs.norm.ascent(descent, slack) * inputs.radius.unsqueeze(-1)


def border_step(inputs: InputSet, x: Tensor, descent: Tensor) -> Tensor:
    """The same as long as the radius, although the box may be cut by the valid range; for attacks of one step."""
    if inputs.is_box and inputs.radius is not None:
        return descent.sign() * inputs.radius.unsqueeze(-1)
    return ball_step(inputs, x, descent)
