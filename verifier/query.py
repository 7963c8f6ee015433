"""A query: network + specification + objective. Its key is a hash of content, so that equal questions are recognised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from .network.nodes import Network
from .specification import Specification

KEY_VERSION = 3


class Objective(Enum):
    """The three formal questions of adversarial examples."""

    FEASIBILITY = "feasibility"  # is there an unsafe point in the region?
    MIN_DISTORTION = "min_distortion"  # how far from the center is the nearest one?
    MAX_MARGIN = "max_margin"  # how deep inside the unsafe set can an input of the region get?


@dataclass(frozen=True, eq=False)
class Query:
    """One question about one network.

    Attributes:
        network: what is verified.
        specification: regions and unsafe sets; for MIN_DISTORTION one case with a ball, whose radius limits the search.
        objective: what is asked.
        model: the ONNX file that judges counterexamples; None for networks built in memory, judged by themselves.
        executed: whether the outputs meant are those of any execution of the file in its own floating point, rather than
            those of exact arithmetic on its weights.
    """

    network: Network
    specification: Specification
    objective: Objective
    model: Path | None = None
    executed: bool = False

    @property
    def key(self) -> str:
        """Content hash; leaves out everything that cannot change the answer (threads, devices, paths)."""
        words = f"{KEY_VERSION}:{self.network.sha256}:{self.objective.value}:{self.executed}"
        digest = hashlib.sha256(words.encode())

        def feed(*arrays: np.ndarray) -> None:
            for array in arrays:
                digest.update(np.ascontiguousarray(array).tobytes())

        for case in self.specification.cases:
            feed(case.region.lower, case.region.upper)
            if case.region.decimals:
                digest.update(f"{sorted(case.region.decimals.items())}".encode())
            if case.region.ball is not None:
                digest.update(f"{case.region.ball.norm.key}:{case.region.ball.radius!r}".encode())
                feed(case.region.ball.center)
            for polytope in case.unsafe:
                feed(polytope.matrix, polytope.offset, polytope.strict)
                if polytope.decimals:
                    digest.update(f"{sorted(polytope.decimals.items())}".encode())
        return digest.hexdigest()
