"""Recipes, training, defences, checkpoints and data cards."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from advverify.models.card import make_card
from advverify.models.datasets import Dataset, load_dataset
from advverify.models.defences import DEFENCES, Step
from advverify.models.defences.adversary import Adversary
from advverify.models.defences.certified import Certified
from advverify.models.recipe import Recipe, read_recipe, recipe_from
from advverify.models.train import CHECKPOINT, METRICS, train
from advverify.models.zoo import names, recipe_of
from advverify.verifier.errors import InvalidInput, TrainingDiverged

SMALL: dict[str, Any] = {
    "name": "small",
    "architecture": {"name": "antisymmetric", "image": [1, 8, 8], "width": 12, "blocks": 3, "outputs": 10},
    "training": {"epochs": 3},
    "card": {"images": 10},
}


@pytest.fixture(scope="module")
def few() -> Dataset:
    data = load_dataset("digits", "train")
    return Dataset("digits", data.images[:256], data.labels[:256])


def recipe(**changes: Any) -> Recipe:
    return recipe_from({**SMALL, **changes})


def parameters(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in network.parameters()])


EVERYTHING = {
    "adversary": {"eps": 0.1, "steps": 2, "share": 0.5, "ramp": 0.5},
    "certified": {"eps": 0.05, "method": "crown-ibp", "begin": 0.0, "full": 0.5},
    "defences": {
        "contrastive": {"weight": 0.1},
        "cure": {"weight": 0.1},
        "jacobian": {"weight": 1e-3, "draws": 2},
        "l1": {"weight": 1e-4},
        "large-margin": {"weight": 0.1, "distance": 0.05},
        "local-linearity": {"weight": 0.1, "eps": 0.05},
        "relu-stability": {"weight": 1e-3, "eps": 0.05},
        "smoothness": {"weight": 1e-2},
        "spectral": {"weight": 1e-3},
    },
    "data": {"flip": True, "crop": 1},
}


def test_all_terms_together_train_reproducibly_and_resume(few: Dataset, tmp_path: Path) -> None:
    chosen = recipe(**EVERYTHING)
    assert set(chosen.defences) == set(DEFENCES)
    whole = train(chosen, few, few)
    assert whole.metrics[-1]["loss"] < whole.metrics[0]["loss"]

    class Stop(Exception):
        pass

    def stop(record: dict[str, Any]) -> None:
        if record["epoch"] == 2:
            raise Stop

    with pytest.raises(Stop):
        train(chosen, few, few, folder=tmp_path, listener=stop)
    heard: list[int] = []
    resumed = train(chosen, few, few, folder=tmp_path, listener=lambda record: heard.append(record["epoch"]))
    assert heard == [3]
    assert torch.equal(parameters(whole.network), parameters(resumed.network))
    lines = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert [line["loss"] for line in lines] == [record["loss"] for record in whole.metrics]


@pytest.mark.parametrize(
    "training",
    [
        {"optimiser": "sgd", "momentum": 0.9, "learning_rate": 0.05, "schedule": "step", "clip": 1.0},
        {"optimiser": "sgd", "learning_rate": 0.05, "schedule": "one-cycle", "weight_decay": 1e-4},
        {"schedule": "cosine", "loss": "multi-margin"},
        {"schedule": "constant", "learning_rate": 1e-3},
    ],
    ids=lambda t: f"{t.get('optimiser', 'adam')}-{t['schedule']}",
)
def test_optimisers_and_schedules_resume(training: dict[str, Any], few: Dataset, tmp_path: Path) -> None:
    chosen = recipe(training={"epochs": 2, **training})
    whole = train(chosen, few)
    with pytest.raises(KeyboardInterrupt):
        train(chosen, few, folder=tmp_path, listener=_interrupt)
    assert torch.equal(parameters(whole.network), parameters(train(chosen, few, folder=tmp_path).network))


def _interrupt(record: dict[str, Any]) -> None:
    if record["epoch"] == 1:
        raise KeyboardInterrupt


@pytest.mark.parametrize("noise", [False, True])
def test_dictionaries_as_adversaries_resume(noise: bool, few: Dataset, tmp_path: Path) -> None:
    adversary = {"eps": 0.5, "attack": "dictionary", "norm": "2", "steps": 5, "atoms": 3, "noise": noise, "share": 0.5}
    chosen = recipe(training={"epochs": 2}, adversary=adversary)
    whole = train(chosen, few)
    assert not torch.equal(parameters(whole.network), parameters(train(recipe(training={"epochs": 2}), few).network))
    with pytest.raises(KeyboardInterrupt):
        train(chosen, few, folder=tmp_path, listener=_interrupt)
    assert torch.equal(parameters(whole.network), parameters(train(chosen, few, folder=tmp_path).network))


@pytest.mark.parametrize(("norm", "eps"), [("2", 0.5), ("inf", 0.1)])
@pytest.mark.parametrize("noise", [False, True])
def test_dictionaries_keep_to_their_ball(norm: str, eps: float, noise: bool, few: Dataset) -> None:
    """The part of the batch that is attacked, the radius of the ramp, and images that stay images."""
    network = train(recipe(), few).network
    images, labels = torch.from_numpy(few.images).float(), torch.from_numpy(few.labels)
    adversary = Adversary(eps, "dictionary", norm, atoms=4, noise=noise, share=0.5, ramp=0.5)
    attack = adversary.begin(network, images, labels, torch.Generator().manual_seed(0))
    for progress in (0.1, 1.0):
        moved = attack(images[:40], labels[:40], progress, torch.Generator().manual_seed(1))
        delta = (moved - images[:40]).flatten(1)
        length = delta.norm(dim=1) if norm == "2" else delta.abs().amax(1)
        assert bool((length <= eps * min(1.0, progress / 0.5) * (1 + 1e-4) + 1e-6).all())
        assert bool((delta[20:] == 0).all()) and float(length[:20].max()) > 0
        assert 0 <= float(moved.min()) and float(moved.max()) <= 1


def test_a_seed_changes_the_network_and_nothing_else_does(few: Dataset) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    first, second = train(recipe(), few).network, train(recipe(training={"epochs": 3, "seed": 1}), few).network
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(parameters(first), parameters(second))


def test_a_broken_loss_stops_at_the_last_good_checkpoint(few: Dataset, tmp_path: Path) -> None:
    chosen = recipe(training={"epochs": 2})
    with pytest.raises(KeyboardInterrupt):
        train(chosen, few, folder=tmp_path, listener=_interrupt)
    kept = (tmp_path / CHECKPOINT).read_bytes()
    broken = Dataset("digits", few.images.copy(), few.labels)
    broken.images[:] = 1e38
    with pytest.raises(TrainingDiverged, match="lower learning_rate; the checkpoint of epoch 1"):
        train(chosen, broken, folder=tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == kept


def test_checkpoints_of_other_recipes_and_broken_ones_are_refused(few: Dataset, tmp_path: Path) -> None:
    train(recipe(training={"epochs": 1}), few, folder=tmp_path)
    with pytest.raises(InvalidInput, match="of another recipe"):
        train(recipe(training={"epochs": 1, "seed": 5}), few, folder=tmp_path)
    place = tmp_path / CHECKPOINT
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(InvalidInput, match="not a readable checkpoint"):
        train(recipe(training={"epochs": 1}), few, folder=tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epoch": 3}, "a recipe has no key 'epoch'"),
        ({"training": {"epoch": 3}}, r"\[training\] has no key 'epoch': choose epochs"),
        ({"training": {"epochs": "many"}}, r"\[training\] epochs must be of type int"),
        ({"training": {"epochs": 0}}, "needs epochs >= 1"),
        ({"training": {"schedule": "magic"}}, "schedule is one of"),
        ({"training": {"milestones": ["a"]}}, "must be of type float"),
        ({"adversary": {}}, r"\[adversary\] needs eps"),
        ({"adversary": {"eps": 0.1, "attack": "magic"}}, "attack is one of fgsm, pgd, dictionary"),
        ({"adversary": {"eps": 0.1, "noise": True}}, "belongs to attack = 'dictionary'"),
        ({"adversary": {"eps": 0.1, "attack": "dictionary", "atoms": 0}}, "needs atoms >= 1"),
        ({"certified": {"eps": -1.0}}, "needs eps > 0"),
        ({"defences": {"magic": {}}}, "unknown defence 'magic'"),
        ({"defences": {"l1": {"weight": -1.0}}}, "at least 0"),
        ({"defences": {"cure": {"weight": 1.0, "h": 0.0}}}, "h must be above 0"),
        ({"defences": {"large-margin": {"weight": 1.0}}}, "needs distance"),
        ({"defences": {"large-margin": {"weight": 1.0, "distance": 1.0, "norm": "3"}}}, "norm is one of inf, 2, 1"),
        ({"defences": {"local-linearity": {"weight": 1.0, "eps": -1.0}}}, "needs eps > 0"),
        ({"defences": {"jacobian": {"weight": 1.0, "draws": 0}}}, "draws must be at least 1"),
        ({"architecture": {"width": 3}}, "with a name"),
    ],
)
def test_recipes_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        recipe(**change)


def test_recipe_files(tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_recipe(path)
    path.write_text("[training\n")
    with pytest.raises(InvalidInput, match="not a TOML file"):
        read_recipe(path)
    path.write_text("[architecture]\nname = 'mlp'\n[training]\nepoch = 1\n")
    with pytest.raises(InvalidInput, match=r"r\.toml: \[training\] has no key"):
        read_recipe(path)


def test_networks_that_do_not_fit_the_data(few: Dataset) -> None:
    wrong = recipe(architecture={"name": "mlp", "inputs": 60, "hidden": [4], "outputs": 10})
    with pytest.raises(InvalidInput, match="does not take images of shape"):
        train(wrong, few)
    with pytest.raises(InvalidInput, match="10 classes"):
        train(recipe(architecture={"name": "mlp", "inputs": 64, "hidden": [4], "outputs": 3}), few)
    with pytest.raises(InvalidInput, match="no two blocks"):
        plain = {"name": "mlp", "inputs": 64, "hidden": [4], "outputs": 10}
        train(recipe(architecture=plain, defences={"smoothness": {"weight": 1.0}}), few)


def test_certified_losses_bound_the_worst_case(few: Dataset) -> None:
    """At full radius the loss is at least that of any point of the ball, for both methods, and CROWN-IBP is no looser."""
    network = train(recipe(), few).network
    images, labels = torch.from_numpy(few.images[:8]).float(), torch.from_numpy(few.labels[:8])
    step = Step(network, torch.nn.functional.cross_entropy, images, images, labels, images.flatten(1), 1.0)
    worst = [float(Certified(0.02, method)(step).detach()) for method in ("ibp", "crown-ibp")]
    noise = torch.rand(200, 8, *images.shape[1:]) * 0.04 - 0.02
    for delta in noise:
        inside = (images + delta).clamp(0, 1)
        seen = float(torch.nn.functional.cross_entropy(network(inside), labels).detach())
        assert seen <= worst[1] + 1e-6
    assert worst[1] <= worst[0] + 1e-6


def test_certified_training_makes_networks_that_bounds_certify(few: Dataset) -> None:
    shares = []
    for certified in ({}, {"certified": {"eps": 0.15}}, {"certified": {"eps": 0.15, "method": "crown-ibp"}}):
        chosen = recipe(
            architecture={"name": "mlp", "inputs": 64, "hidden": [24], "outputs": 10},
            training={"epochs": 60},
            card={"images": 40, "eps": 0.15},
            **certified,
        )
        shares.append(make_card(train(chosen, few).network, chosen, few, few)["certified"]["share"])
    assert min(shares[1:]) > shares[0] + 0.2


@pytest.mark.parametrize("name", names())
def test_every_shipped_network_has_its_recipe(name: str) -> None:
    assert recipe_of(name).name == name


def test_cards_of_lipschitz_networks_hold_their_constants(few: Dataset) -> None:
    chosen = recipe(architecture={"name": "cpl", "image": [1, 8, 8], "width": 12, "blocks": 1, "outputs": 10})
    card = make_card(train(chosen, few).network, chosen, few, few)
    assert card["lipschitz_l2"] < 1 + 1e-5 and np.array(card["pair_lipschitz_l2"]).shape == (10, 10)
    assert "1-Lipschitz" in card["stability"] and card["seed"] == 0 and card["recipe"]["training"]["epochs"] == 3
