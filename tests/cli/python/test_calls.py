"""certify, distance and their like give what the calls of the verifier give, for one image and for many, and check keywords."""

import inspect
import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import random_network
from torch import nn

import advverify
from advverify import MilpOptions, ReluSplitOptions, Settings, Threat, Verdict
from advverify.verifier import api
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Outcome, TraceEvent

NETWORK = random_network("mlp", 1)
IMAGES = np.random.default_rng(1).random((6, 3))
MODEL = advverify.Model(NETWORK)
LABELS = [MODEL.predict(image) for image in IMAGES]
LIMITS: dict[str, Any] = {"timeout": 20, "threads": 1}


def network(inputs: int, hidden: int, classes: int) -> nn.Module:
    """A module with all classes near the middle of its inputs, and steep."""
    torch.manual_seed(3)
    layers = nn.Linear(inputs, hidden), nn.Linear(hidden, classes)
    with torch.no_grad():
        for layer, center in zip(layers, (0.5, 0.4), strict=True):
            layer.weight.normal_()
            layer.bias.copy_(-center * layer.weight.sum(1))
    return nn.Sequential(nn.Flatten(), layers[0], nn.ReLU(), layers[1])


def test_many_are_answered_as_one_by_one() -> None:
    settings, threat = Settings(timeout=20, threads=1), Threat("inf", 0.1)
    known = [api.certify(MODEL, x, y, threat, settings=settings) for x, y in zip(IMAGES, LABELS, strict=True)]
    assert {Verdict.ROBUST, Verdict.ADVERSARIAL} == {outcome.verdict for outcome in known}
    found = advverify.certify(MODEL, IMAGES, LABELS, eps=0.1, **LIMITS)
    assert found.verdicts == [outcome.verdict for outcome in known]
    assert [advverify.certify(MODEL, x, y, eps=0.1, **LIMITS).verdict for x, y in zip(IMAGES, LABELS, strict=True)] == (
        found.verdicts
    )
    streamed = dict(advverify.certify_all(MODEL, torch.from_numpy(IMAGES), LABELS, eps=0.1, **LIMITS))
    assert [streamed[k].verdict for k in range(6)] == found.verdicts


@pytest.mark.parametrize("norm", ["inf", 1, 2.0])
def test_distances_agree(norm: Any) -> None:
    settings = Settings(timeout=20, threads=1)
    known = [api.distance(MODEL, x, y, Threat(norm), settings=settings) for x, y in zip(IMAGES, LABELS, strict=True)]
    found = advverify.distance(MODEL, IMAGES, norm=norm, **LIMITS)  # labels are the model's own predictions
    assert isinstance(found, advverify.Outcomes) and [o.labels["label"] for o in found] == LABELS
    assert [o.verdict for o in found] == [o.verdict for o in known]
    for ours, its in zip(found, known, strict=True):
        assert max(ours.lower, its.lower) <= min(ours.upper, its.upper) * (1 + 1e-9)
    assert [k for k, _ in advverify.distance_all(MODEL, IMAGES, norm=norm, **LIMITS)] == list(range(6))


def test_examples_are_adversarial_and_shaped() -> None:
    module = network(12, 8, 3)
    images = torch.rand(4, 3, 2, 2)
    found = advverify.distance(module, images, norm="inf", **LIMITS)
    assert isinstance(found, advverify.Outcomes)
    seen = 0
    for image, outcome in zip(images.numpy().astype(np.float64), found, strict=True):
        if outcome.adversarial is None:
            continue
        seen += 1
        assert outcome.adversarial.shape == (3, 2, 2)
        assert np.abs(outcome.adversarial - image).max() == pytest.approx(outcome.upper)
        with torch.no_grad():
            logits = module(torch.from_numpy(outcome.adversarial).float()[None])[0]
        others = [value for k, value in enumerate(logits) if k != outcome.labels["label"]]
        assert max(others) > logits[outcome.labels["label"]] - 1e-5  # torch may round a tie the other way
    assert seen >= 2


def test_every_part_of_a_threat_is_heeded() -> None:
    parts: dict[str, Any] = {"target": (LABELS[0] + 1) % 3, "margin": 0.01, "valid_range": (0.0, 2.0), "channels": 1}
    for command in ("certify", "distance"):
        outcome = getattr(advverify, command)(
            MODEL, IMAGES[0], LABELS[0], norm=2, eps=0.5, float32=False, **parts, **LIMITS
        )
        threat = Threat(2, 0.5, **parts)
        assert {name: outcome.labels[name] for name in threat.to_dict()} == threat.to_dict()


def test_a_threat_and_settings_still_work() -> None:
    old = advverify.certify(
        MODEL, IMAGES[0], LABELS[0], Threat("2", 0.05), settings=Settings(timeout=5), engines=("crown", "falsify")
    )
    new = advverify.certify(MODEL, IMAGES[0], LABELS[0], norm=2, eps=0.05, timeout=5, engines="crown, falsify")
    assert isinstance(old, Outcome) and (old.verdict, old.engines_run) == (new.verdict, new.engines_run)


@pytest.mark.parametrize(
    ("call", "options", "words"),
    [
        ("certify", {}, "certify needs a radius: eps=0.05"),
        ("certify", {"epsilon": 0.1}, "unknown keyword of certify 'epsilon': did you mean eps?"),
        ("distance", {"exact_margin": True}, "unknown keyword of distance 'exact_margin'"),
        ("certify", {"eps": -1}, "eps must be a number >= 0, got -1"),
        ("certify", {"eps": 0.1, "timeout": -1}, "timeout must be a number of seconds above 0, got -1"),
        ("certify", {"eps": 0.1, "timeout": "long"}, "timeout must be a number of seconds above 0, got 'long'"),
        ("distance", {"gap": 2}, "gap must be above 0 and below 1, got 2"),
        ("distance", {"norm": 3}, "norm"),
        ("distance", {"engines": "milpp"}, "unknown engine 'milpp': did you mean milp?"),
        ("distance", {"engines": 3}, "engines must be names of engines, got 3"),
        ("distance", {"solver": "gurobbi"}, "unknown solver 'gurobbi'"),
        ("distance", {"solver": "highs", "engines": ["crown"]}, "solver is read by milp alone"),
        ("distance", {"threads": 0}, "threads must be a whole number from 1, got 0"),
        ("distance", {"seed": True}, "seed must be"),
        ("distance", {"timeout": 5, "settings": Settings()}, "timeout and settings are both given"),
        ("distance", {"threat": Threat(), "norm": 2, "target": 1}, "norm and target and a Threat are both given"),
        ("distance", {"threat": "inf"}, "threat must be a Threat, got 'inf'"),
        ("distance", {"settings": 5}, "settings must be Settings, got 5"),
        ("distance", {"progress": 5}, "progress must be True or False, got 5"),
        ("distance", {"listener": 5}, "listener must be a function of a TraceEvent, got 5"),
        ("distance", {"listener": print}, "listener hears the bracket of one image, and x is a batch"),
        ("distance_all", {"progress": True}, "leave it out"),
        ("distance", {"jobs": 0}, "jobs must be a whole number from 1, got 0"),
        ("distance", {"jobs": 2}, "jobs needs a model that has a file"),
        ("distance", {"bytes_as": "unit"}, "bytes_as is about uint8"),
        (
            "certify",
            {"eps": 0.1, "valid_range": (0.4, 0.5)},
            "outside the valid range [0.4, 0.5]; give images in the model's",
        ),
        ("distance", {"valid_range": (0.03, 1.0)}, "image 3 of x has values from 0.0275591"),
    ],
)
def test_bad_keywords_are_refused_when_called(call: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(words)) as refused:
        getattr(advverify, call)(MODEL, IMAGES, LABELS, **options)
    assert "\n" not in str(refused.value) and "--" not in str(refused.value)


def test_proofs_is_a_folder_that_is_made(tmp_path: Path) -> None:
    module = network(4, 5, 2)
    image = torch.full((1, 2, 2), 0.5)
    label = int(module(image[None]).argmax())
    outcome = advverify.certify(module, image, label, eps=1e-3, proofs=tmp_path / "new", **LIMITS)
    assert outcome.verdict is Verdict.ROBUST and outcome.trust.value == "checked"
    assert outcome.proof is not None and Path(outcome.proof).is_file()
    assert len(list((tmp_path / "new").glob("*.onnx"))) == 1  # what the proof is about
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="not a folder that can be written to"):
        advverify.certify(module, image, label, eps=1e-3, proofs=tmp_path / "file")


def test_processes_answer_alike() -> None:
    module = network(4, 5, 2)
    images = torch.rand(5, 1, 2, 2)
    labels = module(images).argmax(1)
    with pytest.raises(InvalidInput, match="jobs is of a batch, and x is one image"):
        advverify.distance(module, images[0], int(labels[0]), jobs=2)
    alone = advverify.distance(module, images, labels, norm="inf", **LIMITS)
    several = advverify.distance(module, images, labels, norm="inf", jobs=2, **LIMITS)
    assert several.verdicts == alone.verdicts
    assert len(set(labels.tolist())) == 2 and [o.labels["label"] for o in several] == labels.tolist()
    np.testing.assert_allclose(several.upper, alone.upper, rtol=1e-3)
    margins = advverify.certify(module, images, labels, eps=0.2, exact_margin=True, jobs=2, **LIMITS)
    known = advverify.certify(module, images, labels, eps=0.2, **LIMITS)
    assert margins.verdicts == known.verdicts and all(o.shape == (1, 2, 2) for o in margins)


def test_listeners_hear(capsys: pytest.CaptureFixture[str]) -> None:
    events: list[TraceEvent] = []
    outcome = advverify.distance(MODEL, IMAGES[0], LABELS[0], listener=events.append, **LIMITS)
    assert events and events[-1].lower == outcome.trace[-1].lower
    heard: dict[int, Outcome] = {}
    found = advverify.distance(MODEL, IMAGES, LABELS, progress=heard.__setitem__, **LIMITS)
    assert list(heard) == list(range(6)) and [heard[k] for k in range(6)] == list(found)
    advverify.distance(MODEL, IMAGES[:2], LABELS[:2], progress=True, **LIMITS)
    out, err = capsys.readouterr()
    assert out == err == ""  # no terminal
    with pytest.raises(InvalidInput, match="progress is of a batch"):
        advverify.distance(MODEL, IMAGES[0], LABELS[0], progress=True)


def test_ctrl_c_keeps_what_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = api.distance

    def stop(model: Any, image: np.ndarray, *rest: Any, **options: Any) -> Outcome:
        outcome = usual(model, image, *rest, **options)
        if np.array_equal(image, IMAGES[2]):
            raise api.Interrupted(outcome)
        return outcome

    monkeypatch.setattr(api, "distance", stop)
    with pytest.raises(advverify.BatchInterrupted) as stopped:
        advverify.distance(MODEL, IMAGES, LABELS, **LIMITS)
    outcomes = stopped.value.outcomes
    assert len(outcomes) == 6 and all(outcome.engine for outcome in outcomes[:3])
    assert all(o.verdict is Verdict.UNKNOWN and o.reason == "interrupted before its turn" for o in outcomes[3:])
    assert all(
        (o.lower, o.upper, o.labels["label"]) == (0.0, math.inf, y)
        for o, y in zip(outcomes[3:], LABELS[3:], strict=True)
    )
    with pytest.raises(advverify.Interrupted) as alone:
        advverify.distance(MODEL, IMAGES[2], LABELS[2], **LIMITS)
    assert alone.value.outcome.shape == (3,)


def test_verify_takes_the_same_models(tmp_path: Path) -> None:
    module = network(2, 3, 2)
    with torch.no_grad():
        top = float(module(torch.rand(1, 2)).abs().max()) + 100
    text = "".join(f"(declare-const X_{k} Real)\n(assert (>= X_{k} 0))\n(assert (<= X_{k} 1))\n" for k in range(2))
    text += f"(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n(assert (>= Y_0 {top}))\n"
    (tmp_path / "far.vnnlib").write_text(text)
    assert (
        advverify.verify(module, tmp_path / "far.vnnlib", example=torch.rand(3, 2), timeout=10).verdict
        is Verdict.ROBUST
    )
    with pytest.raises(InvalidInput, match="a module needs example="):
        advverify.verify(module, tmp_path / "far.vnnlib")
    with pytest.raises(InvalidInput, match="unknown keyword of verify 'eps'"):
        advverify.verify(module, tmp_path / "far.vnnlib", eps=1)  # type: ignore[call-arg]


def test_every_option_is_a_keyword() -> None:
    options = {field.name for cls in (Threat, Settings, MilpOptions, ReluSplitOptions) for field in fields(cls)}
    assert options - {"milp", "relu_split"} <= set(inspect.signature(advverify.certify).parameters)


def test_signatures_name_every_keyword() -> None:
    for call in (advverify.certify, advverify.distance):
        shown = inspect.signature(call).parameters
        assert {"norm", "eps", "timeout", "gap", "solver", "engines", "progress", "branching"} <= set(shown)
        assert shown["timeout"].default == Settings().timeout and shown["solver"].default == MilpOptions().solver
        assert shown["eps"].default is None and shown["norm"].default == "inf"
        for name in shown:
            assert re.search(rf"\b{name}\b", str(advverify.certify.__doc__)), name


def test_the_margin_of_a_misclassified_image_is_that_of_the_image() -> None:
    """Nothing worse was looked for: one side is the margin that was executed, the other is open; distances are 0."""
    wrong = [(label + 1) % 3 for label in LABELS]
    for exact in (False, True):
        found = advverify.certify(MODEL, IMAGES, wrong, eps=0.1, exact_margin=exact, **LIMITS)
        assert (
            found.verdicts == ["misclassified"] * 6 and found.count("misclassified") == 6 and found.count("robust") == 0
        )
        for outcome, image, label in zip(found, IMAGES, wrong, strict=True):
            logits = MODEL.executor.logits(image[None])[0]
            assert outcome.upper == pytest.approx(logits[label] - np.delete(logits, label).max())
            assert outcome.upper <= 0 and outcome.lower == -math.inf
    distances = advverify.distance(MODEL, IMAGES, wrong, **LIMITS)
    assert (distances.lower == 0).all() and (distances.upper == 0).all()


def test_numbers_that_are_none_are_named() -> None:
    images = IMAGES.copy()
    images[2, 1] = math.nan
    for model in (MODEL, network(3, 4, 3)):
        with pytest.raises(InvalidInput, match=r"x holds a number that is not finite, at \[2, 1\]"):
            advverify.certify(model, images, LABELS, eps=0.1)
    if not torch.cuda.is_available():
        with pytest.raises(InvalidInput, match="no GPU"):
            advverify.certify(MODEL, IMAGES, LABELS, eps=0.1, device="cuda")


def test_an_export_that_fails_prints_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(advverify.AdvverifyError, match="non-zero threshold"):
        advverify.certify(
            nn.Sequential(nn.Flatten(), nn.Linear(3, 3), nn.Threshold(0.1, 0.0)), IMAGES[:, None], eps=0.1
        )
    assert capfd.readouterr().out == ""
