"""Proofs: what the checker accepts is true, by brute force, whatever was done to the file; and true proofs pass."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from onnx_networks import FILE_KINDS
from oracle import lowest
from proof_files import Form, base, checked_values, corrupt, folder, query, repack, subject, truth, unpack, unreached

from advverify.models.datasets import load_dataset
from advverify.models.export import write_onnx
from advverify.models.zoo import names, path_of
from advverify.verifier.api import certify, distance
from advverify.verifier.checker import Rejected, check
from advverify.verifier.checker.arithmetic import Relaxation
from advverify.verifier.checker.network import Network
from advverify.verifier.checker.region import Region
from advverify.verifier.engines import Settings
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.onnx_reader import read_onnx
from advverify.verifier.norms import get_norm
from advverify.verifier.outcome import Trust, Verdict
from advverify.verifier.proof.file import Unproved
from advverify.verifier.proof.leaf_duals import leaf_duals
from advverify.verifier.proof.prover import _Prover, prove
from advverify.verifier.specification import Threat


@pytest.mark.parametrize("name", [*names(), *FILE_KINDS])
def test_checker_reads_files_as_the_verifier_does(name: str) -> None:
    path = subject(name, 0)[0] if name in FILE_KINDS else path_of(name)
    network, checked = read_onnx(path), Network(onnx.load(str(path)))
    assert [checked.nodes[i].size for i in checked.relus] == [network.nodes[i].size for i in network.relus]
    x = np.random.default_rng(0).random((3, network.input_size))
    ours = evaluate(network, torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(checked_values(checked, x)[-1], ours, atol=1e-9)


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10_000),
    st.sampled_from([(3, 1, 1, 1), (2, 2, 1, 1), (2, 1, 2, 1), (3, 2, 2, 1), (2, 1, 1, 2), (3, 2, 1, 2)]),
)
def test_convolutions_equal_their_definition(seed: int, shape: tuple[int, int, int, int]) -> None:
    kernel, stride, dilation, group = shape
    rng = np.random.default_rng(seed)
    weight, pads = rng.normal(size=(4, 4 // group, kernel, kernel)), [1, 0, 0, 1]
    attributes = {"strides": [stride] * 2, "pads": pads, "dilations": [dilation] * 2, "group": group}
    conv = onnx.helper.make_node("Conv", ["x", "w"], ["y"], **attributes)
    entry, result = (onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, [1, 4, 7, 6]) for name in "xy")
    graph = onnx.helper.make_graph([conv], "conv", [entry], [result], [numpy_helper.from_array(weight, "w")])
    node = Network(onnx.helper.make_model(graph)).nodes[-1]
    ((_, ours),) = node.terms
    x, y = rng.normal(size=(2, 4 * 7 * 6)), rng.normal(size=(2, node.size))
    padded = torch.nn.functional.pad(torch.from_numpy(x.reshape(2, 4, 7, 6)), (0, 1, 1, 0))
    truth = torch.nn.functional.conv2d(padded, torch.from_numpy(weight), None, stride, 0, dilation, group)
    np.testing.assert_allclose(ours.apply(x), truth.flatten(1).numpy(), atol=1e-12)
    assert np.sum(ours.apply(x) * y) == pytest.approx(np.sum(x * ours.transposed(y)))  # the adjoint


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from(["inf", "2", "1", "0"]), st.floats(0.0, 1.5))
def test_minimum_over_a_region_is_a_lower_bound_and_near(seed: int, norm: str, radius: float) -> None:
    rng = np.random.default_rng(seed)
    n = 4
    center = rng.random(n)
    radius = float(int(radius * 2)) if norm == "0" else radius
    region = Region.of(np.zeros(n), np.ones(n), norm, center, radius)
    a = rng.normal(size=(3, n))
    offset = rng.normal(size=3)
    bound = region.minimum(a, offset, np.abs(offset))
    ball = get_norm(norm)
    room = torch.from_numpy(np.where(a > 0, center, 1 - center))
    moves = ball.maximizer(torch.from_numpy(a), room, torch.full((3,), radius, dtype=torch.float64)).numpy()
    best = (a * center).sum(-1) - (np.abs(a) * moves).sum(-1) + offset
    assert (bound <= best + 1e-15).all() and (bound >= best - 1e-6).all()


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(FILE_KINDS), st.integers(0, 4), st.integers(0, 10_000), st.floats(0.01, 0.6))
def test_any_multipliers_give_lower_bounds(kind: str, seed: int, draw: int, eps: float) -> None:
    """Random slopes, random splits with random multipliers: the minimum over a tree's leaves is never too high."""
    path, image, _ = subject(kind, seed)
    rng = np.random.default_rng(draw)
    network = Network(onnx.load(str(path)))
    lower, upper = np.maximum(image - eps, 0), np.minimum(image + eps, 1)
    relaxation = Relaxation(network, Region(lower, upper))
    bounds = relaxation.crown(relaxation.start())
    row = rng.normal(size=3)
    least = lowest(read_onnx(path), lower, upper, row)
    k = int(rng.integers(len(network.relus)))
    neuron = int(rng.integers(bounds.lower[k].shape[1]))
    leaves = []
    for sign in (1, -1):
        phases = [np.zeros_like(b, dtype=np.int8) for b in bounds.lower]
        phases[k][0, neuron] = sign
        betas = np.zeros_like(bounds.lower[k])
        betas[0, neuron] = -sign * rng.exponential()
        slopes = {r: rng.random(b.shape) * 3 - 1 for r, b in enumerate(bounds.lower)}
        passed = {r: rng.normal(size=b.shape) for r, b in enumerate(bounds.lower) if rng.random() < 0.3}
        split = bounds.split(phases)
        if rng.random() < 0.5:
            split = relaxation.crown(split)
        start = {len(network.nodes) - 1: row[None]}
        found = relaxation.lower_bounds(start, np.zeros(1), split, np.zeros(1, int), slopes, {k: betas}, passed=passed)
        leaves.append(found[0])
    assert min(leaves) <= least + 1e-9  # the oracle's own tolerance


@pytest.mark.parametrize("kind", FILE_KINDS)
def test_rounding_is_accounted_for(kind: str) -> None:
    """Large biases that cancel: intervals and CROWN still hold for values computed in higher precision."""
    for seed in range(3):
        path, image, _ = subject(kind, seed)
        model = onnx.load(str(path))
        for tensor in model.graph.initializer:
            array = numpy_helper.to_array(tensor)
            if array.ndim == 1 and array.dtype.kind == "f":
                tensor.CopyFrom(numpy_helper.from_array(array * np.float32(1e6), tensor.name))
        network = Network(model)
        region = Region(np.maximum(image - 1e-9, 0), np.minimum(image + 1e-9, 1))
        relaxation = Relaxation(network, region)
        bounds = relaxation.crown(relaxation.start())
        for node in network.nodes:
            for _, term in node.terms:
                if hasattr(term, "weight"):
                    term.weight = term.weight.astype(np.longdouble)
        share = np.random.default_rng(seed).random((50, len(image))).astype(np.longdouble)
        values = checked_values(network, region.lower + share * (region.upper - region.lower))
        for k, i in enumerate(network.relus):
            read = values[network.nodes[i].relu]
            assert (read >= bounds.lower[k]).all() and (read <= bounds.upper[k]).all()


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
@pytest.mark.parametrize("kind", FILE_KINDS)
def test_true_statements_are_proved_and_false_ones_are_not(kind: str, norm: str, tmp_path: Path) -> None:
    for seed in range(2):
        exact = truth(kind, seed, norm)
        share = 0.5 if kind == "pool" else 0.98  # proofs split ReLUs, not maxima
        radius = share * exact if np.isfinite(exact) else 0.4
        path = subject(kind, seed)[0]
        prove(query(kind, seed, norm, radius), path, 20.0).save(tmp_path / "p.proof")
        report = check(tmp_path / "p.proof", path)
        assert report.leaves >= 1 and f"{norm}-norm" in report.statement
        if np.isfinite(exact):
            with pytest.raises(Unproved):
                prove(query(kind, seed, norm, 1.02 * exact), path, 1.0)


@pytest.mark.parametrize("norm", ["inf", "1"])
@pytest.mark.parametrize("kind", [kind for kind in FILE_KINDS if kind != "pool"])
def test_trees_of_programs_prove_alone_what_is_true(
    kind: str, norm: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just below the distance, without searches by bound propagation: what LPs prove is all that a proof needs."""
    monkeypatch.setattr(_Prover, "_goals", lambda self, limit: False)
    monkeypatch.setattr(_Prover, "_parts", lambda self, polytope: None)
    monkeypatch.setattr("advverify.verifier.proof.prover._FEW_INPUTS", 0)
    for seed in range(3):
        exact = truth(kind, seed, norm)
        radius = 0.999 * exact if np.isfinite(exact) else 0.4
        path = subject(kind, seed)[0]
        prove(query(kind, seed, norm, radius), path, 20.0).save(tmp_path / "p.proof")
        assert check(tmp_path / "p.proof", path).leaves >= 1
        if np.isfinite(exact):
            with pytest.raises(Unproved):
                prove(query(kind, seed, norm, 1.001 * exact), path, 2.0)


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
def test_leaves_of_known_phases_are_exact(norm: str, tmp_path: Path) -> None:
    """A radius just below the distance, where slopes and ascent alone do not come to an end."""
    path, image, label = subject("conv", 0)
    nearby = distance(path, image, label, Threat(norm), settings=Settings(timeout=20, gap=1e-7))
    prove(query("conv", 0, norm, (1 - 2e-6) * nearby.bracket.lower), path, 20.0).save(tmp_path / "p.proof")
    check(tmp_path / "p.proof", path)


@pytest.mark.parametrize("norm", ["inf", "2", "1"])
def test_duals_of_known_phases(norm: str) -> None:
    """The checker's bound with them is the minimum over the phases' part of a region."""
    rng = np.random.default_rng(0)
    for seed in range(4):
        path, image, _ = subject("mlp", seed)
        network = Network(onnx.load(str(path)))
        region = Region.of(np.maximum(image - 0.3, 0), np.minimum(image + 0.3, 1), norm, image, 0.4)
        relaxation = Relaxation(network, region)
        points = region.lower + rng.random((100_000, 3)) * (region.upper - region.lower)
        power = np.inf if norm == "inf" else float(norm)
        points = points[np.linalg.norm(points - image, power, axis=1) <= 0.4]
        values = checked_values(network, points)
        active = [values[network.nodes[i].relu] > 0 for i in network.relus]
        row = np.array([1.0, -1.0, 0.5])
        for wanted in (np.concatenate([a[0] for a in active]), rng.random(7) < 0.5):
            inside = np.all(np.concatenate(active, axis=1) == wanted, axis=1)
            phases = np.where(wanted, 1, -1).astype(np.int8)
            duals = -phases * leaf_duals(network, region, phases, np.arange(7), row)
            parts = [phases[None, :4], phases[None, 4:]]
            betas = {0: duals[None, :4], 1: duals[None, 4:]}
            bounds = relaxation.start().split(parts)
            start = {len(network.nodes) - 1: row[None]}
            bound = relaxation.lower_bounds(start, np.zeros(1), bounds, np.zeros(1, int), None, betas)[0]
            if inside.any():
                least = (values[-1][inside] @ row).min()
                assert least - 0.1 <= bound <= least
            else:  # empty, or too small to be met by a sample
                assert bound >= (values[-1] @ row).min() - 0.1


def test_outcomes_carry_their_proofs(tmp_path: Path) -> None:
    path, image, label = subject("mlp", 3)
    exact = truth("mlp", 3, "inf")
    options = Settings(timeout=10, gap=1e-3, proofs=tmp_path)
    outcome = certify(path, image, label, Threat("inf", 0.9 * exact), settings=options)
    assert outcome.verdict is Verdict.ROBUST and outcome.trust is Trust.CHECKED and outcome.proof is not None
    check(outcome.proof, path)
    nearby = distance(path, image, label, Threat("inf"), settings=options)
    assert nearby.trust is Trust.CHECKED and nearby.proof is not None
    assert nearby.bracket.lower == pytest.approx(exact, rel=2e-3)
    assert f"{nearby.bracket.lower!r} of" in check(nearby.proof, path).statement
    network = read_onnx(path)
    assert certify(network, image, label, Threat("inf", 0.9 * exact), settings=options).trust is Trust.SOLVER


def test_few_inputs_are_proved_by_halving_boxes(tmp_path: Path) -> None:
    q = query("mlp", 0, "inf", 0.95 * min(truth("mlp", 0, "inf"), 0.5))
    proof = prove(q, subject("mlp", 0)[0], 20.0)
    kinds = {step["kind"] for step in proof.header["cases"][0]["steps"]}
    assert kinds <= {"crown", "goals", "boxes"}


# -- corruption ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["slopes", "passed", "boxes"])
def test_corruptions(form: Form, tmp_path: Path) -> None:
    """What is accepted is true, by brute force: on a radius that is proved, and on one beyond the exact distance."""
    rng = np.random.default_rng(0)
    path = tmp_path / "c.proof"
    accepted = 0
    rounds = 550 if form == "boxes" else 300
    for round_ in range(rounds):
        kind, seed = [("conv", 0), ("conv", 4), ("mlp", 3), ("conv", 1)][2 if form == "boxes" else round_ % 4]
        source, _, exact = base(kind, seed, form)
        model, image, label = subject(kind, seed)
        header, arrays = unpack(source)
        false = round_ % 5 == 0
        if false:
            header["cases"][0]["radius"] = exact * 1.002
        for _ in range(int(rng.integers(0 if false else 1, 4))):
            corrupt(rng, header, arrays)
        repack(path, header, arrays)
        try:
            check(path, model)
        except Rejected:
            continue
        accepted += 1  # then the statement, as it now stands, must be true
        lower, upper, center = arrays["0.lower"], arrays["0.upper"], arrays["0.center"]
        radius = header["cases"][0]["radius"]
        low, high = np.maximum(lower, center - radius), np.minimum(upper, center + radius)
        assert unreached(model, low, high, header, arrays)
    assert 0 < accepted < 0.81 * rounds


def test_what_must_be_there(tmp_path: Path) -> None:
    """A dropped leaf, goal or step, another model, a swapped side: each is rejected, and says why."""
    source, _, _ = base("conv", 4, "slopes")
    model, path = subject("conv", 4)[0], tmp_path / "c.proof"
    header, arrays = unpack(source)
    goals = next(s for s, step in enumerate(header["cases"][0]["steps"]) if step["kind"] == "goals")

    def rejected(reason: str, change: dict[str, np.ndarray] | None = None, steps: list[Any] | None = None) -> None:
        changed = json.loads(json.dumps(header))
        if steps is not None:
            changed["cases"][0]["steps"] = steps
        repack(path, changed, {**arrays, **(change or {})})
        with pytest.raises(Rejected, match=reason):
            check(path, model)

    check(source, model)
    codes = arrays[f"0.{goals}.codes"]
    rejected("ends before its leaves", {f"0.{goals}.codes": np.append(codes, np.int32(0))})
    rejected("nothing excludes", steps=header["cases"][0]["steps"][:goals])
    rejected("no kind of step", steps=[{"kind": "trust me"}])
    rejected("no such neuron", {f"0.{goals}.codes": np.where(codes >= 0, 10_000, codes).astype(np.int32)})
    rejected("holds NaN", {"0.center": arrays["0.center"] * np.nan})
    rejected("type", {f"0.{goals}.slopes": arrays[f"0.{goals}.slopes"].astype(np.float64)})
    with pytest.raises(Rejected, match="another model"):
        check(source, subject("conv", 1)[0])
    altered = tmp_path / "m.onnx"
    other = onnx.load(model)
    other.producer_name += "?"
    onnx.save(other, altered)
    with pytest.raises(Rejected, match="another model"):
        check(source, altered)


@settings(deadline=None, max_examples=200)
@given(st.binary(max_size=300), st.booleans(), st.integers(0, 10_000))
def test_noise_is_rejected_without_a_traceback(noise: bytes, inside: bool, place: int) -> None:
    source = base("mlp", 0, "slopes")[0]
    path = folder() / "noise.proof"
    content = bytearray(source.read_bytes())
    if inside:
        begin = place % len(content)
        content[begin : begin + len(noise)] = noise
    else:
        content = bytearray(noise)
    path.write_bytes(bytes(content))
    try:
        check(path, subject("mlp", 0)[0])
    except Rejected as error:
        assert "\n" not in str(error)


def test_every_unsafe_set_must_be_excluded(tmp_path: Path) -> None:
    """A set more in the statement than the steps speak of, though it is a copy of one that they exclude."""
    source, _, _ = base("conv", 4, "slopes")
    model, path = subject("conv", 4)[0], tmp_path / "more.proof"
    header, arrays = unpack(source)
    count = header["cases"][0]["polytopes"]
    header["cases"][0]["polytopes"] = count + 1
    more = {f"0.{part}.{count}": arrays[f"0.{part}.0"] for part in ("matrix", "offset")}
    repack(path, header, {**arrays, **more})
    with pytest.raises(Rejected, match="nothing excludes"):
        check(path, model)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_proofs_are_for_others_to_read_as_far_as_the_umask_allows(mask: int, mode: int, tmp_path: Path) -> None:
    before = os.umask(mask)
    try:
        outcome = certify(path_of("digits-mlp"), *_image(0), Threat("inf", 0.01), settings=Settings(proofs=tmp_path))
    finally:
        os.umask(before)
    assert outcome.proof is not None and stat.S_IMODE(Path(outcome.proof).stat().st_mode) == mode


def _image(index: int) -> tuple[np.ndarray, int]:
    data = load_dataset("digits")
    return data.images[index], int(data.labels[index])


@pytest.mark.parametrize("norm", ["0", "1", "2", "inf"])
def test_infinite_distances_are_proved(norm: str, tmp_path: Path) -> None:
    """No input of the valid range is adversarial: class 0 wins by 1 everywhere."""
    torch.manual_seed(0)
    last = torch.nn.Linear(4, 2)
    with torch.no_grad():
        last.weight.mul_(1e-3)
        last.bias.copy_(torch.tensor([1.0, 0.0]))
    net = torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), last)
    write_onnx(net, (2,), {}, tmp_path / "m.onnx")
    settings_ = Settings(timeout=10, threads=1, proofs=tmp_path)
    outcome = distance(tmp_path / "m.onnx", np.array([0.5, 0.25]), 0, Threat(norm), settings=settings_)
    assert outcome.bracket.lower == np.inf and outcome.trust is Trust.CHECKED, outcome.statistics
