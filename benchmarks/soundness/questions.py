"""Nasty questions about images: radii at, just below and just above the exact distance, decimals, borders, all norms."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from .exact import Cell, Network, cells
from .optimum import Ball, Disjunct, Row, Unsafe, least_distance, unsafe_parts
from .polytope import Point

ENGINES = (
    "crown",
    "falsify",
    "propagate",
    "bisect",
    "falsify-more",
    "row-split",
    "support-split",
    "input-split",
    "lp-split",
    "relu-split",
    "milp",
)
DECIMALS = (1 / 255, 2 / 255, 8 / 255, 0.01, 0.02, 0.03, 0.05, 0.1, 0.3, 0.7)
RADII = ("inside", "outside", "at", "ulp", "near", "zero", "infinite", "decimal")
EDGES = ("at", "ulp", "near", "zero")
Judge = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class How:
    """The ways to ask that may not change an answer."""

    through: str = "api"
    engines: tuple[str, ...] = ()
    threads: int = 1
    proofs: bool = False
    float32: bool = False
    timeout: float = 5.0


@dataclass
class Question:
    """What is asked about images of a network (`certify`, `certify_all`, `distance`).

    Attributes:
        command: one of these.
        kind: for the table.
        images: one or several, as they are handed over.
        labels: theirs.
        norm: inf, 1, 2 or 0.
        eps: radius, or limit of a distance.
        target: the only class that counts.
        margin: confidence of an adversarial example.
        exact_margin: whether the worst margin is asked for.
        valid: range of inputs.
        cells: pieces of the network over that range.
    """

    command: str
    kind: str
    how: How
    images: list[np.ndarray]
    labels: list[int]
    norm: str
    eps: float
    target: int | None = None
    margin: float = 0.0
    exact_margin: bool = False
    valid: tuple[float, float] = (0.0, 1.0)
    cells: list[Cell] = field(default_factory=list)

    @property
    def radius(self) -> Fraction | None:
        """Exactly; None is infinite."""
        return None if math.isinf(self.eps) else Fraction(self.eps)

    def ball(self, k: int) -> Ball:
        """Around image k."""
        return Ball(point(self.images[k]), self.norm, self.radius)

    def unsafe(self, k: int, outputs: int, level: Fraction | None = None) -> list[Disjunct]:
        """Another class wins over label k by the margin; or, for a level, the margin of one is below that."""
        rows = margin_rows(outputs, self.labels[k], self.target)
        alpha = Fraction(self.margin)
        if level is not None:
            return [(Row(row, none, level - alpha, True),) for row, none in rows(len(self.images[k]))]
        return [(Row(row, none, -alpha, self.margin == 0),) for row, none in rows(len(self.images[k]))]

    def parts(self, k: int, network: Network, level: Fraction | None = None) -> list[Unsafe]:
        """Pieces of the unsafe set within the valid range."""
        return unsafe_parts(self.cells, self.unsafe(k, network.outputs, level))

    def least(self, k: int, network: Network) -> Fraction | None:
        """The exact distance of image k from the unsafe set within the valid range (squared for norm 2)."""
        return least_distance(self.parts(k, network), point(self.images[k]), self.norm)


def margin_rows(outputs: int, label: int, target: int | None) -> Callable[[int], list[tuple[Point, Point]]]:
    """y_label - y_other for each other class that counts, as coefficients of outputs and of inputs."""

    def rows(inputs: int) -> list[tuple[Point, Point]]:
        found = []
        for k in range(outputs):
            if k != label and target in (None, k):
                row = [Fraction(0)] * outputs
                row[label], row[k] = Fraction(1), Fraction(-1)
                found.append((tuple(row), (Fraction(0),) * inputs))
        return found

    return rows


def point(image: np.ndarray) -> Point:
    """The values of an image, exactly."""
    return tuple(Fraction(float(v)) for v in image.ravel())


def draw_how(rng: random.Random) -> How:
    """Any engines, threads and proofs, through the library or the command line."""
    engines: tuple[str, ...] = ()
    if rng.random() < 0.25:
        engines = tuple(name for name in ENGINES if rng.random() < 0.5) or (rng.choice(ENGINES),)
    return How(
        through=rng.choice(("api", "api", "cli")),
        engines=engines,
        threads=2 if rng.random() < 0.1 else 1,
        proofs=rng.random() < 0.1,
        float32=rng.random() < 0.05,
    )


def draw(rng: random.Random, network: Network, kind: str, judge: Judge) -> Question:
    """A question about one image, or several, of a network of a kind.

    Raises:
        TooMany: the network has too many pieces.
    """
    how, norm = draw_how(rng), rng.choice(("inf", "inf", "1", "2", "0"))
    valid = rng.choice(((0.0, 1.0), (0.0, 1.0), (0.0, 1.0), (-1.0, 1.0), (-0.5, 2.0)))
    command = rng.choices(("certify", "margin", "distance", "limit", "certify_all", "bytes"), (8, 3, 4, 2, 2, 0.6))[0]
    if kind == "pruned" and rng.random() < 0.5:  # bounds of nothing times an infinite radius
        command, norm = "distance", rng.choice(("1", "2", "inf"))
    if command == "margin" and rng.random() < 0.3:
        norm = "0"
    if command == "bytes":
        valid = (0.0, 255.0)
    count = rng.randint(4, 6) if command == "certify_all" else 1
    images = [_image(rng, network.inputs, valid, kind, command) for _ in range(count)]
    labels = [int(np.argmax(judge(image))) for image in images]
    if rng.random() < 0.03:
        labels[0] = rng.randrange(network.outputs)
    others = [k for k in range(network.outputs) if k != labels[0]]
    asked = {"certify": "certify", "margin": "certify", "limit": "distance", "bytes": "certify"}.get(command, command)
    question = Question(asked, command, how, images, labels, norm, 0.0, valid=valid)
    if count == 1 and rng.random() < 0.15:
        question.target = rng.choice(others)
    if rng.random() < 0.15 and not network.ending:
        question.margin = rng.choice((0.1, 0.5, 0.25, 1e-3))
    question.exact_margin = command == "margin"
    low, high = ([Fraction(side)] * network.inputs for side in valid)
    question.cells = cells(network, low, high, 400)
    if command == "distance":
        question.eps, radius = math.inf, "free"
    else:
        exact = least_distance(question.parts(0, network), point(images[0]), norm)
        radius, question.eps = _radius(rng, exact, norm, command)
    question.kind = f"{command} {radius}"
    return question


def _image(rng: random.Random, n: int, valid: tuple[float, float], kind: str, command: str) -> np.ndarray:
    low, high = valid
    if command == "bytes":
        return np.array([rng.randrange(256) for _ in range(n)], dtype=np.uint8)
    if kind == "kinks":
        return np.full(n, 0.5)
    style = rng.choice(("float32", "float32", "short", "decimal", "border", "border"))
    values = [low + (high - low) * rng.random() for _ in range(n)]
    if style == "short":
        values = [round(v * 8) / 8 for v in values]
    elif style == "decimal":
        return np.array([min(max(round(v, 2), low), high) for v in values])
    elif style == "border":
        values = [rng.choice((low, high, v)) for v in values]
    return np.clip(np.array(values, dtype=np.float32), low, high).astype(np.float64)


def _radius(rng: random.Random, exact: Fraction | None, norm: str, command: str) -> tuple[str, float]:
    """A radius of a kind, from the exact distance (squared for norm 2; None where nothing is unsafe)."""
    kind = rng.choices(RADII, (4, 4, 1, 1, 1, 0.5, 1, 3))[0]
    if kind == "decimal":
        return kind, float(rng.choice((1, 2))) if norm == "0" else rng.choice(DECIMALS)
    if kind == "infinite":
        return kind, math.inf
    if kind == "zero":
        return kind, 0.0
    if exact is None:
        return "nothing", rng.choice((0.1, 1.0, math.inf))
    star = math.sqrt(exact) if norm == "2" else float(exact)
    if norm == "0":
        return ("inside", max(star - 1, 0)) if kind == "inside" else ("outside", star)
    if kind == "inside":
        return kind, star * rng.uniform(0.3, 0.98)
    if kind == "outside":
        return kind, star * rng.uniform(1.02, 2.0)
    if kind == "at":
        return kind, star
    if kind == "ulp":
        return kind, math.nextafter(star, rng.choice((0.0, math.inf)))
    return kind, star * (1 + rng.choice((1e-7, -1e-7)))
