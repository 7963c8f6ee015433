"""Images and labels as users have them become one batch, or one clear line."""

import re
from typing import Any

import numpy as np
import pytest
import torch

from advverify.cli.python.images import read_images, takes_shape
from advverify.verifier.errors import InvalidInput

GRAY, FLAT, COLOUR = takes_shape((1, 8, 8)), takes_shape((64,)), takes_shape((3, 5, 6))


@pytest.mark.parametrize(
    ("shape", "y", "takes", "single", "count"),
    [
        ((1, 8, 8), 3, GRAY, True, 1),
        ((8, 8), 3, GRAY, True, 1),
        ((64,), None, GRAY, True, 1),
        ((1, 8, 8), None, GRAY, True, 1),
        ((1, 1, 8, 8), None, GRAY, False, 1),
        ((2, 1, 8, 8), None, GRAY, False, 2),
        ((2, 64), (1, 2), GRAY, False, 2),
        ((1, 64), 5, FLAT, True, 1),
        ((1, 64), [5], FLAT, False, 1),
        ((2, 3, 5, 6), np.array([1, 0]), COLOUR, False, 2),
    ],
)
@pytest.mark.parametrize("kind", [np.zeros, torch.zeros])
def test_one_or_many(shape: tuple[int, ...], y: Any, takes: Any, single: bool, count: int, kind: Any) -> None:
    images = read_images(kind(shape), y, takes, shape=(1, 8, 8) if takes is GRAY else None)
    assert (images.single, len(images), str(images.values.dtype)) == (single, count, "float64")
    assert images.shape == (shape if single else shape[1:])
    assert images.labels == (None if y is None else tuple(np.atleast_1d(y)))


def test_labels_of_torch_and_numpy_are_whole_numbers() -> None:
    for y in (np.int64(4), np.array(4), torch.tensor(4)):
        assert read_images(np.zeros((8, 8)), y, GRAY).labels == (4,)  # type: ignore[arg-type]
    assert read_images(np.zeros((2, 8, 8)), torch.tensor([4, 5]), GRAY).labels == (4, 5)


def test_bytes_become_what_is_stated() -> None:
    bytes_ = torch.full((8, 8), 51, dtype=torch.uint8)
    assert read_images(bytes_, 0, GRAY, "unit").values.max() == 51 / 255
    assert read_images(bytes_.numpy(), 0, GRAY, "raw").values.max() == 51.0


@pytest.mark.parametrize(
    ("x", "y", "bytes_as", "words"),
    [
        (np.zeros((2, 8, 8)), 3, None, "y is one label, and x a batch of 2 images"),
        (np.zeros((2, 8, 8)), [1, 2, 3], None, "x holds 2 images and y 3 labels"),
        (np.zeros((0, 8, 8)), [], None, "x holds no image"),
        (np.zeros((2, 9, 9)), None, None, "an image of x has 81 values (shape [9, 9]), the network takes 64"),
        (np.zeros((8, 8)), 1.5, None, "y must be a whole number, got 1.5"),
        (np.zeros((2, 8, 8)), [0, True], None, "a label of y must be a whole number, got True"),
        (np.zeros((2, 8, 8)), [[0], [1]], None, "y must be a whole number or a sequence of them"),
        (np.zeros((8, 8), np.uint8), 0, None, "x holds uint8: say bytes_as='unit'"),
        (np.zeros((8, 8)), 0, "unit", "bytes_as is about uint8, and x holds float64"),
        (np.zeros((8, 8), np.uint8), 0, "unti", "bytes_as takes 'unit' or 'raw', got 'unti'"),
        ("image.png", 0, None, "x is no array of numbers"),
    ],
)
def test_bad_ones_are_named(x: Any, y: Any, bytes_as: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)) as refused:
        read_images(x, y, GRAY, bytes_as)
    assert "\n" not in str(refused.value)


def test_channels_last_are_not_taken_for_channels_first() -> None:
    with pytest.raises(InvalidInput, match="the same values in another order"):
        read_images(np.zeros((5, 6, 3)), 0, COLOUR)
