"""Images, their adversarial examples and the difference of the two as pictures, with the scale of the difference beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

_SIDE, _MOST = 208, 24  # pixels of a panel at least, and how many times a small image is enlarged at most
_APART, _TEXT, _FONT = 14, 17, 13
_INK, _FAINT = (20, 20, 20), (95, 95, 95)
_BELOW, _ABOVE = np.array([33, 102, 172]) / 255, np.array([178, 24, 43]) / 255  # colour-blind readers tell them apart


def as_picture(values: np.ndarray) -> np.ndarray | None:
    """(height, width), or (height, width, 3); None where the values are no picture.

    >>> as_picture(np.zeros((3, 8, 9))).shape, as_picture(np.zeros((1, 8, 8, 1))).shape, as_picture(np.zeros(5))
    ((8, 9, 3), (8, 8), None)
    """
    shape = values.shape
    if len(shape) == 4 and shape[0] == 1:
        return as_picture(values[0])
    if len(shape) == 2:
        return values if min(shape) > 1 else None
    if len(shape) == 3 and shape[0] in (1, 3):
        return values[0] if shape[0] == 1 else values.transpose(1, 2, 0)
    if len(shape) == 3 and shape[2] in (1, 3):
        return values[:, :, 0] if shape[2] == 1 else values
    return None


def signed(change: np.ndarray, largest: float) -> np.ndarray:
    """A difference (height, width) as colours: white for none, blue below and red above, full at `largest`."""
    part = np.clip(change / largest, -1, 1)[:, :, None]
    return np.where(part < 0, 1 + part * (1 - _BELOW), 1 - part * (1 - _ABOVE))


def side_by_side(
    image: np.ndarray | None,
    adversarial: np.ndarray,
    valid: tuple[float, float],
    words: tuple[str, str],
) -> Image | None:
    """An image, its adversarial example, and the difference with its scale; the example alone where there is no image.

    Args:
        image: in the shape of an input, or None.
        adversarial: likewise.
        valid: values that are black and white.
        words: below the heads of the image and of the example.

    Returns:
        The picture; None where the values are no picture.
    """
    from PIL import Image as images

    own = None if image is None else as_picture(image)
    other = as_picture(adversarial)
    if other is None:
        return None
    panels = [("adversarial", words[1], _stretched(other, valid))]
    scale: tuple[str, str, str] | None = None
    if own is not None:
        change = other - own
        largest = float(np.abs(change).max()) or 1.0
        if change.ndim == 2:
            scale, coloured = (f"-{largest:.3g}", "0", f"+{largest:.3g}"), signed(change, largest)
            words_of_change = f"largest {largest:.4g}"
        else:
            coloured = (change / largest + 1) / 2
            scale, words_of_change = (
                (f"-{largest:.3g}", "0", f"+{largest:.3g}"),
                f"of each colour, largest {largest:.4g}",
            )
        panels = [
            ("image", words[0], _stretched(own, valid)),
            *panels,
            ("difference", words_of_change, coloured),
        ]
    drawn = [_enlarged(values) for _, _, values in panels]
    widths = [max(panel.width, _SIDE) for panel in drawn]
    top, below = 2 * _TEXT + 6, 0 if scale is None else 2 * _TEXT + 4
    height = max(panel.height for panel in drawn)
    page = images.new("RGB", (sum(widths) + _APART * (len(drawn) + 1), top + height + below + 2 * _APART), "white")
    left = _APART
    for (head, text, _), panel, width in zip(panels, drawn, widths, strict=True):
        _write(page, (left, _APART), head, _INK)
        _write(page, (left, _APART + _TEXT), text, _FAINT)
        page.paste(panel, (left, _APART + top))
        left += width + _APART
    if scale is not None and own is not None:
        _scale(page, (left - widths[-1] - _APART, _APART + top + height + 6), drawn[-1].width, own.ndim == 2, scale)
    return page


def _stretched(values: np.ndarray, valid: tuple[float, float]) -> np.ndarray:
    return np.clip((values - valid[0]) / (valid[1] - valid[0]), 0, 1)


def _enlarged(values: np.ndarray) -> Image:
    from PIL import Image as images

    picture = images.fromarray(np.clip(values * 255, 0, 255).round().astype(np.uint8)).convert("RGB")
    times = min(max(1, -(-_SIDE // max(picture.size))), _MOST)
    return picture.resize((picture.width * times, picture.height * times), images.Resampling.NEAREST)


def _write(page: Image, place: tuple[int, int], text: str, colour: tuple[int, int, int], anchor: str = "la") -> None:
    from PIL import ImageDraw, ImageFont

    ImageDraw.Draw(page).text(place, text, colour, ImageFont.load_default(_FONT), anchor=anchor)


def _scale(page: Image, place: tuple[int, int], width: int, grey: bool, words: tuple[str, str, str]) -> None:
    """A bar from the largest change below to the largest above."""
    from PIL import Image as images

    width = max(width, _SIDE // 2)
    steps = np.linspace(-1, 1, width)[None, :].repeat(8, 0)
    colours = signed(steps, 1.0) if grey else ((steps + 1) / 2)[:, :, None].repeat(3, 2)
    page.paste(images.fromarray((colours * 255).round().astype(np.uint8)), place)
    for share, word, anchor in zip((0, 0.5, 1), words, ("la", "ma", "ra"), strict=True):
        _write(page, (place[0] + round(share * width), place[1] + 11), word, _FAINT, anchor)
