"""Counterexamples that gradients do not find: no engine, and no set of options, may call such a ball robust."""

from pathlib import Path

import numpy as np
import pytest

from advverify.verifier.api import Model, certify, distance
from advverify.verifier.engines import Settings
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat
from benchmarks.hidden_counterexamples import KINDS, engine_sets, needle, plant, words


@pytest.mark.parametrize("kind", KINDS)
def test_planted_by_training(kind: str, tmp_path: Path) -> None:
    subject = plant(kind, 3, 0.1, tmp_path)
    assert Model(subject.path).predict(subject.point) != subject.label
    assert np.abs(subject.point - subject.center).max() <= subject.eps
    said = list(words(subject, 1.0))
    assert all(verdict is not Verdict.ROBUST for _, verdict in said), said
    assert ("falsify", Verdict.ADVERSARIAL) not in said  # it is well hidden
    settings = Settings(timeout=60)
    assert (
        certify(subject.path, subject.center, 0, Threat("inf", subject.eps), settings=settings).verdict
        is Verdict.ADVERSARIAL
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [0.5, 0.125])
def test_needles_of_known_distance(kind: str, width: float, tmp_path: Path) -> None:
    subject, settings = needle(kind, width, tmp_path), Settings(timeout=5, threads=1)
    for factor in (1 - 1e-3, 1 + 1e-3):
        wrong = Verdict.ADVERSARIAL if factor < 1 else Verdict.ROBUST
        for engines in engine_sets():
            eps = subject.distance * factor
            verdict = certify(
                subject.path, subject.center, 0, Threat("inf", eps), settings=settings, engines=engines
            ).verdict
            assert verdict is not wrong, (engines, factor)
    bracket = distance(subject.path, subject.center, 0, Threat("inf"), settings=settings).bracket
    assert bracket.lower <= subject.distance * (1 + 1e-6) and bracket.upper >= subject.distance * (1 - 1e-6)
    assert bracket.gap <= 1e-3 * subject.distance
