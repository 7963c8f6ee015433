"""A lower side that is exact is met by a witness, also where the nearest unsafe point itself executes as a tie."""

from pathlib import Path

import numpy as np
import pytest
from onnx_networks import write_network

from advverify.verifier.api import Model, distance
from advverify.verifier.engines import Settings
from advverify.verifier.outcome import Verdict
from advverify.verifier.specification import Threat


@pytest.mark.parametrize("norm", ["1", "2", "inf"])
@pytest.mark.parametrize("kind", ["mlp", "residual", "mixed", "pool", "wide"])
def test_the_solver_alone_closes_distances_of_files_in_float32(kind: str, norm: str, tmp_path: Path) -> None:
    """Some of these ended with "no engine knows more to try" and a witness up to a third too far."""
    asked = 0
    for seed in (1, 3, 6, 9):
        model = Model(write_network(tmp_path / f"{seed}.onnx", kind, seed))
        image = (
            np.random.default_rng(1000 + seed).random(model.network.input_size).astype(np.float32).astype(np.float64)
        )
        found = distance(
            model,
            image,
            model.predict(image),
            Threat(norm),
            settings=Settings(timeout=20, threads=1),
            engines=("propagate", "milp"),
        )
        assert found.verdict in (Verdict.ADVERSARIAL, Verdict.ROBUST), (seed, found.reason)
        asked += found.verdict is Verdict.ADVERSARIAL
    assert asked >= 1
