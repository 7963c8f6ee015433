"""A first certificate: two networks of one's own, written in PyTorch, and how robust they are on the built-in digits.

`python -m examples.first_certificate` takes about a minute and leaves pictures and an ONNX file in the folder first-certificate.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import advverify
from advverify.models.datasets import load_dataset

IMAGES = 20  # of the test set


def train(network: nn.Module, epochs: int = 30) -> None:
    """Train as anybody would: nothing here is advverify's."""
    digits = load_dataset("digits", "train")
    x, y = torch.from_numpy(digits.images).float(), torch.from_numpy(digits.labels)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    network.train()
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimiser.step()


def networks() -> dict[str, nn.Module]:
    """An MLP and a convolutional network for images (1, 8, 8)."""
    mlp = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, 10))
    conv = nn.Sequential(
        *(nn.Conv2d(1, 6, 3, stride=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 10))
    )
    return {"mlp": mlp, "conv": conv}


def main(folder: Path, epochs: int = 30, count: int = IMAGES) -> None:
    """Train, certify, measure, and draw into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    test = load_dataset("digits")
    x, y = test.images[:count], test.labels[:count]
    for name, network in networks().items():
        train(network, epochs)
        certified = advverify.certify(network, x, y, norm="inf", eps=0.05, timeout=20)
        print(f"{name}: {certified.summary()}")
        distances = advverify.distance(network, x, y, norm="inf", timeout=20)
        print(f"{name}: {distances.summary()}")
        distances.plot(folder / f"{name}-radii.png")
        distances.plot_images(folder / f"{name}-adversarial.png")
        advverify.export(network, x, folder / f"{name}.onnx", card={"data": "digits"})


if __name__ == "__main__":
    main(Path("first-certificate"))
