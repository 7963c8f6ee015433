"""Piecewise-linear activations as data, and their exact rewriting with ReLUs.

A continuous piecewise-linear function with slopes s_0, s_1, ..., s_k between breakpoints t_1 < ... < t_k is

    phi(x) = s_0 x + c + sum_i (s_i - s_{i-1}) relu(x - t_i),

so that a new activation is one entry here, and bounds, encodings and proofs know nothing but ReLUs.
For LeakyReLU the triangle relaxation of the ReLU gives exactly the convex hull of the LeakyReLU.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PiecewiseLinear:
    """Breakpoints (increasing), slopes (one more than breakpoints), and the value at x = 0 of the first piece's line."""

    breakpoints: tuple[float, ...]
    slopes: tuple[float, ...]
    offset: float = 0.0

    def __post_init__(self) -> None:
        """Check the lengths and the order."""
        if len(self.slopes) != len(self.breakpoints) + 1 or list(self.breakpoints) != sorted(set(self.breakpoints)):
            raise ValueError("need increasing breakpoints and one slope more than breakpoints")

    def __call__(self, x: float) -> float:
        """Value at x.

        >>> clip(-1.0, 1.0)(3.0), leaky_relu(0.1)(-2.0), ABS(-3.0)
        (1.0, -0.2, 3.0)
        """
        value = self.slopes[0] * x + self.offset
        for before, after, t in zip(self.slopes, self.slopes[1:], self.breakpoints, strict=False):
            value += (after - before) * max(x - t, 0.0)
        return value


ABS = PiecewiseLinear((0.0,), (-1.0, 1.0))


def leaky_relu(alpha: float) -> PiecewiseLinear:
    """x for x >= 0, alpha x below."""
    return PiecewiseLinear((0.0,), (alpha, 1.0))


def clip(low: float | None, high: float | None) -> PiecewiseLinear:
    """min(max(x, low), high); a missing side does not clip."""
    if low is not None and high is not None:
        if low >= high:
            return PiecewiseLinear((), (0.0,), high)
        return PiecewiseLinear((low, high), (0.0, 1.0, 0.0), low)
    if low is not None:
        return PiecewiseLinear((low,), (0.0, 1.0), low)
    if high is not None:
        return PiecewiseLinear((high,), (1.0, 0.0))
    return PiecewiseLinear((), (1.0,))
