"""A threat says what makes sense and keeps plain numbers; everything that asks a question takes the same one."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import random_network
from onnx_networks import write_network

from advverify.verifier.api import Model, certify, certify_all, distance
from advverify.verifier.engines import MilpOptions, Settings
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Verdict
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


def test_what_is_wrong_with_an_image_is_said_before_it_is_executed(tmp_path: Path) -> None:
    path = write_network(tmp_path / "m.onnx", "mlp", 0)
    for value, message in ((np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (1e38, "outside the valid range")):
        with pytest.raises(InvalidInput, match=message):
            certify(path, np.full(3, value), 0, Threat("inf", 0.1))


def test_a_key_knows_every_part_of_a_threat() -> None:
    image = np.full(4, 0.5)
    threats = [Threat(), Threat("2"), Threat("2", 0.5), Threat("2", 0.5, target=1), Threat("2", 0.5, margin=0.5)]
    threats += [Threat("2", 0.5, valid_range=(0, 2)), Threat("0", 0.5), Threat("0", 0.5, channels=2)]
    threats += [Threat("2", 0.5, float32=True)]
    assert len({Request("distance", "m", "ab", threat, image).key for threat in threats}) == len(threats)


def test_a_key_knows_every_part_of_a_request_and_nothing_else() -> None:
    image = np.full(4, 0.5)
    request = Request("distance", "m", "ab", Threat("inf", 0.5), image, 1)
    others = [
        replace(request, command="certify"),
        replace(request, sha256="cd"),
        replace(request, threat=Threat("inf", 0.25)),
        replace(request, image=np.nextafter(image, 1)),
        replace(request, label=2),
        replace(request, exact_margin=True),
        replace(request, property_sha256="ef"),
        replace(request, engines=("milp",)),
        *(replace(request, settings=Settings(**change)) for change in ({"gap": 1e-2}, {"seed": 1})),
        replace(request, settings=Settings(milp=MilpOptions(solver="scip"))),
        replace(request, settings=Settings(milp=MilpOptions(formulation="partition-2"))),
        replace(request, settings=Settings(milp=MilpOptions(formulation="partition-3"))),
        replace(request, settings=Settings(milp=MilpOptions(fix_stable=False))),
        replace(request, settings=Settings(milp=MilpOptions(tighten="mip"))),
        replace(request, settings=Settings(milp=MilpOptions(targets="joint"))),
        replace(request, settings=Settings(milp=MilpOptions(cuts="none"))),
    ]
    assert len({request.key, *(other.key for other in others)}) == len(others) + 1
    settings = Settings(timeout=1.0, threads=1, device="cuda", proofs=Path("folder"), proof_seconds=1.0)
    assert replace(request, path="other", settings=settings).key == request.key


def test_a_request_is_about_one_content_of_a_file(tmp_path: Path) -> None:
    path, image = write_network(tmp_path / "m.onnx", "mlp", 0), np.full(3, 0.5)
    model = Model(path)
    request = Request("certify", str(path), model.network.sha256, Threat("inf", 1e-6), image, model.predict(image))
    assert request.answer().verdict is Verdict.ROBUST
    with pytest.raises(InvalidInput, match="the file has changed"):
        replace(request, sha256="0").answer()
