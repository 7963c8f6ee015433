"""Norms: the linear minimum over ball ∩ box against linear programs and sampling, and the radius it stays positive to."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from advverify.verifier.errors import InvalidInput
from advverify.verifier.norms import get_norm
from advverify.verifier.norms.l0 import ChosenL0


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
@given(seed=st.integers(0, 10**6), value=st.floats(1e-12, 3.0))
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


@pytest.mark.parametrize("name", ["0", "1", "2", "inf"])
@pytest.mark.parametrize("value", [0.0, -0.0, -1.0, float("nan")])
@pytest.mark.parametrize("slope", [0.0, 1e-200, 1.0])
def test_nothing_is_certified_where_the_center_is_not_above_zero(name: str, value: float, slope: float) -> None:
    """Not even by a function that is 0 everywhere; of counts not even the center itself."""
    center = torch.full((1, 2), 0.5, dtype=torch.float64)
    a, at_center = torch.full_like(center, slope), torch.tensor([value], dtype=torch.float64)
    found = get_norm(name).certified_radius(a, at_center, center, torch.zeros_like(center), torch.ones_like(center))
    assert float(found) == (-1.0 if name == "0" else 0.0)


@pytest.mark.parametrize("name", ["0", "1", "2", "inf"])
@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e-160, 1e-20, 1e100])
def test_radii_of_small_functions_are_no_larger(name: str, size: float) -> None:
    """Squares of 1e-200 are 0, and a function of such slopes falls all the same."""
    rng, norm = np.random.default_rng(0), get_norm(name)
    for _ in range(20):
        a, center = torch.from_numpy(rng.normal(size=(1, 4))), torch.from_numpy(rng.random((1, 4)))
        value = torch.from_numpy(rng.random(1))
        box = center - 1.0, center + 1.0
        expected = norm.certified_radius(a, value, center, *box)
        found = norm.certified_radius(a * size, value * size, center, *box)
        assert float(found) <= float(expected) * (1 + 1e-9)
        least = norm.least(a * size, center, torch.ones(1, dtype=torch.float64), *box)
        assert float(least) <= float(norm.least(a, center, torch.ones(1, dtype=torch.float64), *box)) * size * (
            1 - 1e-3
        )


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), channels=st.integers(1, 2))
def test_what_is_left_of_an_l0_ball_when_some_pixels_are_chosen(seed: int, channels: int) -> None:
    """Minima and radii against all supports that hold the chosen pixels, for balls with different choices."""
    rng = np.random.default_rng(seed)
    pixels, batch, rows = int(rng.integers(1, 6)), 3, 2
    chosen = torch.tensor(rng.random((batch, pixels)) < 0.4)
    radius = chosen.sum(-1) + torch.tensor(rng.integers(0, 3, batch))
    norm = ChosenL0(chosen, channels)
    a = torch.tensor(rng.normal(size=(batch, rows, pixels * channels)))
    center = torch.tensor(rng.random((batch, 1, pixels * channels)))
    lower, upper = torch.zeros_like(center), torch.ones_like(center)
    reach = radius.double().unsqueeze(1).expand(batch, rows)
    least = norm.least(a, center, reach, lower, upper)
    at = norm.minimizer(a, center, reach, lower, upper)
    value = torch.tensor(rng.random((batch, rows)))
    certified = norm.certified_radius(a, value, center, lower, upper)
    for b, row in itertools.product(range(batch), range(rows)):
        slope, middle = a[b, row], center[b, 0]
        fall = torch.minimum(slope * (0 - middle), slope * (1 - middle)).view(channels, pixels).sum(0)
        must = {int(i) for i in torch.nonzero(chosen[b])}
        deepest: dict[int, float] = {}
        for size in range(len(must), pixels + 1):
            supports = [s for s in itertools.combinations(range(pixels), size) if must <= set(s)]
            deepest[size] = min(float(fall[list(s)].sum()) for s in supports)
        allowed = min(int(radius[b]), pixels)
        assert float(least[b, row]) == pytest.approx(deepest[allowed], abs=1e-12)
        assert float((slope * (at[b, row] - middle)).sum()) == pytest.approx(deepest[allowed], abs=1e-12)
        safe = [size for size, fallen in deepest.items() if float(value[b, row]) + fallen >= 0]
        if len(safe) < len(deepest) and safe:
            assert float(certified[b, row]) == max(safe)
        elif safe:
            assert float(certified[b, row]) == np.inf
        else:
            assert float(certified[b, row]) < max(len(must), 1)
