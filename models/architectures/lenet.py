"""LeNet-5 with ReLUs (LeCun et al., Proc. IEEE 1998)."""

from __future__ import annotations

from torch import nn

from advverify.verifier.errors import InvalidInput

STABILITY = "none"


def lenet(image: list[int], outputs: int, pool: str = "mean", dropout: float = 0.0) -> nn.Module:
    """Two convolutions of 6 and 16 channels, each followed by pooling ("mean" or "max"), then 120 and 84 features.

    Raises:
        InvalidInput: an unknown pooling, or an image that is too small.
    """
    if pool not in ("mean", "max"):
        raise InvalidInput(f"lenet: pool is mean or max, got '{pool}'")
    channels, height, width = image
    if min(height, width) < 12:
        raise InvalidInput(f"lenet: images need at least 12x12 pixels, got {height}x{width}")
    kind = nn.AvgPool2d if pool == "mean" else nn.MaxPool2d
    rows, columns = (height // 2 - 4) // 2, (width // 2 - 4) // 2
    drop = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(
        *(nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), kind(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), kind(2), nn.Flatten()),
        *(nn.Linear(16 * rows * columns, 120), nn.ReLU(), *drop),
        *(nn.Linear(120, 84), nn.ReLU(), *drop),
        nn.Linear(84, outputs),
    )
