"""Attacks on one image or a batch; what they find is executed and compared like every counterexample."""

from __future__ import annotations

from dataclasses import replace
from typing import overload

import numpy as np

from advverify.verifier.attacking import attack_all, check_attack
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Outcome
from advverify.verifier.specification import Threat

from .images import BytesAs, ImageLike, LabelsLike
from .opening import ModelLike
from .outcomes import Outcomes
from .question import read_model_and_images


@overload
def attack(
    model: ModelLike,
    x: ImageLike,
    y: int | np.integer,
    *,
    name: str = ...,
    norm: str | float = ...,
    eps: float | None = ...,
    target: int | None = ...,
    loss: str = ...,
    seed: int = ...,
    bytes_as: BytesAs | None = ...,
) -> Outcome: ...
@overload
def attack(
    model: ModelLike,
    x: ImageLike,
    y: LabelsLike,
    *,
    name: str = ...,
    norm: str | float = ...,
    eps: float | None = ...,
    target: int | None = ...,
    loss: str = ...,
    seed: int = ...,
    bytes_as: BytesAs | None = ...,
) -> Outcomes: ...
@overload
def attack(
    model: ModelLike,
    x: ImageLike,
    y: None = None,
    *,
    name: str = ...,
    norm: str | float = ...,
    eps: float | None = ...,
    target: int | None = ...,
    loss: str = ...,
    seed: int = ...,
    bytes_as: BytesAs | None = ...,
) -> Outcome | Outcomes: ...
def attack(
    model: ModelLike,
    x: ImageLike,
    y: int | np.integer | LabelsLike | None = None,
    *,
    name: str = "pgd",
    norm: str | float = "inf",
    eps: float | None = None,
    target: int | None = None,
    loss: str = "margin",
    seed: int = 0,
    bytes_as: BytesAs | None = None,
) -> Outcome | Outcomes:
    """How near does an attack come? Its outcomes prove upper sides alone: their lower sides are 0, and a failure proves nothing.

    Example:
        >>> from advverify.models.datasets import load_dataset
        >>> digits = load_dataset("digits")
        >>> found = attack("zoo:digits-mlp", digits.images[:3], digits.labels[:3], name="pgd", norm="inf", eps=0.2)
        >>> found
        <Outcomes of 3 images: 3 adversarial>

    Args:
        model: as in `certify`, like `x`, `y` and `bytes_as`; inputs lie in [0, 1].
        x: images.
        y: labels.
        name: one of `advverify.verifier.attacks.ATTACKS`: pgd, fgsm, deepfool-2 and so on.
        norm: one that the attack knows.
        eps: radius; the closest adversarial example is sought where None.
        target: the class that must win; any but the label where None.
        loss: "margin", "cross-entropy" or "houdini".
        seed: of random starts.
        bytes_as: what images of uint8 become.

    Returns:
        An `Outcome` for one image, `Outcomes` for a batch: adversarial with the distance as `upper`, or unknown.

    Raises:
        InvalidInput: an argument that makes no sense; an attack that is universal, or whose package is not installed.
        InvalidModel: as in `certify`.
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise InvalidInput(f"seed must be a whole number from 0, got {seed!r}")
    threat = Threat(norm, eps, target=target)
    check_attack(name, loss, threat)
    opened, images = read_model_and_images(model, x, y, bytes_as)
    if opened.network.output_size == 1:  # before labels are looked for among several outputs
        raise InvalidInput("attacks take networks with an output for each class, and this one has one output")
    labels = images.labelled(opened.predict)
    found = attack_all(opened, list(images.values), labels, threat, name, loss, int(seed))
    shaped = [replace(outcome, shape=images.shape) for outcome in found]
    return shaped[0] if images.single else Outcomes(shaped, images.values.reshape(-1, *images.shape), opened)
