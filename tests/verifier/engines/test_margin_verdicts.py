"""Exact margins whose brackets stay open have verdicts all the same, and say that they are open."""

import numpy as np
import pytest

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.api import Model, certify
from advverify.verifier.engines import Settings
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Trust, Verdict
from advverify.verifier.specification import Threat


@pytest.mark.parametrize(
    ("eps", "engines", "verdict", "trust"),
    [(0.5, ("falsify",), Verdict.ADVERSARIAL, Trust.CHECKED), (0.1, ("crown",), Verdict.ROBUST, Trust.SOLVER)],
)
def test_the_sign_is_enough(eps: float, engines: tuple[str, ...], verdict: Verdict, trust: Trust) -> None:
    model, data = Model(path_of("digits-mlp")), load_dataset("digits")
    found = certify(
        model, data.images[0], int(data.labels[0]), Threat("2", eps), exact_margin=True, engines=engines,
        settings=Settings(timeout=5),
    )  # fmt: skip
    assert found.verdict is verdict and found.trust is trust
    assert "the margin's bracket is open" in found.reason and found.bracket.gap > 0


def test_milp_uses_the_time_that_its_solver_leaves() -> None:
    """All classes in one program: the solver's share is too short for it, and our own tree goes on."""
    from advverify.verifier.engines import MilpOptions

    model, data = Model(path_of("digits-mlp")), load_dataset("digits")
    settings = Settings(timeout=40, threads=1, milp=MilpOptions(targets="joint", tighten="none", cuts="none"))
    threat = Threat("inf", 0.05)
    found = certify(
        model, data.images[2], int(data.labels[2]), threat, exact_margin=True, settings=settings, engines=("milp",)
    )
    assert found.bracket.relative_gap <= 1e-3 or found.reason.count("time limit")


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": "5"}, {"gap": None}, {"threads": 1.5}, {"seed": 1.5}, {"seed": None}, {"milp": None}, {"milp": {}},
        {"device": "tpu"}, {"device": 3}, {"proofs": "folder"}, {"proof_seconds": "1"}, {"threads": True},
    ],
)  # fmt: skip
def test_settings_of_other_kinds_are_refused_when_they_are_made(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        Settings(**wrong)  # type: ignore[arg-type]
    assert Settings(timeout=np.float64(3), threads=np.int64(2)).threads == 2  # type: ignore[arg-type]
