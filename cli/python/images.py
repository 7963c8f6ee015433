"""Images and labels as users have them: numpy or torch, one or a batch, floats or bytes whose unit is stated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Literal

import numpy as np
import torch

from advverify.verifier.errors import InvalidInput
from advverify.verifier.specification.threat import whole_number

BytesAs = Literal["raw", "unit"]
ImageLike = np.ndarray | torch.Tensor | Sequence[Any]
LabelsLike = Sequence[int] | np.ndarray | torch.Tensor


@dataclass(frozen=True, eq=False)
class Images:
    """Images in the units of a network's inputs.

    Attributes:
        values: (N, ...) float64.
        labels: of each image; None where the model's own prediction counts.
        single: whether one image was given rather than a batch.
        shape: of one image, as it was given.
    """

    values: np.ndarray
    labels: tuple[int, ...] | None
    single: bool
    shape: tuple[int, ...]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.values)

    def check_range(self, valid: tuple[float, float]) -> None:
        """Every image of a batch lies in the valid range, and holds numbers.

        Raises:
            InvalidInput: names the first that does not.
        """
        flat = self.values.reshape(len(self), -1)
        for k in np.flatnonzero(~((flat >= valid[0]) & (flat <= valid[1])).all(1))[:1]:
            raise InvalidInput(
                f"image {k} of x has values from {flat[k].min():g} to {flat[k].max():g}, outside the valid range "
                f"[{valid[0]:g}, {valid[1]:g}]; give images in the model's own units, or another valid_range"
            )

    def labelled(self, predict: Callable[[np.ndarray], int]) -> tuple[int, ...]:
        """The labels, or what `predict` says of each image where there are none."""
        return tuple(map(predict, self.values)) if self.labels is None else self.labels


def read_images(
    x: ImageLike,
    y: int | LabelsLike | None,
    takes: Callable[[np.ndarray], str],
    bytes_as: BytesAs | None = None,
    shape: Sequence[int] | None = None,
) -> Images:
    """One image or a batch.

    A whole number for `y` says that `x` is one image, a sequence that it is a batch. Without `y` it is a batch where the model
    takes it as one, else one image.

    Args:
        x: the image (...) or the images (N, ...).
        y: its label, or their labels.
        takes: says of a batch of one why the model does not take it; "" where it does.
        bytes_as: what uint8 becomes: "unit" divides by 255, "raw" takes it as it is.
        shape: of one input of the model, where it is known.

    Raises:
        InvalidInput: no numbers, bytes without a unit, as many labels as there are no images, or a shape that the model does not take.
    """
    values, labels = read_values(x, bytes_as), _labels(y)
    if isinstance(labels, int):
        return replace(_one(values, takes), labels=(labels,))
    if labels is not None:
        if not values.ndim or len(values) != len(labels):
            count = len(values) if values.ndim else 1
            raise InvalidInput(f"x holds {count} images and y {len(labels)} labels")
        return replace(_batch(values, takes), labels=labels)
    if shape is not None and values.shape == tuple(shape):
        return _one(values, takes)
    why = takes(values[:1]) if values.ndim > 1 and len(values) else "it has no images one after another"
    if not why:
        return _batch(values, takes)
    try:
        return _one(values, takes)
    except InvalidInput as error:
        raise InvalidInput(f"x is neither a batch that the model takes ({why}) nor an image ({error})") from None


def read_values(x: ImageLike, bytes_as: BytesAs | None = None) -> np.ndarray:
    """Numbers as float64, of the shape of `x`.

    Raises:
        InvalidInput: no numbers, bytes whose unit is not stated, or a unit of what are no bytes.
    """
    if bytes_as not in (None, "raw", "unit"):
        raise InvalidInput(f"bytes_as takes 'unit' or 'raw', got {bytes_as!r}")
    try:
        if isinstance(x, torch.Tensor):
            x = x.detach().cpu()
            x = (x.double() if x.is_floating_point() else x).numpy()
        given = np.asarray(x)
        if given.dtype.kind not in "fiub":
            raise TypeError
        values = given.astype(np.float64)
    except (TypeError, ValueError):
        raise InvalidInput("x is no array of numbers") from None
    if not np.isfinite(values).all():
        where = ", ".join(map(str, np.argwhere(~np.isfinite(values))[0].tolist()))
        raise InvalidInput(f"x holds a number that is not finite, at [{where}]")
    if given.dtype != np.uint8:
        if bytes_as is not None:
            raise InvalidInput(f"bytes_as is about uint8, and x holds {given.dtype}: leave it out")
        return values
    if bytes_as is None:
        raise InvalidInput(
            "x holds uint8: say bytes_as='unit' (divided by 255) or bytes_as='raw' (0 to 255 as they are)"
        )
    return values / 255.0 if bytes_as == "unit" else values


def takes_shape(shape: tuple[int, ...]) -> Callable[[np.ndarray], str]:
    """What `read_images` asks of a network whose inputs have a shape: as many values, in the same order."""

    def takes(batch: np.ndarray) -> str:
        own = batch.shape[1:]
        if prod(own) != prod(shape):
            return f"an image of x has {prod(own)} values (shape {list(own)}), the network takes {prod(shape)} (shape {list(shape)})"
        given, wanted = [n for n in own if n != 1], [n for n in shape if n != 1]
        if min(len(given), len(wanted)) > 1 and given != wanted:
            return f"an image of x has the shape {list(own)}, the network takes {list(shape)}: the same values in another order"
        return ""

    return takes


def _one(values: np.ndarray, takes: Callable[[np.ndarray], str]) -> Images:
    why = takes(values[None])
    if not why:
        return Images(values[None], None, True, values.shape)
    if values.ndim > 1 and len(values) == 1 and not takes(values):  # with the batch dimension that a module wants
        return Images(values, None, True, values.shape)
    if values.ndim > 1 and len(values) > 1 and not takes(values[:1]):
        raise InvalidInput(f"y is one label, and x a batch of {len(values)} images: give a sequence of as many labels")
    raise InvalidInput(why)


def _batch(values: np.ndarray, takes: Callable[[np.ndarray], str]) -> Images:
    if not len(values):
        raise InvalidInput("x holds no image")
    if why := takes(values[:1]):
        raise InvalidInput(why)
    return Images(values, None, False, values.shape[1:])


def _labels(y: int | LabelsLike | None) -> int | tuple[int, ...] | None:
    if y is None:
        return None
    given = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else y
    if np.ndim(given) == 0:
        return whole_number("y", given[()] if isinstance(given, np.ndarray) else given)
    if np.ndim(given) > 1:
        raise InvalidInput(
            f"y must be a whole number or a sequence of them, got an array of shape {list(np.shape(given))}"
        )
    return tuple(whole_number("a label of y", label) for label in given)  # type: ignore[union-attr]
