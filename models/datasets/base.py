"""What a data set is."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Self

import numpy as np

from advverify.verifier.errors import InvalidInput


@dataclass(frozen=True, eq=False)
class Dataset:
    """`images` (N, channels, height, width) float64 in [0, 1]; `labels` (N,) int64."""

    name: str
    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def __post_init__(self) -> None:
        """Check that images and labels belong together and make sense."""
        if len(self.images) != len(self.labels):
            raise InvalidInput(f"{self.name}: {len(self.images)} images but {len(self.labels)} labels")
        if not np.isfinite(self.images).all():
            raise InvalidInput(f"{self.name}: the images hold NaN or infinite values")

    @property
    def sha256(self) -> str:
        """Hash of the contents."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).tobytes())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()

    @classmethod
    def from_bytes(cls, name: str, images: np.ndarray, labels: np.ndarray) -> Self:
        """From uint8 images, which are divided by 255."""
        return cls(name, images.astype(np.float64) / 255.0, labels.astype(np.int64))
