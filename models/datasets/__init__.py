"""Data sets: images with labels, by name, in [0, 1] where nothing else is asked for; one source a file, one line in `DATASETS`."""

from __future__ import annotations

from importlib import import_module

from advverify.verifier.errors import InvalidInput

from .base import Dataset
from .units import in_units

DATASETS = {
    "digits": "digits:load",
    "mnist": "mnist:load",
    "fashion-mnist": "mnist:load_fashion",
    "cifar10": "cifar10:load",
    "npz": "npz:load",
}

CHOICES = "digits, mnist:DIR or fashion-mnist:DIR (idx files), cifar10:DIR (batches, class folders or zips), npz:FILE"

__all__ = ["CHOICES", "DATASETS", "Dataset", "load_dataset"]


def load_dataset(
    name: str, split: str = "test", valid: tuple[float, float] = (0.0, 1.0), bytes_as: str | None = None
) -> Dataset:
    """Load `digits`, `mnist:DIR`, `cifar10:DIR` or `npz:FILE`.

    Args:
        name: as above.
        split: "train" or "test".
        valid: range of the network's inputs: bytes are divided by 255 for [0, 1], and taken as they are for [0, 255].
        bytes_as: "raw" or "unit" states what bytes become, whatever the range is.

    Raises:
        InvalidInput: unknown name, files that are missing or broken, or units that are not clear; says which.
    """
    kind, _, place = name.partition(":")
    if kind not in DATASETS:
        raise InvalidInput(f"unknown data set '{name}': choose {CHOICES}")
    if kind == "digits" and place:
        raise InvalidInput(f"the data set 'digits' is built in and takes no place: digits, not '{name}'")
    if kind != "digits" and not place:
        raise InvalidInput(f"the data set '{kind}' needs a place: choose {CHOICES}")
    module, function = DATASETS[kind].split(":")
    data: Dataset = getattr(import_module(f".{module}", __package__), function)(place, split)
    return in_units(data, valid, bytes_as, documented=kind != "npz")
