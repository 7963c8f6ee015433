"""A query: network + specification + objective."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np

from .errors import InvalidInput
from .key import content_key
from .network.nodes import Network
from .specification import Specification


class Objective(Enum):
    """The three formal questions of adversarial examples."""

    FEASIBILITY = "feasibility"  # is there an unsafe point in the region?
    MIN_DISTORTION = "min_distortion"  # how far from the center is the nearest one?
    MAX_MARGIN = "max_margin"  # what is the least margin of an input of the region: how deep inside the unsafe set?


@dataclass(frozen=True, eq=False)
class Query:
    """One question about one network.

    Attributes:
        network: what is verified.
        specification: regions and unsafe sets; for MIN_DISTORTION one disjunct with a ball, whose radius limits the search.
        objective: what is asked.
        model: the ONNX file that judges counterexamples; None for networks built in memory, judged by themselves.
        float32: whether the outputs meant are those of any execution of the file in its own floating point, rather than
            those of exact arithmetic on its weights.
    """

    network: Network
    specification: Specification
    objective: Objective
    model: Path | None = None
    float32: bool = False

    def __post_init__(self) -> None:
        """Check that the network means what its file says on all inputs that are asked about.

        Raises:
            InvalidInput: it may not (`Network.input_limit`).
        """
        limit = self.network.input_limit
        if math.isinf(limit):
            return
        for disjunct in self.specification.disjuncts:
            largest = max(float(np.abs(side).max(initial=0.0)) for side in disjunct.region.bounding_box())
            if largest > limit:
                raise InvalidInput(
                    f"inputs reach {largest:.3g}, and beyond {limit:.3g} values of this network may reach a limit of Clip, Max or Min that is "
                    "the largest number of its type: ask about smaller inputs, or rescale the network"
                )

    @property
    def key(self) -> str:
        """Content key (see `key`)."""
        disjuncts, arrays = [], list[np.ndarray]()
        for disjunct in self.specification.disjuncts:
            region, ball = disjunct.region, disjunct.region.ball
            arrays += [region.lower, region.upper]
            disjuncts.append(
                {
                    "decimals": [str(item) for item in sorted(region.decimals.items())],
                    "ball": None if ball is None else [ball.norm.key, repr(ball.radius)],
                    "unsafe": [
                        [str(item) for item in sorted(polytope.decimals.items())] for polytope in disjunct.unsafe
                    ],
                }
            )
            arrays += [] if ball is None else [ball.center]
            arrays += [array for p in disjunct.unsafe for array in (p.matrix, p.offset, p.strict)]
        parts = {"model": self.network.sha256, "objective": self.objective.value, "float32": self.float32}
        return content_key({**parts, "disjuncts": disjuncts}, *arrays)
