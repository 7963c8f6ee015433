"""scikit-learn's 8x8 digits: 1,797 images of 17 grey levels, built in; the last 360 of a fixed shuffle are the test set."""

from __future__ import annotations

import numpy as np

from .base import Dataset

TEST = 360


def load(place: str, split: str) -> Dataset:
    """The train or test part; `place` is not used."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    order = np.random.RandomState(0).permutation(len(raw.target))
    chosen = order[-TEST:] if split == "test" else order[:-TEST]
    images = raw.data[chosen].reshape(-1, 1, 8, 8) / 16.0
    return Dataset("digits", images.astype(np.float64), raw.target[chosen].astype(np.int64))
