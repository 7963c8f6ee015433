"""Everything `advverify geometry` measures of one network, as plain numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from advverify.verifier.errors import InvalidInput

from . import boundary as bd
from .curvature import curvature_profile, finite_hessian, shared_curved_directions
from .subspace import distance_within, subspace_law

_DIMENSIONS = (2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Options:
    """What to measure.

    Attributes:
        h: step of finite differences and reach of secants, as a share of the median distance to the boundary.
        sections: images whose cross-sections are drawn.
        curved: boundary points whose Hessians are averaged.
        seed: of random directions.
        length: l2 length of the perturbations that many images share; twice the median distance to the boundary where it is
            None. Networks are compared at one length.
    """

    h: float = 0.5
    sections: int = 3
    curved: int = 40
    seed: int = 0
    length: float | None = None


def study(forward: bd.Forward, images: Tensor, labels: Tensor, options: Options) -> dict[str, Any]:
    """Measure a network on rightly classified images (N, n).

    Raises:
        InvalidInput: from fewer than two of them a boundary is found.
    """
    generator = torch.Generator().manual_seed(options.seed)
    edge = bd.nearest_boundary(forward, images, labels)
    if len(edge.points) < 2:
        raise InvalidInput(
            f"a boundary was found from {len(edge.points)} of {len(images)} images, and geometry takes at least two: give more "
            "images"
        )
    normal = bd.normals(forward, edge)
    median = float(edge.distance.median())
    h = options.h * median
    size = images.shape[1]
    random = bd.unit(torch.randn(edge.points.shape, generator=generator, dtype=images.dtype))
    random = bd.unit(random - (random * normal).sum(1, keepdim=True) * normal)
    other = normal.roll(1, 0)
    other = bd.unit(other - (other * normal).sum(1, keepdim=True) * normal)
    value = bd.difference(forward, edge.labels, edge.others)
    dimensions = tuple(m for m in _DIMENSIONS if m <= size)
    law = subspace_law(forward, edge.images, edge.labels, dimensions, generator)
    lines = bd.unit(torch.randn(edge.images.shape, generator=generator, dtype=images.dtype))
    along = distance_within(forward, edge.images, edge.labels, lines.unsqueeze(-1))
    few = min(options.curved, len(edge.points))

    def own(i: int) -> Callable[[Tensor], Tensor]:
        """Point i's own difference of logits, at any number of points."""

        def evaluate(x: Tensor) -> Tensor:
            count = len(x)
            pair = edge.labels[i : i + 1].expand(count), edge.others[i : i + 1].expand(count)
            return bd.difference(forward, *pair)(x)

        return evaluate

    scale = bd.gradient(value, edge.points).norm(dim=1).median()
    hessians = [finite_hessian(own(i), x, h) for i, x in enumerate(edge.points[:few])]
    profile = curvature_profile(hessians) / scale
    curved_values, curved = shared_curved_directions(own, edge.points[:few], hessians)
    _, singular, flat = torch.linalg.svd(normal, full_matrices=False)
    background = torch.linalg.svdvals(bd.unit(torch.randn(normal.shape, generator=generator, dtype=normal.dtype)))
    xi = 2 * median if options.length is None else options.length
    fooling = {
        "random directions": _fooling(forward, edge, torch.eye(size, dtype=images.dtype), xi, generator),
        "span of the first normals": _fooling(forward, edge, flat[: min(10, len(flat))].T, xi, generator),
        "shared curved directions": _fooling(forward, edge, curved[:, :10], xi, generator),
        "shared flat directions": _fooling(forward, edge, curved[:, size // 2 - 5 : size // 2 + 5], xi, generator),
    }
    return {
        "images": len(edge.images),
        "h": h,
        "median_distance": median,
        "subspace": {"dimensions": law.dimensions, "median": law.median.tolist(), "quartiles": law.quartiles.tolist()},
        "noise_ratio": _median((along / edge.distance).numpy()),
        "curvature": {
            "random": _median(bd.secant_curvature(value, edge.points, normal, random, h).numpy()),
            "other normals": _median(bd.secant_curvature(value, edge.points, normal, other, h).numpy()),
        },
        "profile": profile.tolist(),
        "curved": curved_values.tolist(),
        "singular": singular.tolist(),
        "singular_random": background.tolist(),
        "xi": xi,
        "fooling": fooling,
        "sections": _sections(forward, edge, normal, random, other, options.sections, 2.5 * median),
    }


def _median(values: np.ndarray) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else None


def _fooling(
    forward: bd.Forward, edge: bd.Boundary, basis: Tensor, xi: float, generator: torch.Generator, draws: int = 40
) -> float:
    """Mean share of images fooled by one random perturbation of length xi from a span, the same for all images."""
    rates = []
    for _ in range(draws):
        v = basis @ torch.randn(basis.shape[1], generator=generator, dtype=basis.dtype)
        with torch.no_grad():
            moved = forward(edge.images + xi * bd.unit(v)).argmax(1)
        rates.append(float((moved != edge.labels).double().mean()))
    return float(np.mean(rates))


def _sections(
    forward: bd.Forward, edge: bd.Boundary, normal: Tensor, random: Tensor, other: Tensor, count: int, reach: float
) -> list[dict[str, Any]]:
    result = []
    for i in range(min(count, len(edge.points))):
        for name, second in (("a random direction", random[i]), ("another image's normal", other[i])):
            back = edge.images[i] - edge.points[i]
            at = [float(back @ normal[i]), float(back @ second)]  # the image, or its shadow on the plane
            side = max(reach, 1.2 * max(map(abs, at)))
            grid = bd.cross_section(forward, edge.points[i], normal[i], second, side)
            known = {"image": int(edge.places[i]), "label": int(edge.labels[i]), "other": int(edge.others[i]), "at": at}
            result.append({**known, "second": name, "reach": side, "classes": grid.tolist()})
    return result
