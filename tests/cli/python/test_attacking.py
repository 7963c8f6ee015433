"""What attacks find is adversarial for the file, within the radius, and never below a proved distance."""

from typing import Any

import numpy as np
import pytest

import advverify
from advverify import Outcomes, Verdict
from advverify.models.datasets import load_dataset
from advverify.verifier.errors import InvalidInput

DIGITS = load_dataset("digits")
X, Y = DIGITS.images[:5], DIGITS.labels[:5]
MODEL = advverify.open_model("zoo:digits-mlp")


@pytest.mark.parametrize(("name", "norm"), [("pgd", "inf"), ("pgd", 2), ("fgsm", "inf"), ("deepfool-2", 2)])
def test_closest_ones(name: str, norm: Any) -> None:
    found = advverify.attack(MODEL, X, Y, name=name, norm=norm)
    assert isinstance(found, Outcomes)
    exact = advverify.distance(MODEL, X, Y, norm=norm, timeout=20)
    hits = [k for k in range(5) if found[k].verdict is Verdict.ADVERSARIAL]
    assert len(hits) >= 4
    for k in hits:
        example = found[k].adversarial
        assert example is not None and example.shape == (1, 8, 8) and MODEL.predict(example) != Y[k]
        length = np.abs(example - X[k]).max() if norm == "inf" else np.linalg.norm(example - X[k])
        assert found[k].upper == pytest.approx(length) and found[k].upper >= exact[k].lower * (1 - 1e-9)
        assert found[k].lower == 0.0 and found[k].trust.value == "checked"


def test_within_a_radius() -> None:
    found = advverify.attack(MODEL, X, Y, eps=0.1)
    exact = advverify.certify(MODEL, X, Y, eps=0.1, timeout=20)
    for ours, truth in zip(found, exact, strict=True):
        if ours.verdict is Verdict.ADVERSARIAL:
            assert truth.verdict is Verdict.ADVERSARIAL and ours.upper <= 0.1
        else:
            assert (ours.verdict, ours.reason, ours.upper) == (Verdict.UNKNOWN, "the attack found nothing", np.inf)
    assert Verdict.ADVERSARIAL in found.verdicts and Verdict.UNKNOWN in found.verdicts


def test_one_image_a_target_and_a_wrong_label() -> None:
    one = advverify.attack(MODEL, X[0], int(Y[0]), eps=0.5, target=3)
    assert one.adversarial is not None and MODEL.predict(one.adversarial) == 3
    wrong = advverify.attack(MODEL, X[0], (int(Y[0]) + 1) % 10, eps=0.5)
    assert (wrong.verdict, wrong.upper) == (Verdict.MISCLASSIFIED, 0.0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "pdg"}, "unknown attack 'pdg': did you mean pgd?"),
        ({"loss": "hinge"}, "unknown loss 'hinge'"),
        ({"norm": 0}, "the attack pgd knows the norms inf, 2, 1, not 0"),
        ({"eps": -1}, "eps must be a number >= 0"),
        ({"eps": 0}, "eps must be a number above 0"),
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"target": 12}, "target 12 must be a class"),
    ],
)
def test_bad_arguments(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words.replace("?", r"\?")):
        advverify.attack(MODEL, X, Y, **options)
