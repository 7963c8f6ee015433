"""Exact margins whose brackets stay open have verdicts all the same, and say that they are open."""

from fractions import Fraction

import numpy as np
import pytest
from command_line import run

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.api import Model, certify, verify
from advverify.verifier.engines import Settings
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.builder import NetworkBuilder, tensor
from advverify.verifier.network.operators import Dense, Operator
from advverify.verifier.outcome import Trust, Verdict
from advverify.verifier.specification import Disjunct, Polytope, Region, Specification, Threat


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


@pytest.mark.parametrize("engines", [("milp",), ("lp-split",), ("row-split",), ("input-split",), ("relu-split",), ()])
def test_who_knows_the_sign_alone_claims_no_size(engines: tuple[str, ...]) -> None:
    """A margin of 1e-13 and less: nothing above it is claimed, also where it is known to be positive."""
    settled = 0
    for scale in (1e-2, 1e-5, 1e-8):
        for size in (1e-13, 1e-10, 1e-7):
            builder = NetworkBuilder((2,))
            hidden = builder.affine([0], [Dense(tensor(np.array([[1.0, 1.0], [1.0, -1.0]])))], np.array([-0.5, 0.1]))
            rows: list[Operator] = [Dense(tensor(scale * np.array([[1.0, -1.0], [1.0, 2.0]])))]
            network = builder.finish(builder.affine([builder.relu(hidden)], rows, np.zeros(2)))
            low, high = 0.3 * scale, 0.3 * scale + size * scale  # y below the one and above the other: never both
            unsafe = Polytope(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([low, -high]), np.zeros(2, bool))
            region = Region(np.zeros(2), np.ones(2))
            query = Specification((Disjunct(region, (unsafe,)),))
            found = verify(network, query, settings=Settings(timeout=0.5), engines=engines)
            margin = (Fraction(high) - Fraction(low)) / 2  # attained in between, where both rows are violated alike
            assert found.verdict is not Verdict.ADVERSARIAL
            assert not 0 < found.lower or Fraction(found.lower) <= margin, (scale, size, found)
            settled += found.verdict is Verdict.ROBUST
    assert settled >= (2 if engines in ((), ("milp",), ("lp-split",)) else 0), settled


def test_a_sign_reads_as_such() -> None:
    model, data = Model(path_of("digits-mlp")), load_dataset("digits")
    found = certify(model, data.images[0], int(data.labels[0]), Threat("inf", 0.05), engines=("lp-split",))
    assert found.verdict is Verdict.ROBUST and 0 < found.lower < 1e-300
    assert "0 < margin" in repr(found)
    shown = run("certify", "zoo:digits-mlp", "--eps", "0.05", "--images", "0", "--engines", "lp-split").stdout
    assert "> 0" in shown and "e-324" not in shown
