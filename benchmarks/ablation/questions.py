"""The questions: an image, the ball of the nearest adversarial input that an attack found, and the class that is asked about."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from advverify.models.datasets import Dataset, load_dataset
from advverify.models.zoo import names, path_of
from advverify.verifier.api import Model
from advverify.verifier.bounds import Bounds
from advverify.verifier.encoding import encode
from advverify.verifier.engines import Settings
from advverify.verifier.engines.falsify import Falsify
from advverify.verifier.engines.region_bounds import RegionBounds
from advverify.verifier.engines.state import SearchState
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.nodes import Network
from advverify.verifier.query import Objective, Query
from advverify.verifier.solvers import SolveOptions
from advverify.verifier.solvers.highs import Highs
from advverify.verifier.specification import Polytope, Region, Specification, Threat, robustness

LOWEST, JOINT = "lowest", "joint"
_ATTACK = 60.0  # seconds, more than the attack takes: it is to end by itself, so that its ball is the same every time
_BEYOND = 1 + 1e-6  # on the sphere itself it would be rounding that says whether the witness is a point of the program


@dataclass(frozen=True, eq=False)
class Subject:
    """A network and its images, as they were named on the command line."""

    name: str
    data: str
    model: Model
    images: Dataset

    @classmethod
    def load(cls, network: str, data: str) -> Subject:
        """A network of the zoo, or a file, with a data set.

        Raises:
            InvalidInput: one of them is not there, or the images are not what the network takes.
        """
        path = path_of(network) if network in names() else Path(network)
        if not path.is_file():
            raise InvalidInput(f"{network}: no such file, and no network of the zoo ({', '.join(names())})")
        model, images = Model(path), load_dataset(data)
        model.flat(images.images[0])
        return cls(path.stem, data.partition(":")[0], model, images)

    @property
    def network(self) -> Network:
        """As it was read."""
        return self.model.network

    def correct(self, count: int) -> Iterator[int]:
        """Positions of the first test images that the network classifies as it should."""
        found = 0
        for index, (image, label) in enumerate(zip(self.images.images, self.images.labels, strict=True)):
            if found == count:
                return
            if self.model.predict(image) == int(label):
                found += 1
                yield index


@dataclass(frozen=True, eq=False)
class Question:
    """How far is the nearest input of a ball that is called one of the classes?

    Attributes:
        subject: the network.
        index: of the image.
        targets: the classes.
        radius: of the ball, in norm inf.
    """

    subject: Subject
    index: int
    targets: tuple[int, ...]
    radius: float

    @classmethod
    def ask(cls, subject: Subject, index: int, targets: str, seed: int) -> Question:
        """Attack an image, and choose the class whose relaxation is lowest in the ball that this leaves, or all of them."""
        everywhere = cls(subject, index, (), math.inf)
        _, label = everywhere._image
        specification = everywhere._specification(math.inf)
        query = Query(subject.network, specification, Objective.MIN_DISTORTION, subject.model.path)
        state = SearchState.open(query, Settings(timeout=_ATTACK, seed=seed), subject.model.executor)
        Falsify().run(state, _ATTACK)
        radius = min(state.upper, 1.0) * _BEYOND  # images lie in [0, 1]: a ball of radius 1 is all of it
        classes = _others(subject.network, label)
        joint = cls(subject, index, tuple(classes), radius)
        if targets == JOINT:
            return joint
        lowest = min(classes, key=joint._relaxation)
        return cls(subject, index, (lowest,), radius)

    @classmethod
    def kept(cls, subject: Subject, row: dict[str, Any]) -> Question:
        """The question of a row that was written before."""
        return cls(subject, int(row["index"]), tuple(row["targets"]), float(row["radius"]))

    @property
    def record(self) -> dict[str, Any]:
        """What `kept` needs."""
        return {"index": self.index, "targets": list(self.targets), "radius": self.radius}

    @cached_property
    def region(self) -> Region:
        """The ball inside the valid range."""
        return self._specification(self.radius).region

    @cached_property
    def unsafe(self) -> tuple[Polytope, ...]:
        """Unsafe sets of the classes."""
        _, label = self._image
        everything = self._specification(self.radius).disjuncts[0].unsafe
        by_class = dict(zip(_others(self.subject.network, label), everything, strict=True))
        return tuple(by_class[target] for target in self.targets)

    @cached_property
    def bounds(self) -> Bounds:
        """Of the network on the ball, as the engine `milp` has them before it tightens any: CROWN."""
        return RegionBounds(self.subject.network).of(self.region)

    def _relaxation(self, target: int) -> float:
        """Value of the LP relaxation for one class, infinite where it says that the ball holds nothing of it."""
        unsafe = (self.unsafe[self.targets.index(target)],)
        program = encode(self.subject.network, self.bounds, self.region, unsafe, Objective.MIN_DISTORTION)
        return Highs().solve(program.relaxed(), SolveOptions(time_limit=_ATTACK)).objective

    @property
    def _image(self) -> tuple[np.ndarray, int]:
        images = self.subject.images
        return self.subject.model.flat(images.images[self.index]), int(images.labels[self.index])

    def _specification(self, radius: float) -> Specification:
        """Any other class on top within a radius."""
        (image, label), network = self._image, self.subject.network
        return robustness(image, label, Threat("inf", radius), network.output_size, network.ending)


def _others(network: Network, label: int) -> list[int]:
    """Classes but the label, in the order of the unsafe sets."""
    return [k for k in range(max(network.output_size, 2)) if k != label]
