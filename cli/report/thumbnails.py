"""Images, adversarial examples and their differences as small pictures in a page."""

from __future__ import annotations

import io

import numpy as np

from .page import data_address

Shape = tuple[int, ...]


def thumbnail(image: np.ndarray, shape: Shape, valid: tuple[float, float] = (0.0, 1.0)) -> str:
    """An image (flat) as a PNG's data address; the valid range runs from black to white.

    Args:
        image: its values.
        shape: channels, height, width; of more than three channels, or of two, the first is shown.
        valid: range of inputs.
    """
    low, high = valid
    pixels = (image.reshape(shape) - low) / (high - low)
    return _png(pixels if shape[0] in (1, 3) else pixels[:1])


def difference(change: np.ndarray, shape: Shape) -> tuple[str, float]:
    """A change (flat) as a PNG's data address, and the largest change of a value, which is shown as white or black.

    What grows is lighter than grey, what shrinks is darker: colours have other meanings on a page.
    """
    pixels = change.reshape(shape)
    largest = float(np.abs(pixels).max())
    shown = pixels if shape[0] in (1, 3) else pixels[:1]
    return _png(0.5 + 0.5 * shown / max(largest, 1e-12)), largest


def _png(pixels: np.ndarray) -> str:
    from PIL import Image

    array = np.clip(pixels * 255, 0, 255).round().astype(np.uint8)
    picture = Image.fromarray(array[0] if len(array) == 1 else array.transpose(1, 2, 0))
    side = 64 / max(picture.size)
    size = max(1, round(picture.width * side)), max(1, round(picture.height * side))
    buffer = io.BytesIO()
    picture.resize(size, Image.Resampling.NEAREST).save(buffer, "PNG", optimize=True)
    return data_address(buffer.getvalue())


def is_picture(shape: Shape) -> bool:
    """Whether inputs of this shape can be shown: channels, height, width."""
    return len(shape) == 3 and min(shape) > 0
