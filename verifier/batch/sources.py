"""How names in job files become images and files: what lies above the verifier knows data sets and the zoo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..api import Model
from ..errors import InvalidModel
from ..request import model_of


class Images(Protocol):
    """A data set."""

    @property
    def images(self) -> np.ndarray:
        """Images (N, ...), in the units of a network's inputs."""

    @property
    def labels(self) -> np.ndarray:
        """Labels (N,)."""

    @property
    def units(self) -> str:
        """What the numbers are, where that had to be decided; empty otherwise."""

    def fitted(self, shape: Sequence[int]) -> Images:
        """In the order of a network's inputs.

        Raises:
            InvalidInput: images of another size or shape.
        """


LoadData = Callable[[str, tuple[float, float], str | None], Images]


@dataclass(frozen=True)
class Sources:
    """Where names lead.

    Attributes:
        data: name, valid range of inputs, and what bytes are taken for ("raw" or "unit", None where nobody says), to images.
        model: name and the job's folder to a path; refuses what is not there.
        images: text like 0:100 and the number of images to indices.
    """

    data: LoadData
    model: Callable[[str, Path], Path]
    images: Callable[[str, int], range]


def readable(path: Path) -> Model | None:
    """The model of a file that is there; None where it cannot be read, which will be an accident of its queries alone."""
    try:
        return model_of(str(path))
    except InvalidModel:
        return None
