"""Every architecture: folding, export and live bounds agree; and what each claims of its stability."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from advverify.models.architectures import ARCHITECTURES, build, linear_maps, stability
from advverify.models.architectures.antisymmetric import AntisymmetricBlock
from advverify.models.architectures.hamiltonian import HalfStep
from advverify.models.architectures.leapfrog import LeapfrogBlock
from advverify.models.export import write_onnx
from advverify.models.folding import fold
from advverify.models.from_torch import from_torch
from advverify.models.lipschitz import certificate, lipschitz_bound, pair_constants
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.onnx_reader import read_onnx

IMAGE = [1, 8, 8]
DENSE = {"image": IMAGE, "blocks": 2, "outputs": 5, "width": 12}
CONVOLUTIONAL = {"image": [2, 8, 8], "blocks": 2, "outputs": 5, "channels": 4, "pool": 2}
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("resnet", {}),
    ("resnet", {"hidden": 6}),
    ("resnet", {"batch_norm": True, "dropout": 0.2}),
    ("antisymmetric", {}),
    ("hamiltonian", {}),
    ("hamiltonian", {"variant": "verlet"}),
    ("leapfrog", {}),
    ("cpl", {}),
    ("sll", {"hidden": 7}),
]
STAGED = {"image": [2, 8, 8], "blocks": 2, "outputs": 5, "channels": 4, "stages": 2, "pool": 2}
STRIDED = {**STAGED, "between": "stride", "stride": 2, "pool": 1, "lift": 5}
CASES: list[tuple[str, dict[str, Any]]] = [
    *((name, {**shape, **more}) for name, more in FAMILIES for shape in (DENSE, CONVOLUTIONAL, STAGED, STRIDED)),
    ("mlp", {"inputs": 64, "hidden": [9], "outputs": 5, "dropout": 0.5}),
    ("conv", {"image": IMAGE, "channels": [3, 4], "hidden": 9, "outputs": 5, "batch_norm": True}),
    ("lenet", {"image": [1, 16, 16], "outputs": 5}),
    ("lenet", {"image": [1, 16, 16], "outputs": 5, "pool": "max"}),
    ("lipschitz-mlp", {"image": IMAGE, "hidden": [16, 8], "outputs": 5, "layer": "orthogonal"}),
    ("lipschitz-mlp", {"image": IMAGE, "hidden": [16, 8], "outputs": 5, "layer": "spectral"}),
]
LIPSCHITZ = [case for case in CASES if case[0] in ("cpl", "sll", "lipschitz-mlp")]


def label(case: tuple[str, dict[str, Any]]) -> str:
    name, options = case
    return "-".join(
        [
            name,
            *(
                f"{k}={v}"
                for k, v in options.items()
                if k in ("hidden", "channels", "variant", "pool", "stages", "between", "batch_norm")
            ),
        ]
    )


def trained_a_little(name: str, options: dict[str, Any]) -> tuple[nn.Sequential, Tensor]:
    """A network some steps away from its initialisation, in evaluation mode, and inputs."""
    torch.manual_seed(0)
    network = build(name, **options)
    assert isinstance(network, nn.Sequential)
    images = torch.rand(16, *options.get("image", IMAGE))
    optimiser = torch.optim.Adam(network.parameters(), lr=0.05)
    for _ in range(5):
        optimiser.zero_grad()
        nn.functional.cross_entropy(network(images), torch.arange(16) % 5).backward()
        optimiser.step()
    return network.eval(), images


@pytest.mark.parametrize("case", CASES, ids=label)
def test_torch_folded_and_onnx_agree(case: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    network, images = trained_a_little(*case)
    with torch.no_grad():
        expected, folded = network(images), fold(network)(images)
    torch.testing.assert_close(folded, expected, atol=1e-5, rtol=1e-5)
    path = tmp_path / "n.onnx"
    write_onnx(network, tuple(images.shape[1:]), {}, path)
    read = evaluate(read_onnx(path), images.flatten(1).double())
    torch.testing.assert_close(read.float(), folded, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("case", [c for c in CASES if c[0] not in ("conv",) and c[1].get("pool") != "max"], ids=label)
def test_live_networks_share_parameters(case: tuple[str, dict[str, Any]]) -> None:
    network, images = trained_a_little(*case)
    live = evaluate(from_torch(network, tuple(images.shape[1:])), images.flatten(1))
    torch.testing.assert_close(live, network(images), atol=1e-5, rtol=1e-5)
    live.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("case", LIPSCHITZ, ids=label)
def test_lipschitz_networks_are_not_expansive(case: tuple[str, dict[str, Any]]) -> None:
    network, images = trained_a_little(*case)
    folded = fold(network)
    assert isinstance(folded, nn.Sequential)
    constant = lipschitz_bound(folded[:-1])
    assert constant is not None and constant < 1 + 1e-5
    body = folded[:-1].double()
    with torch.no_grad():
        a, b = images.double(), torch.rand(16, *images.shape[1:], dtype=torch.float64)
        near = a + 1e-3 * torch.randn(a.shape, dtype=torch.float64)
        for other in (b, near):
            before = (a - other).flatten(1).norm(dim=1)
            after = (body(a) - body(other)).flatten(1).norm(dim=1)
            assert bool((after <= before * constant * (1 + 1e-9)).all())


@pytest.mark.parametrize(
    "case", [c for c in CASES if c[0] in ("resnet", "antisymmetric", "leapfrog", "cpl")], ids=label
)
def test_lipschitz_bound_holds_for_all(case: tuple[str, dict[str, Any]]) -> None:
    network, images = trained_a_little(*case)
    folded = fold(network)
    assert isinstance(folded, nn.Sequential)
    pairs = pair_constants(folded)
    assert pairs is not None
    x = images.double().flatten(1).requires_grad_(True)
    logits = folded.double()(x.view(-1, *images.shape[1:]))
    for y in range(5):
        for k in range(y):
            (gradient,) = torch.autograd.grad((logits[:, y] - logits[:, k]).sum(), x, retain_graph=True)
            assert float(gradient.norm(dim=1).max()) <= pairs[y, k] * (1 + 1e-6)


def test_certificate() -> None:
    pairs = np.array([[0.0, 2.0, 4.0], [2.0, 0.0, 1.0], [4.0, 1.0, 0.0]])
    assert certificate(np.array([3.0, 1.0, 0.0]), 0, pairs) == pytest.approx(0.75)
    assert certificate(np.array([3.0, 1.0, 0.0]), 1, pairs) == 0


@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3), st.sampled_from([1, 3, 5]))
@settings(max_examples=30, deadline=None)
def test_spectral_bound_of_kernels(seed: int, outer: int, inner: int, side: int) -> None:
    torch.manual_seed(seed)
    kernel = torch.randn(outer, inner, side, side, dtype=torch.float64)
    basis = torch.eye(inner * 49, dtype=torch.float64).view(-1, inner, 7, 7)
    matrix = linear_maps.apply(kernel, basis).flatten(1).T
    exact = float(torch.linalg.matrix_norm(matrix, 2))
    bound = linear_maps.spectral_bound(kernel)
    assert exact <= bound * (1 + 1e-12) and bound <= 1.6 * exact
    adjoint = linear_maps.apply(linear_maps.transposed(kernel), torch.eye(outer * 49).double().view(-1, outer, 7, 7))
    torch.testing.assert_close(adjoint.flatten(1).T, matrix.T)


def test_antisymmetric_eigenvalues() -> None:
    torch.manual_seed(0)
    for kernel in (None, 3):
        block = AntisymmetricBlock(4, kernel, 0.3, 0.2)
        field = block.field().detach().double()
        if kernel is not None:
            field = linear_maps.apply(field, torch.eye(4 * 36).double().view(-1, 4, 6, 6)).flatten(1).T
        values = torch.linalg.eigvals(field)
        torch.testing.assert_close(values.real, torch.full_like(values.real, -0.1), atol=1e-6, rtol=0)


def test_hamiltonian_half_steps_keep_volume() -> None:
    network, images = trained_a_little("hamiltonian", DENSE)
    steps = [m for m in network.modules() if isinstance(m, HalfStep)]
    assert len(steps) == 4
    for step in steps:
        jacobian = torch.autograd.functional.jacobian(lambda s, b=step: b.double()(s), torch.randn(12).double())
        assert abs(abs(float(torch.linalg.det(jacobian))) - 1) < 1e-6


def test_leapfrog_eigenvalues_on_the_circle() -> None:
    torch.manual_seed(0)
    block = LeapfrogBlock(4, 4, None, 0.5).double()
    with torch.no_grad():
        block.weight.mul_(1.9 / (0.5 * linear_maps.spectral_bound(block.weight)))
        block.bias.fill_(100.0)  # every unit active
    jacobian = torch.autograd.functional.jacobian(block, torch.rand(8).double())
    torch.testing.assert_close(torch.linalg.eigvals(jacobian).abs(), torch.ones(8).double(), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_stability_is_stated(name: str) -> None:
    assert stability(name)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("cpl", {**DENSE, "step": 2.5}, "2 is the stability bound"),
        ("antisymmetric", {**DENSE, "step": 50.0, "gamma": 0.1}, "beyond the stability bound"),
        ("hamiltonian", {**DENSE, "width": 7}, "must be even"),
        ("resnet", {**DENSE, "depth": 3}, "has no option 'depth'"),
        ("resnet", {"image": IMAGE}, "needs the option 'blocks'"),
        ("resnet", {**DENSE, "channels": 3}, "one of the two"),
        ("resnet", {**CONVOLUTIONAL, "pool": 3}, "cannot be pooled"),
        ("resnet", {**STAGED, "pool": 8}, "of 4x4 cannot be pooled by 8"),
        ("resnet", {**STAGED, "stages": 5}, "cannot be halved 4 times"),
        ("resnet", {**STAGED, "lift": 4}, "odd side of a kernel"),
        ("resnet", {**STAGED, "between": "magic"}, "between is one of pool, stride"),
        ("resnet", {**DENSE, "stages": 2}, "give `channels` instead"),
        ("sll", {**DENSE, "step": 2.5}, "2 is the stability bound"),
        ("mlp", {"inputs": 0, "hidden": [3], "outputs": 2}, "impossible shape"),
        ("mlp", {"inputs": "many", "hidden": [3], "outputs": 2}, "impossible options"),
        ("nonsense", {}, "unknown architecture"),
    ],
)
def test_impossible_networks(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        build(name, **options)
