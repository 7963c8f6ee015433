"""Proofs for norm 0: parts of a ball by the pixels that change hold all of it, and what is accepted is true."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle import nearest
from proof_files import corrupt, query, repack, subject, truth, unpack, unreached

from advverify.verifier.checker import Rejected, check
from advverify.verifier.checker.region import Region
from advverify.verifier.network.onnx_reader import read_onnx
from advverify.verifier.proof import prover
from advverify.verifier.proof.file import Unproved
from advverify.verifier.proof.prover import prove
from advverify.verifier.query import Objective, Query
from advverify.verifier.specification import Threat, robustness


@settings(deadline=None, max_examples=100)
@given(
    st.integers(0, 10_000), st.integers(1, 2), st.integers(0, 3), st.lists(st.tuples(st.integers(0, 2), st.booleans()))
)
def test_parts_of_an_l0_ball_hold_all_of_it(
    seed: int, channels: int, radius: int, choices: list[tuple[int, bool]]
) -> None:
    """Down any path of choices, the part where a point of the ball belongs has a minimum no higher than its value."""
    rng = np.random.default_rng(seed)
    center, a, offset = rng.random(3 * channels), rng.normal(size=(1, 3 * channels)), np.zeros(1)
    region = Region.of(np.zeros(3 * channels), np.ones(3 * channels), "0", center, radius + 0.5, channels)
    support = rng.permutation(3) < radius
    x = np.where(np.tile(support, channels), rng.random(3 * channels), center)
    for pixel, wanted in choices:
        if region.norm != "0":  # as many are chosen as may change: a box
            break
        counted = support | region.counted
        counted[pixel] = True
        region = region.decided(pixel, bool(support[pixel]) or (wanted and int(counted.sum()) <= radius))
        assert (np.asarray(region.lower <= x)).all() and (np.asarray(x <= region.upper)).all()
        assert region.minimum(a, offset, offset)[0] <= float((a @ x)[0])


@pytest.fixture
def parted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proofs for norm 0 choose pixels, however easy they are."""
    monkeypatch.setattr(prover._Prover, "_goals", lambda *_: False)


@pytest.mark.parametrize("kind", ["mlp", "residual"])
def test_supports_are_proved(kind: str, parted: None, tmp_path: Path) -> None:
    for seed in range(4):
        exact, path = truth(kind, seed, "0"), subject(kind, seed)[0]
        for radius in range(1, 4):
            if radius < exact:
                prove(query(kind, seed, "0", radius), path, 20.0).save(tmp_path / "p.proof")
                assert f"0-norm {float(radius)} of" in check(tmp_path / "p.proof", path).statement
            else:
                with pytest.raises(Unproved):
                    prove(query(kind, seed, "0", radius), path, 0.3)


def test_tied_channels_are_proved_as_pixels(parted: None, tmp_path: Path) -> None:
    """One pixel of two channels is two entries: a proof about one entry would prove less than was asked for."""
    proved = unproved = 0
    for seed in (1, 2, 10, 12, 16):
        path, image, label = subject("wide", seed)
        network = read_onnx(path)
        entries, pixels = (nearest(network, image, label, "0", channels) for channels in (1, 2))
        specification = robustness(image, label, Threat("0", 1, channels=2), 3)
        asked = Query(network, specification, Objective.FEASIBILITY, path)
        if pixels > 1:
            prove(asked, path, 20.0).save(tmp_path / "p.proof")
            assert "(2 channels a pixel)" in check(tmp_path / "p.proof", path).statement
            proved += 1
        elif entries > 1:
            with pytest.raises(Unproved):
                prove(asked, path, 0.5)
            unproved += 1
    assert proved and unproved


def test_corrupt_choices_of_pixels(parted: None, tmp_path: Path) -> None:
    """What is accepted is true, by brute force over supports."""
    rng, accepted = np.random.default_rng(0), 0
    kind, seed = next(("mlp", s) for s in range(20) if truth("mlp", s, "0") == 2)
    model, path = subject(kind, seed)[0], tmp_path / "c.proof"
    prove(query(kind, seed, "0", 1), model, 20.0).save(tmp_path / "p.proof")
    assert any((array < -1).any() for name, array in unpack(tmp_path / "p.proof")[1].items() if "dimensions" in name)
    for round_ in range(400):
        header, arrays = unpack(tmp_path / "p.proof")
        false = round_ % 4 == 0
        if false:
            header["cases"][0]["radius"] = 2.0
        for _ in range(int(rng.integers(0 if false else 1, 4))):
            corrupt(rng, header, arrays, "dimensions" if round_ % 2 else "")
        repack(path, header, arrays)
        try:
            check(path, model)
        except Rejected:
            continue
        accepted += 1
        lower, upper, center = arrays["0.lower"], arrays["0.upper"], arrays["0.center"]
        inside = (lower <= center) & (center <= upper)
        for chosen in itertools.combinations(range(3), int(header["cases"][0]["radius"])):
            free = np.isin(np.arange(3), chosen)
            if not inside[~free].all():
                continue
            low, high = np.where(free, lower, center), np.where(free, upper, center)
            assert unreached(model, low, high, header, arrays)
    assert 0 < accepted < 300
