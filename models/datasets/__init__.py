"""Data sets: images in [0, 1] with labels, by name; one source a file, one line in `DATASETS`."""

from __future__ import annotations

from importlib import import_module

from advverify.verifier.errors import InvalidInput

from .base import Dataset

DATASETS = {
    "digits": "digits:load",
    "mnist": "mnist:load",
    "fashion-mnist": "mnist:load_fashion",
    "cifar10": "cifar10:load",
    "npz": "npz:load",
}

CHOICES = "digits, mnist:DIR or fashion-mnist:DIR (idx files), cifar10:DIR (batches, class folders or zips), npz:FILE"

__all__ = ["CHOICES", "DATASETS", "Dataset", "load_dataset"]


def load_dataset(name: str, split: str = "test") -> Dataset:
    """Load `digits`, `mnist:DIR`, `cifar10:DIR` or `npz:FILE`; `split` is "train" or "test".

    Raises:
        InvalidInput: unknown name, or files that are missing or broken; says which.
    """
    kind, _, place = name.partition(":")
    if kind not in DATASETS:
        raise InvalidInput(f"unknown data set '{name}': choose {CHOICES}")
    if kind != "digits" and not place:
        raise InvalidInput(f"the data set '{kind}' needs a place: choose {CHOICES}")
    module, function = DATASETS[kind].split(":")
    data: Dataset = getattr(import_module(f".{module}", __package__), function)(place, split)
    return data
