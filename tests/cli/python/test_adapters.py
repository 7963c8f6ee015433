"""ExactDistance answers as attacks of foolbox do, with what is proved behind it."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import advverify
from advverify import ExactDistance
from advverify.models.datasets import load_dataset
from advverify.verifier.errors import InvalidInput

DIGITS = load_dataset("digits")
X, Y = DIGITS.images[:4], DIGITS.labels[:4].copy()
Y[3] = (Y[3] + 1) % 10  # misclassified
LIMITS: dict[str, Any] = {"gap": 0.01, "timeout": 20}


@pytest.mark.parametrize("norm", ["inf", 2, 1, 0])
def test_triples(norm: Any) -> None:
    model, attack = advverify.open_model("zoo:digits-mlp"), ExactDistance(norm=norm, **LIMITS)
    radii = [0.05, 0.09, 3.0, None]
    raw, clipped, is_adv = attack(model, X[:3] if norm == 0 else X, Y[:3] if norm == 0 else Y, epsilons=radii)
    upper = attack.outcomes.upper
    assert len(raw) == len(clipped) == 4 and is_adv.shape == (4, len(upper))
    for k, radius in enumerate(radii):
        reach = np.inf if radius is None else radius
        assert np.array_equal(is_adv[k], upper <= reach)
        for j in np.flatnonzero(is_adv[k]):
            assert np.array_equal(clipped[k][j], raw[k][j])
            assert model.predict(raw[k][j]) != Y[j]
        change = (clipped[k] - X[: len(upper)]).reshape(len(upper), -1)
        lengths = np.linalg.norm(change, ord=float(norm), axis=1)
        assert (lengths <= reach * (1 + 1e-9)).all()
    one = attack(model, X[:2], Y[:2], epsilons=0.09)
    assert one[1].shape == (2, 1, 8, 8) and one[2].shape == (2,)
    free = attack(model, X[:2], Y[:2])
    assert free[2].all() and np.array_equal(free[0], free[1])


def test_torch_in_torch_out() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    x = torch.from_numpy(X).float()
    labels = module(x).argmax(1)
    raw, _, is_adv = ExactDistance(norm=2, **LIMITS)(module, x, labels)
    assert raw.dtype == torch.float32 and raw.shape == x.shape and is_adv.dtype == torch.bool and is_adv.all()
    assert ((raw - x).flatten(1).norm(dim=1) < 2).all()


def test_models_and_criteria_of_foolbox() -> None:
    """The same numbers as with the normalisation inside a module, and no attack of theirs comes nearer."""
    foolbox = pytest.importorskip("foolbox")
    torch.manual_seed(1)
    module = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)).eval()
    theirs = foolbox.PyTorchModel(module, bounds=(0, 1), preprocessing={"mean": 0.5, "std": 0.25}, device="cpu")
    x = torch.from_numpy(X).float()
    labels = theirs(x).argmax(1)
    attack = ExactDistance(norm="inf", **LIMITS)
    raw, _, is_adv = attack(theirs, x, foolbox.criteria.Misclassification(labels), epsilons=None)
    assert is_adv.all() and (theirs(raw.double().float()).argmax(1) != labels).sum() >= 3  # level but for rounding
    found, _, success = foolbox.attacks.LinfDeepFoolAttack()(theirs, x, labels, epsilons=None)
    lengths = (found - x).abs().flatten(1).amax(1).numpy()
    assert (lengths[success.numpy()] >= attack.outcomes.lower[success.numpy()] * (1 - 1e-5)).all()
    with pytest.raises(InvalidInput, match="wants one class on top"):
        attack(theirs, x, foolbox.criteria.TargetedMisclassification(labels))


@pytest.mark.parametrize(
    ("options", "arguments", "epsilons", "words"),
    [
        ({"eps": 0.1}, (X, Y), None, "eps is not an option of ExactDistance"),
        ({"timeout": 0}, (X, Y), None, "timeout must be"),
        ({"nrom": 2}, (X, Y), None, "unknown keyword of distance 'nrom'"),
        ({}, (X, "abc"), None, "criterion must be labels"),
        ({}, (X, Y), [], "epsilons holds no radius"),
        ({}, (X, Y), [0.1, -1], "epsilons must be radii >= 0, or None, got -1"),
        ({}, (X, Y), "much", "epsilons must be radii"),
    ],
)
def test_bad_arguments(options: dict[str, Any], arguments: tuple[Any, Any], epsilons: Any, words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        ExactDistance(**options)("zoo:digits-mlp", *arguments, epsilons=epsilons)
