"""Counterexamples that are there but hard to find: planted by training, or built so that the distance is known exactly.

Planted, after SoundnessBench (Zhou et al. 2024): a network is trained to be wrong, by a small margin, at one point of a
ball, and right at whatever projected gradient descent finds in that ball. Built, in the spirit of networks with analytic
ground truth: class 1 has a needle, 1 - sum_i |x_i - c| / w, which is flat outside a small l1 ball around c, so gradients
say nothing; its linf distance from the center is c - x - w (1 - t) / n, with t the level that class 1 must exceed.
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

from .measure import table

KINDS = ("mlp", "conv")
_SHOWN = (Verdict.ROBUST, Verdict.ADVERSARIAL, Verdict.UNKNOWN)
_MARGIN = 0.02  # by which a planted point is wrong


@dataclass
class Planted:
    """A network, a center, its class, a radius, and a point within it that is of another class."""

    path: Path
    center: np.ndarray
    label: int
    eps: float
    point: np.ndarray


def build(kind: str) -> tuple[nn.Module, tuple[int, ...]]:
    """A small network and the shape of its inputs."""
    if kind == "mlp":
        return nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 3)), (8,)
    layers = [nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 16), nn.ReLU(), nn.Linear(16, 3)]
    return nn.Sequential(*layers), (1, 4, 4)


def plant(kind: str, seed: int, eps: float, folder: Path, rounds: int = 30) -> Planted:
    """Train until the point is wrong and the attacks find nothing; tries further seeds where training fails.

    Raises:
        RuntimeError: no seed of ten succeeded.
    """
    for attempt in range(10):
        torch.manual_seed(1000 * seed + attempt)
        network, shape = build(kind)
        center = torch.rand(1, *shape)
        corner = torch.where(torch.rand_like(center) < 0.5, -1.0, 1.0)
        point = (center + eps * corner * (0.97 + 0.03 * torch.rand_like(center))).clamp(0, 1)
        optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
        found = center.expand(64, *shape)
        for _ in range(rounds):
            found = torch.cat([found, _attack(network, center, eps)])[-512:]
            for _ in range(40):
                random = (center + eps * (2 * torch.rand(64, *shape) - 1)).clamp(0, 1)
                right = torch.relu(0.2 + _wrong(network, torch.cat([found, random]))).mean()
                planted = torch.relu(_MARGIN - _wrong(network, point)).mean()
                optimiser.zero_grad()
                (right + 20 * planted).backward()
                optimiser.step()
            if bool(_wrong(network, point) > _MARGIN / 2) and bool((_wrong(network, found) < 0).all()):
                break
        if bool(_wrong(network, point) > _MARGIN / 2) and bool(_wrong(network, center) < 0):
            path = folder / f"{kind}-{seed}-{eps}.onnx"
            write_onnx(network, shape, {}, path)
            flat = [t.detach().double().numpy().ravel() for t in (center, point)]
            return Planted(path, flat[0], 0, float(np.abs(flat[1] - flat[0]).max()) * (1 + 1e-6), flat[1])
    raise RuntimeError(f"no counterexample could be planted in a network of kind {kind}")


def _wrong(network: nn.Module, x: Tensor) -> Tensor:
    """Best other logit minus that of class 0."""
    logits = network(x)
    wrong: Tensor = logits[:, 1:].amax(1) - logits[:, 0]
    return wrong


def _attack(network: nn.Module, center: Tensor, eps: float) -> Tensor:
    x = (center + eps * (2 * torch.rand(64, *center.shape[1:]) - 1)).clamp(0, 1)
    for _ in range(30):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(_wrong(network, x).sum(), x)
        x = torch.clamp(torch.minimum(torch.maximum(x + 0.1 * eps * gradient.sign(), center - eps), center + eps), 0, 1)
    return x.detach()


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
        for executed in (False, True):
            settings = Settings(timeout=timeout)
            outcome = certify(
                model, subject.center, 0, "inf", subject.eps, executed=executed, settings=settings, engines=engines
            )
            yield "+".join(engines) or "all", outcome.verdict


@click.command("planted")
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
                bracket = distance(subject.path, subject.center, 0, "inf", settings=Settings(timeout=timeout)).bracket
                inside = bracket.lower <= subject.distance * (1 + 1e-6) and bracket.upper >= subject.distance * (
                    1 - 1e-6
                )
                found = Counter(
                    certify(subject.path, subject.center, 0, "inf", subject.distance * 1.01, engines=engines).verdict
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
