"""Adversarial dictionary learning: perturbations x + D v from few shared atoms.

Frecon, Anquetil, Gasso, Canu, "Adversarial Dictionary Learning", CAp 2021:

    min_{D, V}  sum_i c CE(f(x_i + D v_i), t_i) + lambda2 / 2 ||D v_i||^2 + lambda1 ||v_i||_1,   ||d_m||_2 <= 1,

with c = 1 and t_i the second most probable class, or c = -1 and the label. Full batch (ADiL): forward-backward steps on D and
V together with the line search of Bonettini et al. (2017), so that the objective never rises. Mini-batches (SADiL): D, then V
with the new D, at constant step. With a radius instead of penalties ||D v||_p <= eps always: v in the l1 ball of radius eps and
atoms in the unit ball of the norm p (unit atoms with v in an l2 ball would only give sqrt(M) eps).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..norms import get_norm

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Dictionary:
    """Atoms (n, M), codes (N, M) of the images it was learned on, the objective after each step, the constraint, and the
    residual of stationarity at each step: the length of a forward-backward step divided by its size, 0 at a stationary point.
    """

    atoms: Tensor
    codes: Tensor
    objective: list[float] = field(default_factory=list)
    eps: float | None = None
    norm: str = "2"
    residual: list[float] = field(default_factory=list)

    @property
    def scale(self) -> float:
        """Maximum-likelihood scale of a centred Laplace law of the codes."""
        return max(float(self.codes.abs().mean()), 1e-3)


@dataclass(frozen=True)
class Adil:
    """Options.

    Attributes:
        atoms: M.
        lambda1: weight of ||v||_1.
        lambda2: weight of ||D v||^2.
        targeted: towards the second most probable class, instead of away from the label.
        steps: iterations (ADiL) or passes over the images (SADiL).
        batch: 0 for ADiL, else the size of SADiL's mini-batches.
        rate: SADiL's constant step.
        eps: radius of D v, instead of the penalties.
        norm: of that radius, "2" or "inf".
    """

    atoms: int = 10
    lambda1: float = 0.1
    lambda2: float = 0.1
    targeted: bool = True
    steps: int = 200
    batch: int = 0
    rate: float = 0.05
    eps: float | None = None
    norm: str = "2"

    def learn(
        self,
        forward: Forward,
        images: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        goal: Tensor | None = None,
    ) -> Dictionary:
        """Learn on images (N, n) with labels (N,); towards the classes `goal` (N,) where they are given."""
        size, like = images.shape[1], images
        start = torch.randn(size, self.atoms, generator=generator, dtype=like.dtype, device=like.device)
        codes = torch.zeros(len(images), self.atoms, dtype=like.dtype, device=like.device)
        smooth = self._smooth(forward, images, self._classes(forward, images, labels, goal), goal is not None)
        if self.batch:
            return self._stochastic(smooth, self._atoms(start), codes, generator)
        return self._whole(smooth, self._atoms(start), codes)

    def code(
        self,
        forward: Forward,
        images: Tensor,
        labels: Tensor,
        dictionary: Dictionary,
        goal: Tensor | None = None,
    ) -> Tensor:
        """Codes (N, M) of unseen images with labels: the same problem in V alone."""
        smooth = self._smooth(forward, images, self._classes(forward, images, labels, goal), goal is not None)
        codes = torch.zeros(len(images), self.atoms, dtype=images.dtype, device=images.device)
        return self._whole(smooth, dictionary.atoms, codes, learn_atoms=False).codes

    def _classes(self, forward: Forward, images: Tensor, labels: Tensor, goal: Tensor | None) -> Tensor:
        if goal is not None:
            return goal
        if not self.targeted:
            return labels
        with torch.no_grad():
            logits = forward(images)
        return logits.scatter(1, logits.argmax(1, keepdim=True), -torch.inf).argmax(1)

    def _smooth(
        self, forward: Forward, images: Tensor, classes: Tensor, aimed: bool = False
    ) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        """The differentiable part of the objective, on all images or some."""
        sign = 1.0 if self.targeted or aimed else -1.0

        def value(atoms: Tensor, codes: Tensor, index: Tensor | None = None) -> Tensor:
            x, t = (images, classes) if index is None else (images[index], classes[index])
            delta = codes @ atoms.T
            loss = sign * F.cross_entropy(forward(x + delta), t, reduction="sum")
            return loss if self.eps is not None else loss + self.lambda2 / 2 * delta.square().sum()

        return value

    def _penalty(self, codes: Tensor) -> Tensor:
        return codes.new_zeros(()) if self.eps is not None else self.lambda1 * codes.abs().sum()

    def _atoms(self, atoms: Tensor) -> Tensor:
        """Projection of every atom on its unit ball."""
        if self.eps is not None and self.norm == "inf":
            return atoms.clamp(-1, 1)
        length: Tensor = atoms.norm(dim=0, keepdim=True)
        return atoms / length.clamp(min=1)

    def _codes(self, codes: Tensor, step: float) -> Tensor:
        """Soft thresholding, or projection on the l1 ball of radius eps."""
        if self.eps is None:
            return codes.sign() * (codes.abs() - step * self.lambda1).clamp(min=0)
        return get_norm("1").project(codes, codes.new_full((len(codes),), self.eps))

    def _whole(
        self,
        smooth: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        atoms: Tensor,
        codes: Tensor,
        learn_atoms: bool = True,
    ) -> Dictionary:
        """Forward-backward with Armijo's line search; accepted steps never raise the objective."""
        previous: tuple[Tensor, Tensor, Tensor, Tensor] | None = None
        values = [float((smooth(atoms, codes, None) + self._penalty(codes)).detach())]
        residual: list[float] = []
        step = 0.1
        for _ in range(self.steps):
            d, v = atoms.detach().requires_grad_(learn_atoms), codes.detach().requires_grad_(True)
            loss = smooth(d, v, None)
            wanted = (d, v) if learn_atoms else (v,)
            slopes = torch.autograd.grad(loss, wanted)
            slope_d, slope_v = slopes if learn_atoms else (torch.zeros_like(atoms), slopes[0])
            if previous is not None:
                d0, v0, sd0, sv0 = previous
                moved = ((atoms - d0).square().sum() + (codes - v0).square().sum()).sqrt()
                turned = ((slope_d - sd0).square().sum() + (slope_v - sv0).square().sum()).sqrt()
                if float(turned) > 0 and float(moved) > 0:
                    step = min(max(0.9 * float(moved / turned), 1e-6), 1e3)
            previous = (atoms, codes, slope_d, slope_v)
            to_d = self._atoms(atoms - step * slope_d) - atoms if learn_atoms else torch.zeros_like(atoms)
            to_v = self._codes(codes - step * slope_v, step) - codes
            residual.append(float((to_d.square().sum() + to_v.square().sum()).sqrt()) / step)
            change = float((slope_d * to_d).sum() + (slope_v * to_v).sum())
            change += float(to_d.square().sum() + to_v.square().sum()) / (2 * step)
            change += float(self._penalty(codes + to_v) - self._penalty(codes))
            share, accepted = 1.0, False
            for _ in range(50):
                new_d, new_v = atoms + share * to_d, codes + share * to_v
                with torch.no_grad():
                    value = float(smooth(new_d, new_v, None) + self._penalty(new_v))
                if value <= values[-1] + 0.5 * share * min(change, 0.0):
                    accepted = True
                    break
                share /= 2
            if not accepted or values[-1] - value <= 1e-9 * abs(values[-1]):
                break  # stationary
            atoms, codes = new_d, new_v
            values.append(value)
        return Dictionary(atoms.detach(), codes.detach(), values, self.eps, self.norm, residual)

    def _residual(
        self, smooth: Callable[[Tensor, Tensor, Tensor | None], Tensor], atoms: Tensor, codes: Tensor
    ) -> tuple[float, float]:
        """Objective, and residual of stationarity for a step of the size `rate`, on all images."""
        d, v = atoms.detach().requires_grad_(True), codes.detach().requires_grad_(True)
        loss = smooth(d, v, None)
        slope_d, slope_v = torch.autograd.grad(loss, (d, v))
        to_d = self._atoms(atoms - self.rate * slope_d) - atoms
        to_v = self._codes(codes - self.rate * slope_v, self.rate) - codes
        length = float((to_d.square().sum() + to_v.square().sum()).sqrt())
        return float(loss.detach() + self._penalty(codes)), length / self.rate

    def _stochastic(
        self,
        smooth: Callable[[Tensor, Tensor, Tensor | None], Tensor],
        atoms: Tensor,
        codes: Tensor,
        generator: torch.Generator,
    ) -> Dictionary:
        """SADiL; the atoms step along the gradient of the mini-batch's mean loss."""
        values, residuals = [], []
        for _ in range(self.steps):
            for index in torch.randperm(len(codes), generator=generator, device=codes.device).split(self.batch):
                d = atoms.detach().requires_grad_(True)
                (slope,) = torch.autograd.grad(smooth(d, codes[index], index), d)
                step = self.rate / len(index)  # of the mean loss
                atoms = self._atoms(atoms - step * slope)
                v = codes[index].detach().requires_grad_(True)
                (slope,) = torch.autograd.grad(smooth(atoms, v, index), v)
                codes = codes.index_copy(0, index, self._codes(codes[index] - self.rate * slope, self.rate))
            value, residual = self._residual(smooth, atoms, codes)
            values.append(value)
            residuals.append(residual)
        return Dictionary(atoms.detach(), codes.detach(), values, self.eps, self.norm, residuals)


def perturbed(images: Tensor, codes: Tensor, dictionary: Dictionary) -> Tensor:
    """x + D v, clipped to the valid range."""
    return (images + codes @ dictionary.atoms.T).clamp(0, 1)


def laplace_codes(
    forward: Forward, images: Tensor, dictionary: Dictionary, generator: torch.Generator, trials: int = 100
) -> Tensor:
    """Codes of unseen images without labels: draws from the Laplace law fitted to the learned codes; the fooling draw of
    the smallest perturbation, or the last one. A radius is kept by projection.
    """
    shape = (len(images), dictionary.atoms.shape[1])
    with torch.no_grad():
        clean = forward(images).argmax(1)
    best, smallest = torch.zeros(shape, dtype=images.dtype), torch.full((len(images),), torch.inf, dtype=images.dtype)
    for _ in range(trials):
        codes = laplace_noise(shape, dictionary.scale, generator, images)
        if dictionary.eps is not None:
            codes = get_norm("1").project(codes, codes.new_full((len(codes),), dictionary.eps))
        with torch.no_grad():
            fooled = forward(perturbed(images, codes, dictionary)).argmax(1) != clean
        size = (codes @ dictionary.atoms.T).square().sum(1)
        better = fooled & (size < smallest)
        best = torch.where((better | ~torch.isfinite(smallest)).unsqueeze(1), codes, best)
        smallest = torch.where(better, size, smallest)
    return best


def laplace_noise(shape: tuple[int, ...], scale: float, generator: torch.Generator, like: Tensor) -> Tensor:
    """Centred Laplace variables, by inversion."""
    u = torch.rand(shape, generator=generator, dtype=like.dtype, device=like.device) - 0.5
    return -scale * u.sign() * torch.log1p(-2 * u.abs().clamp(max=0.5 - 1e-9))


def fooling_rate(forward: Forward, images: Tensor, moved: Tensor) -> float:
    """Share of images whose predicted class changes."""
    with torch.no_grad():
        return float((forward(images).argmax(1) != forward(moved).argmax(1)).double().mean())


def relative_mse(images: Tensor, moved: Tensor) -> float:
    """rMSE: mean of ||delta||^2 / ||x||^2."""
    return float(((moved - images).square().sum(1) / images.square().sum(1).clamp(min=1e-12)).mean())
