"""A threat says what makes sense and keeps plain numbers; everything that asks a question takes the same one."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from networks import random_network

from advverify.verifier.api import certify, certify_all, distance
from advverify.verifier.errors import InvalidInput
from advverify.verifier.request import Request
from advverify.verifier.specification import Threat


@pytest.mark.parametrize(
    "values",
    [
        {"norm": 3},
        {"eps": -1},
        {"eps": math.nan},
        {"eps": "0.1"},
        {"eps": [0.1]},
        {"margin": -0.5},
        {"margin": math.inf},
        {"target": 1.0},
        {"target": True},
        {"channels": 0},
        {"channels": 1.5},
        {"valid_range": (1, 0)},
        {"valid_range": (0, math.nan)},
        {"valid_range": 1},
    ],
)
def test_what_makes_no_sense_is_named(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(values)).replace("_", ".")):
        Threat(**values)


def test_values_are_kept_as_plain_numbers() -> None:
    threat = Threat(math.inf, torch.tensor(0.25), target=np.int64(3), valid_range=np.array([0, 255]))  # type: ignore[arg-type]
    assert threat == Threat("Linf", 0.25, target=3, valid_range=(0.0, 255.0))
    assert json.loads(json.dumps(threat.to_dict()))["eps"] == 0.25
    assert Threat("inf", math.inf).to_dict()["eps"] is None and Threat().radius == math.inf


def test_a_radius_is_asked_for() -> None:
    network = random_network("mlp", 0)
    image = np.full(network.input_size, 0.5)
    with pytest.raises(InvalidInput, match="needs a radius"):
        certify(network, image, 0, Threat("inf"))
    with pytest.raises(InvalidInput, match="needs a radius"):
        next(certify_all(network, [image], [0], Threat("inf")))


def test_labels_and_images_that_are_none() -> None:
    network = random_network("mlp", 0)
    image = np.full(network.input_size, 0.5)
    for label in (3.0, "1", None, -1, 99):
        with pytest.raises(InvalidInput, match="label"):
            distance(network, image, label)  # type: ignore[arg-type]
    for broken in (image[:-1], np.append(image, 0.5), image.astype(str)[:2], np.full(len(image), "x"), [[1], [2, 3]]):
        with pytest.raises(InvalidInput, match="image"):
            distance(network, broken, 0)  # type: ignore[arg-type]


def test_a_key_knows_every_part_of_a_threat() -> None:
    image = np.full(4, 0.5)
    threats = [Threat(), Threat("2"), Threat("2", 0.5), Threat("2", 0.5, target=1), Threat("2", 0.5, margin=0.5)]
    threats += [Threat("2", 0.5, valid_range=(0, 2)), Threat("0", 0.5), Threat("0", 0.5, channels=2)]
    threats += [Threat("2", 0.5, float32=True)]
    assert len({Request("distance", "m", "ab", threat, image).key for threat in threats}) == len(threats)
