"""Norms: the linear minimum over ball ∩ box against linear programs and sampling, and the radius it stays positive to."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from advverify.verifier.errors import InvalidInput
from advverify.verifier.norms import get_norm


def problem(seed: int) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    a = rng.normal(size=n) * rng.integers(0, 2, n) if seed % 3 == 0 else rng.normal(size=n)
    center = rng.random(n) if seed % 2 else rng.integers(0, 2, n).astype(float)
    return tuple(torch.tensor(v)[None] for v in (a, center, np.zeros(n), np.ones(n)))


@pytest.mark.parametrize("name", ["0", "1", "2", "inf"])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.floats(0.01, 3.0))
def test_minimum_is_attained_and_lowest(name: str, seed: int, size: float) -> None:
    norm = get_norm(name)
    a, center, lower, upper = problem(seed)
    radius = torch.tensor([float(int(size)) if name == "0" else size], dtype=torch.float64)
    x = norm.minimizer(a, center, radius, lower, upper)
    assert (x >= lower - 1e-12).all() and (x <= upper + 1e-12).all()
    assert norm.length(x - center) <= radius * (1 + 1e-9) + 1e-12
    best = (a * x).sum()
    generator = torch.Generator().manual_seed(seed)
    for _ in range(30):
        y = torch.rand(x.shape, generator=generator, dtype=torch.float64)
        y = torch.minimum(torch.maximum(center + norm.project(y - center, radius), lower), upper)
        assert norm.length(y - center) <= radius * (1 + 1e-9) + 1e-9
        assert (a * y).sum() >= best - 1e-9


@pytest.mark.parametrize("name", ["0", "1", "2", "inf"])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), value=st.floats(0.0, 3.0))
def test_certified_radius_is_where_the_minimum_crosses_zero(name: str, seed: int, value: float) -> None:
    norm = get_norm(name)
    a, center, lower, upper = problem(seed)
    at_center = torch.tensor([value], dtype=torch.float64)
    radius = norm.certified_radius(a, at_center, center, lower, upper)

    def minimum(r: torch.Tensor) -> float:
        x = norm.minimizer(a, center, r, lower, upper)
        return float(at_center + (a * (x - center)).sum())

    if torch.isinf(radius):
        assert minimum(torch.tensor([100.0], dtype=torch.float64)) >= -1e-9
        return
    assert minimum(radius) >= -1e-9
    assert minimum(radius + (1 if name == "0" else 1e-4)) <= 1e-9


def test_unknown_norm() -> None:
    with pytest.raises(InvalidInput, match="choose 0, 1, 2 or inf"):
        get_norm("3")


def test_tied_channels_count_pixels() -> None:
    delta = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0, 2.0]])  # two pixels of three channels: channel-major
    assert get_norm("0").length(delta) == 3 and get_norm("0", 3).length(delta) == 2


@pytest.mark.parametrize("name", ["1", "2", "inf"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_moves_where_nothing_counts(name: str, dtype: torch.dtype) -> None:
    """Rows of zeros, in large balls too: minima of 0 at points of the region."""
    center = torch.full((2, 3), 0.5, dtype=dtype)
    radius = torch.tensor([1e-3, 100.0], dtype=dtype)
    zeros, ones = torch.zeros_like(center), torch.ones_like(center)
    point = get_norm(name).minimizer(zeros, center, radius, zeros, ones)
    assert ((point >= 0) & (point <= 1)).all()
    assert (get_norm(name).least(zeros, center, radius, zeros, ones) == 0).all()


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.floats(0.05, 1.2))
def test_least_values_are_those_of_the_minimisers(seed: int, share: float) -> None:
    """From a small part of the box to a ball that holds it all: never above the exact minimum, and near it."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 40))
    center = torch.from_numpy(rng.random((3, n)))
    a = torch.from_numpy(rng.normal(size=(3, n)) * 10.0 ** rng.integers(-2, 3, size=(3, n)))
    lower, upper = torch.zeros_like(center), torch.ones_like(center)
    room = torch.where(a > 0, center, 1 - center)
    radius = share * torch.linalg.vector_norm(room, dim=-1)
    for name in ("1", "2"):
        norm = get_norm(name)
        exact = (a * (norm.minimizer(a, center, radius, lower, upper) - center)).sum(-1)
        found = norm.least(a, center, radius, lower, upper)
        assert (found <= exact + 1e-12 * exact.abs()).all()
        assert (found >= exact * (1 + 1e-3)).all()
