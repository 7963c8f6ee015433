"""Small convolutional ReLU networks."""

from __future__ import annotations

from torch import nn

from advverify.verifier.errors import InvalidInput

STABILITY = "none"


def conv(
    image: list[int], channels: list[int], hidden: int, outputs: int, batch_norm: bool = False, dropout: float = 0.0
) -> nn.Module:
    """3x3 convolutions of stride 2 with the given channels, then one hidden fully connected layer.

    Raises:
        InvalidInput: a layer without neurons.
    """
    if len(image) != 3 or min(*image, *channels, hidden, outputs) < 1:
        raise InvalidInput(f"impossible shape: image {image}, channels {channels}, hidden {hidden}, outputs {outputs}")
    layers: list[nn.Module] = []
    depth, height, width = image
    for after in channels:
        layers += [nn.Conv2d(depth, after, 3, stride=2, padding=1)]
        layers += [*([nn.BatchNorm2d(after)] if batch_norm else []), nn.ReLU()]
        depth, height, width = after, (height + 1) // 2, (width + 1) // 2
    layers += [nn.Flatten(), nn.Linear(depth * height * width, hidden), nn.ReLU()]
    return nn.Sequential(*layers, *([nn.Dropout(dropout)] if dropout else []), nn.Linear(hidden, outputs))
