"""Points of the decision boundary, their normals, and how the boundary runs through a plane.

Fawzi, Moosavi-Dezfooli, Frossard, "Robustness of classifiers: from adversarial to random noise", NeurIPS 2016.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from advverify.verifier.attacks.classification import ClassificationProblem
from advverify.verifier.attacks.measure import closest
from advverify.verifier.attacks.pgd import Pgd
from advverify.verifier.norms import get_norm

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Boundary:
    """Boundary points nearest to images, by an l2 attack.

    Attributes:
        images: (N, n) that have such a point.
        labels: (N,).
        points: (N, n) on the boundary, up to the attack's bisection.
        others: (N,) the classes on the other side.
        places: (N,) which of the images given they are.
    """

    images: Tensor
    labels: Tensor
    points: Tensor
    others: Tensor
    places: Tensor

    @property
    def distance(self) -> Tensor:
        """l2 distances, (N,)."""
        length: Tensor = (self.points - self.images).norm(dim=1)
        return length


def nearest_boundary(forward: Forward, images: Tensor, labels: Tensor, seed: int = 0) -> Boundary:
    """Boundary points of images (N, n) inside [0, 1] that are classified rightly."""
    problem = ClassificationProblem.unbounded(forward, images, labels, get_norm("2"))
    found = closest("pgd", Pgd(steps=30, restarts=2), problem, seed)
    keep = found.success
    points = found.points[keep]
    with torch.no_grad():
        others = forward(points).argmax(1)
    return Boundary(images[keep], labels[keep], points, others, keep.nonzero().squeeze(1))


def difference(forward: Forward, first: Tensor, second: Tensor) -> Callable[[Tensor], Tensor]:
    """x (N, n) -> f_first - f_second, (N,)."""

    def value(x: Tensor) -> Tensor:
        logits = forward(x)
        return (logits.gather(1, first.unsqueeze(1)) - logits.gather(1, second.unsqueeze(1))).squeeze(1)

    return value


def gradient(value: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Gradients (N, n) of a function of points."""
    x = x.detach().requires_grad_(True)
    (slope,) = torch.autograd.grad(value(x).sum(), x)
    return slope


def unit(v: Tensor) -> Tensor:
    """Rows of length 1."""
    length: Tensor = v.norm(dim=-1, keepdim=True)
    return v / length.clamp(min=1e-12)


def normals(forward: Forward, boundary: Boundary) -> Tensor:
    """Unit normals (N, n) of the boundary, towards the image's own class."""
    return unit(gradient(difference(forward, boundary.labels, boundary.others), boundary.points))


def cross_section(
    forward: Forward, origin: Tensor, first: Tensor, second: Tensor, reach: float, side: int = 81
) -> Tensor:
    """Classes on a grid of the plane origin + s first + t second, |s|, |t| <= reach; (side, side), rows along `second`."""
    ticks = torch.linspace(-reach, reach, side, dtype=origin.dtype)
    t, s = torch.meshgrid(ticks, ticks, indexing="ij")
    plane = origin + s.reshape(-1, 1) * first + t.reshape(-1, 1) * second
    with torch.no_grad():
        return forward(plane).argmax(1).reshape(side, side)


def offset_along(value: Callable[[Tensor], Tensor], points: Tensor, normal: Tensor, reach: float) -> Tensor:
    """s (N,) with value(points + s normal) = 0, |s| <= reach, by bisection; nan where the signs do not differ."""
    low, high = torch.full_like(points[:, 0], -reach), torch.full_like(points[:, 0], reach)
    with torch.no_grad():
        at_low, at_high = value(points - reach * normal), value(points + reach * normal)
        for _ in range(50):
            middle = (low + high) / 2
            same = value(points + middle.unsqueeze(1) * normal).sign() == at_low.sign()
            low, high = torch.where(same, middle, low), torch.where(same, high, middle)
    return torch.where(at_low.sign() == at_high.sign(), torch.full_like(low, torch.nan), (low + high) / 2)


def secant_curvature(
    value: Callable[[Tensor], Tensor], points: Tensor, normal: Tensor, along: Tensor, h: float
) -> Tensor:
    """2 s / h^2, (N,): s is how far the boundary has bent from its tangent after a step h, mean of both directions.

    Positive where it bends towards `normal`.
    """
    bent = [offset_along(value, points + sign * h * along, normal, 2 * h) for sign in (1.0, -1.0)]
    return 2 * torch.stack(bent).mean(0) / h**2
