"""Counterexamples that are there but hard to find: planted in trained networks, or built so that d* is known exactly.

Planted, after SoundnessBench (Zhou et al. 2024): a network is trained to be right all over a ball, then a needle is grafted
on it, h relu(1 - sum_i |x_i - p_i| / w), which lifts another class a little above at one point p of the ball and is flat
outside a small l1 ball around p, so that gradients say nothing. Built, in the spirit of networks with analytic ground
truth: a needle alone. Its nearest unsafe point has the linf distance c - x - w (1 - t) / n from a center with equal
entries x, with the needle at equal entries c, and t the level that it must exceed.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor, nn

from advverify.models.export import write_onnx
from advverify.verifier.api import Model, certify, distance
from advverify.verifier.engines import ENGINES, Settings
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat

from .measure import table

KINDS = ("mlp", "conv")
_SHOWN = (Verdict.ROBUST, Verdict.ADVERSARIAL, Verdict.UNKNOWN)
_ABOVE, _WIDTH = 0.05, 0.15  # how far the needle's tip wins, and its l1 radius as a share of eps times inputs


@dataclass
class Planted:
    """A network, a center, its class, a radius, and a point within it that is of another class."""

    path: Path
    center: np.ndarray
    label: int
    eps: float
    point: np.ndarray


def plant(kind: str, seed: int, eps: float, folder: Path) -> Planted:
    """Train a network of two hidden layers to be right in a ball, and graft a needle on it; `conv` reads x and 1 - x."""
    torch.manual_seed(seed)
    shape, count = ((10,), 10) if kind == "mlp" else ((1, 3, 3), 9)
    center = 0.3 + 0.4 * torch.rand(count)
    point = center + 0.95 * eps * (2 * torch.rand(count) - 1)
    first, second, last = nn.Linear(count, 24), nn.Linear(24, 16), nn.Linear(16, 3)
    base = nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), last)
    optimiser = torch.optim.Adam(base.parameters(), lr=5e-3)
    for _ in range(300):
        logits = base(center + eps * (2 * torch.rand(64, count) - 1))
        loss = torch.relu(0.5 + logits[:, 1:].amax(1) - logits[:, 0]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        logits = base(point)
        height = float(logits[0] - logits[1]) + _ABOVE
        sides, width = torch.cat([torch.eye(count), -torch.eye(count)]), _WIDTH * eps * count
        one = _linear(torch.cat([first.weight, sides]), torch.cat([first.bias, -sides @ point]))
        two = _linear(
            torch.block_diag(second.weight, torch.full((1, 2 * count), -1 / width)),
            torch.cat([second.bias, torch.ones(1)]),
        )
        out = _linear(torch.cat([last.weight, torch.tensor([[0.0], [height], [0.0]])], 1), last.bias)
        head: list[nn.Module] = [nn.Flatten()]
        if kind == "conv":
            both = nn.Conv2d(1, 2, 1)
            both.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
            assert both.bias is not None
            both.bias.copy_(torch.tensor([0.0, 1.0]))
            head = [both, nn.ReLU(), nn.Flatten()]
            one = _linear(torch.cat([one.weight / 2, -one.weight / 2], 1), one.bias + one.weight.sum(1) / 2)
    path = folder / f"{kind}-{seed}-{eps}.onnx"
    write_onnx(nn.Sequential(*head, one, nn.ReLU(), two, nn.ReLU(), out), shape, {}, path)
    return Planted(path, center.double().numpy(), 0, eps, point.double().numpy())


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight.data, layer.bias.data = weight.detach().clone(), bias.detach().clone()
    return layer


@dataclass
class Needle:
    """A network whose nearest adversarial example is at a distance known in rational numbers."""

    path: Path
    center: np.ndarray
    distance: float


def needle(kind: str, width: float, folder: Path, side: int = 2, level: float = 0.5) -> Needle:
    """Center 1/4, needle at 3/4 in each of side * side inputs: linf distance 1/2 - width (1 - level) / inputs."""
    count = side * side
    if kind == "mlp":
        first: list[nn.Module] = [nn.Flatten(), nn.Linear(count, 2 * count)]
        first[1].weight.data = torch.cat([torch.eye(count), -torch.eye(count)])
        first[1].bias.data = torch.cat([torch.full((count,), -0.75), torch.full((count,), 0.75)])
        middle: list[nn.Module] = [nn.ReLU(), nn.Linear(2 * count, 1)]
    else:
        conv = nn.Conv2d(1, 2, 1)
        conv.weight.data = torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1)
        assert conv.bias is not None
        conv.bias.data = torch.tensor([-0.75, 0.75])
        first, middle = [conv], [nn.ReLU(), nn.Flatten(), nn.Linear(2 * count, 1)]
    tip, last = middle[-1], nn.Linear(1, 2)
    assert isinstance(tip, nn.Linear)
    tip.weight.data.fill_(-1 / width)
    tip.bias.data.fill_(1.0)
    last.weight.data = torch.tensor([[0.0], [1.0]])
    last.bias.data = torch.tensor([level, 0.0])
    path = folder / f"needle-{kind}-{width}.onnx"
    write_onnx(nn.Sequential(*first, *middle, nn.ReLU(), last), (1, side, side), {}, path)
    return Needle(path, np.full(count, 0.25), 0.5 - width * (1 - level) / count)


def engine_sets() -> list[tuple[str, ...]]:
    """All engines together, and each alone."""
    return [(), *((name,) for name in ENGINES)]


def words(subject: Planted, timeout: float) -> Iterator[tuple[str, Verdict]]:
    """The verdict of every engine set and of both arithmetics on a planted network."""
    model = Model(subject.path)
    for engines in engine_sets():
        for float32 in (False, True):
            settings = Settings(timeout=timeout)
            outcome = certify(
                model,
                subject.center,
                0,
                Threat("inf", subject.eps, float32=float32),
                settings=settings,
                engines=engines,
            )
            yield "+".join(engines) or "all", outcome.verdict


@click.command("hidden_counterexamples")
@click.option("--networks", default=5, show_default=True, help="Of each kind and radius.")
@click.option("--timeout", default=20.0, show_default=True)
def command(networks: int, timeout: float) -> None:
    """Hidden counterexamples: how often each set of engines finds them; `robust` would be a wrong word."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            for eps in (0.05, 0.1, 0.2):
                counts: dict[str, Counter[Verdict]] = {}
                for seed in range(networks):
                    for name, verdict in words(plant(kind, seed, eps, Path(folder)), timeout):
                        counts.setdefault(name, Counter())[verdict] += 1
                rows += [[f"planted {kind}", eps, name, *(found[v] for v in _SHOWN)] for name, found in counts.items()]
        for kind in KINDS:
            for width in (0.5, 0.125):
                subject = needle(kind, width, Path(folder))
                bracket = distance(
                    subject.path, subject.center, 0, Threat("inf"), settings=Settings(timeout=timeout)
                ).bracket
                inside = bracket.lower <= subject.distance * (1 + 1e-6) and bracket.upper >= subject.distance * (
                    1 - 1e-6
                )
                found = Counter(
                    certify(
                        subject.path, subject.center, 0, Threat("inf", subject.distance * 1.01), engines=engines
                    ).verdict
                    for engines in engine_sets()
                )
                label = f"exact distance {subject.distance:g} in [{bracket.lower:.6g}, {bracket.upper:.6g}]"
                rows.append(
                    [
                        f"needle {kind} {width}",
                        label if inside else f"WRONG: {label}",
                        "each",
                        *(found[v] for v in _SHOWN),
                    ]
                )
    click.echo(table(["networks", "eps", "engines", *(f"{v.value}" for v in _SHOWN)], rows))
