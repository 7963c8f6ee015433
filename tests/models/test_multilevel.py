"""Prolongation in depth keeps the function the better the finer the network is, and what each family promises; levels resume."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advverify.models.architectures import build
from advverify.models.architectures.residual import ResidualBlock
from advverify.models.datasets import Dataset, load_dataset
from advverify.models.export import write_onnx
from advverify.models.folding import fold
from advverify.models.lipschitz import lipschitz_bound
from advverify.models.multilevel import levels, prolong
from advverify.models.recipe import Recipe, recipe_from
from advverify.models.train import train
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.network.onnx_reader import read_onnx

DENSE: dict[str, Any] = {"image": [1, 8, 8], "outputs": 5, "width": 12}
STAGED: dict[str, Any] = {"image": [1, 8, 8], "outputs": 5, "channels": 4, "stages": 2}
FAMILIES: list[tuple[str, dict[str, Any]]] = [
    ("resnet", {}),
    ("resnet", {"hidden": 6}),
    ("resnet", {"batch_norm": True}),
    ("resnet", {"hidden": 6, "batch_norm": True}),
    ("antisymmetric", {"step": 0.4}),
    ("hamiltonian", {"step": 0.4}),
    ("hamiltonian", {"variant": "verlet", "step": 0.4}),
    ("leapfrog", {"step": 0.4}),
    ("cpl", {"step": 1.0}),
    ("sll", {"step": 1.0}),
]


def slow(name: str, options: dict[str, Any], blocks: int) -> nn.Sequential:
    """A network whose weights change slowly from block to block, as prolongation takes for granted."""
    torch.manual_seed(0)
    network = build(name, blocks=blocks, **options)
    assert isinstance(network, nn.Sequential)
    runs: dict[str, list[nn.Module]] = {}
    for layer in network:
        if any(isinstance(part, ResidualBlock) for part in layer.modules()):
            shapes = str([tuple(p.shape) for p in layer.parameters()])
            runs.setdefault(shapes, []).append(layer)
    with torch.no_grad():
        for run in runs.values():
            first, last = run[0].state_dict(), run[-1].state_dict()
            for k, block in enumerate(run):
                t = 0.3 * k / (len(run) - 1)
                state = {
                    n: (1 - t) * v + t * last[n] if v.is_floating_point() and not n.endswith("vector") else v
                    for n, v in first.items()
                }
                block.load_state_dict(state)
                for part in block.modules():
                    if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                        part.running_var.fill_(0.7)  # type: ignore[union-attr]
                        part.running_mean.fill_(0.1)  # type: ignore[union-attr]
    return network.eval()


def finer(network: nn.Sequential, name: str, options: dict[str, Any], blocks: int, doublings: int) -> nn.Sequential:
    """Prolonged, with half the step a time."""
    for k in range(1, doublings + 1):
        changed = dict(options)
        if "step" in options:
            changed["step"] = options["step"] / 2**k
        torch.manual_seed(1)
        fine = build(name, blocks=blocks * 2**k, **changed)
        assert isinstance(fine, nn.Sequential)
        prolong(network, fine)
        network = fine.eval()
    return network


@pytest.mark.parametrize("shape", [DENSE, STAGED], ids=["dense", "staged"])
@pytest.mark.parametrize(("name", "more"), FAMILIES, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v)))
def test_prolongation_keeps_the_function(
    name: str, more: dict[str, Any], shape: dict[str, Any], tmp_path: Path
) -> None:
    """Each doubling changes less than the one before, as a method of first order must; the export agrees."""
    options = {**shape, **more}
    network, images = slow(name, options, 4), torch.rand(20, *shape["image"])
    with torch.no_grad():
        outputs = [finer(network, name, options, 4, k)(images) for k in range(4)]
    spread = float((outputs[0] - outputs[0].mean(0)).abs().mean())
    changes = [float((b - a).abs().mean()) for a, b in zip(outputs, outputs[1:], strict=False)]
    assert changes[1] < 0.75 * changes[0] and changes[2] < 0.75 * changes[1], changes
    assert changes[2] < 0.35 * spread, (changes, spread)
    fine = finer(network, name, options, 4, 1)
    write_onnx(fine, tuple(images.shape[1:]), {}, tmp_path / "n.onnx")
    read = evaluate(read_onnx(tmp_path / "n.onnx"), images.flatten(1).double())
    torch.testing.assert_close(read.float(), outputs[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [DENSE, STAGED], ids=["dense", "staged"])
@pytest.mark.parametrize("name", ["cpl", "sll"])
def test_prolonged_lipschitz_networks_stay_so(name: str, shape: dict[str, Any]) -> None:
    options = {**shape, "step": 2.0}
    fine = fold(finer(slow(name, options, 2), name, options, 2, 1))
    assert isinstance(fine, nn.Sequential)
    constant = lipschitz_bound(fine[:-1])
    assert constant is not None and constant < 1 + 1e-5


def test_a_free_leapfrog_moves_as_far_with_half_the_step() -> None:
    """Without a force a state moves along a line, and prolongation is exact, stages and all."""
    network = slow("leapfrog", {**STAGED, "step": 0.4}, 2)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, ResidualBlock):
                part.bias.fill_(-1e3)  # type: ignore[operator]
        images = torch.rand(9, 1, 8, 8)
        coarse = network(images)
        fine = finer(network, "leapfrog", {**STAGED, "step": 0.4}, 2, 1)(images)
    torch.testing.assert_close(fine, coarse, atol=1e-4, rtol=1e-4)


SMALL: dict[str, Any] = {
    "name": "small",
    "architecture": {"name": "antisymmetric", "image": [1, 8, 8], "width": 12, "blocks": 4, "outputs": 10},
    "training": {"epochs": 5},
    "multilevel": {"levels": 3},
    "card": {"images": 0},
}


def recipe(**changes: Any) -> Recipe:
    return recipe_from({**SMALL, **changes})


def test_levels_of_a_recipe() -> None:
    made = levels(recipe())
    assert [level.architecture.options["blocks"] for level in made] == [1, 2, 4]
    assert [level.architecture.options["step"] for level in made] == pytest.approx([1.2, 0.6, 0.3])
    assert [level.training.epochs for level in made] == [1, 1, 3] and all(level.multilevel is None for level in made)


def parameters(network: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def test_levels_train_and_resume(tmp_path: Path) -> None:
    data = load_dataset("digits", "train")
    few, chosen = Dataset("digits", data.images[:256], data.labels[:256]), recipe()
    whole = train(chosen, few)
    assert [m["epoch"] for m in whole.metrics] == [1, 2, 3, 4, 5] and [m["level"] for m in whole.metrics] == [
        1,
        2,
        3,
        3,
        3,
    ]
    assert sum(isinstance(m, ResidualBlock) for m in whole.network) == 4

    def stop(record: dict[str, Any]) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(chosen, few, folder=tmp_path, listener=stop)
    heard: list[int] = []
    resumed = train(chosen, few, folder=tmp_path, listener=lambda record: heard.append(record["epoch"]))
    assert heard == [4, 5] and torch.equal(parameters(whole.network), parameters(resumed.network))
    with pytest.raises(InvalidInput, match="of another recipe"):
        train(recipe(multilevel={"levels": 2}), few, folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"multilevel": {"levels": 1}}, "levels >= 2"),
        ({"multilevel": {"levels": 4}}, "halved 3 times, got 4"),
        ({"training": {"epochs": 2}}, "at least as many epochs"),
        ({"architecture": {"name": "mlp", "inputs": 64, "hidden": [9], "outputs": 10}}, "mlp has no blocks"),
    ],
)
def test_levels_that_cannot_be(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        levels(recipe(**change))


def test_a_coarse_step_beyond_the_stability_bound_is_refused() -> None:
    data = load_dataset("digits", "train")
    options = {"name": "cpl", "image": [1, 8, 8], "width": 12, "blocks": 4, "outputs": 10}
    with pytest.raises(InvalidInput, match="2 is the stability bound"):
        train(recipe(architecture=options), Dataset("digits", data.images[:64], data.labels[:64]))
