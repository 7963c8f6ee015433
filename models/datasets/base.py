"""What a data set is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from advverify.verifier.errors import InvalidInput

DIVIDED, BYTES, INTEGERS = "bytes / 255", "bytes", "integers"


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels.

    Attributes:
        name: of the source.
        images: (N, channels, height, width) or (N, ...) float64, in the units of a network's inputs.
        labels: (N,) int64.
        units: what the numbers are, where the source holds bytes or integers; empty for floating-point numbers.
        channels_last: the source holds (N, height, width, channels).
        note: what was decided about the units without being stated; empty otherwise.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray
    units: str = ""
    channels_last: bool = False
    note: str = ""

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels)

    def __post_init__(self) -> None:
        """Check that images and labels belong together and make sense."""
        if len(self.images) != len(self.labels):
            raise InvalidInput(f"{self.name}: {len(self.images)} images but {len(self.labels)} labels")
        if not len(self.images) or not self.images[0].size:
            raise InvalidInput(f"{self.name}: holds no images")
        broken = ~np.isfinite(self.images).reshape(len(self.images), -1).all(1)
        if broken.any():
            raise InvalidInput(
                f"{self.name}: the images hold NaN or infinite values ({int(broken.sum())} of {len(self)} images, the "
                f"first is {int(broken.argmax())})"
            )

    def fitted(self, shape: Sequence[int]) -> Self:
        """In the order of a network's inputs: channels first or last.

        Raises:
            InvalidInput: images of another size, or of a shape that is none of the two.
        """
        own = self.images.shape[1:]
        if int(np.prod(own)) != int(np.prod(shape)):
            raise InvalidInput(
                f"images of {self.name} have {int(np.prod(own))} values, the network takes {int(np.prod(shape))} "
                f"(shape {list(shape)}); choose another --data"
            )
        wanted, given = [n for n in shape if n != 1], [n for n in own if n != 1]
        if min(len(wanted), len(given)) < 2 or wanted == given:
            return self
        if len(own) == 3 and wanted == [own[1], own[2], own[0]]:
            return replace(self, images=np.ascontiguousarray(self.images.transpose(0, 2, 3, 1)))
        raise InvalidInput(
            f"images of {self.name} have the shape {list(own)}, the network takes {list(shape)}: the same values in another "
            "order; transpose the images"
        )

    def check_range(
        self, indices: Sequence[int], valid: tuple[float, float] = (0.0, 1.0), option: bool = False
    ) -> None:
        """Every one of these images lies in the valid range.

        Args:
            indices: of images.
            valid: range of the network's inputs.
            option: whether another range can be given.

        Raises:
            InvalidInput: names the first that does not, and what can be done.
        """
        for i in indices:
            low, high = float(self.images[i].min()), float(self.images[i].max())
            if low < valid[0] or high > valid[1]:
                hint = "give another --valid-range" if option else "this command works in [0, 1]: scale the images"
                if option and self.units == INTEGERS:
                    hint += ", or --bytes unit to divide by 255"
                raise InvalidInput(
                    f"{self.name}: image {i} has values from {low:g} to {high:g}, outside the valid range "
                    f"[{valid[0]:g}, {valid[1]:g}]; {hint}"
                )

    @property
    def sha256(self) -> str:
        """Hash of the contents."""
        digest = hashlib.sha256(np.ascontiguousarray(self.images).tobytes())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()

    @classmethod
    def from_bytes(cls, name: str, images: np.ndarray, labels: np.ndarray) -> Self:
        """From uint8 images, which are divided by 255 (`units.in_units` takes that back where the network takes bytes)."""
        return cls(name, images.astype(np.float64) / 255.0, labels.astype(np.int64), DIVIDED)
