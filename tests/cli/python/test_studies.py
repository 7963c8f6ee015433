"""compare and geometry: from modules and arrays, with the checks and the numbers of the commands."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import run
from torch import nn

import advverify
from advverify.models.datasets import load_dataset
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Outcome

DIGITS = load_dataset("digits")
X, Y = DIGITS.images[:4], DIGITS.labels[:4]


def module(seed: int) -> nn.Module:
    """Classifies the first four digits rightly."""
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    optimiser, x, y = torch.optim.Adam(net.parameters(), 0.02), torch.from_numpy(X).float(), torch.from_numpy(Y)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    return net


def test_modules_on_arrays(tmp_path: Path) -> None:
    heard: dict[int, Outcome] = {}
    result = advverify.compare(
        {"first": module(0), "second": module(1)},
        X,
        Y,
        norm=2,
        eps_grid=[0.2, 0.1],
        jobs=1,
        timeout=20,
        out=tmp_path / "c",
        progress=heard.__setitem__,
    )
    assert [row["network"] for row in result.rows()] == ["first", "second"] and result.grid == (0.1, 0.2)
    assert len(result.images) == 4 and len(result.pairs) == 1 and len(heard) == 8
    alone = advverify.distance(module(0), X, Y, norm=2, gap=0.01, timeout=20)
    for k in range(4):  # brackets of one number
        assert heard[k].lower <= alone.upper[k] and alone.lower[k] <= heard[k].upper
    assert (tmp_path / "c" / "index.html").is_file() and "first" in repr(result) and ">second" in result._repr_html_()
    assert json.loads(result.to_json()) == json.loads((tmp_path / "c" / "comparison.json").read_text())
    again = advverify.compare({"first": module(0), "second": module(1)}, X, Y, norm=2, timeout=20, jobs=1)
    assert again.rows()[0]["median_radius"] == result.rows()[0]["median_radius"]


def test_the_numbers_of_the_commands() -> None:
    names = ["zoo:digits-mlp", "zoo:digits-resnet-cpl"]
    result = advverify.compare(names, images="0:2", eps_grid=(0.05,), timeout=20, jobs=1)
    printed = json.loads(
        run("compare", *names, "--images", "0:2", "--eps-grid", "0.05", "--timeout", "20", "--json").stdout
    )
    ours = json.loads(result.to_json())
    for row in (*ours["networks"], *printed["networks"]):
        row.pop("median_seconds"), row.pop("total_seconds")
    assert ours == printed
    measured = advverify.geometry("zoo:digits-mlp", images="0:6", h=0.4)
    assert measured.rows()[0]["network"] == "zoo:digits-mlp" and "zoo:digits-mlp, median l2" in repr(measured)
    assert measured["zoo:digits-mlp"]["h"] == pytest.approx(0.4 * measured["zoo:digits-mlp"]["median_distance"])


def test_geometry_of_a_module(tmp_path: Path) -> None:
    measured = advverify.geometry([module(0), module(0)], X, Y, out=tmp_path / "g")
    first, second = measured.values()
    assert list(measured) == ["Sequential", "Sequential 2"] and first["images"] == 4
    assert first["median_distance"] == second["median_distance"]
    names = {path.name for path in (tmp_path / "g").iterdir()}
    assert {"index.html", "geometry.json"} <= names and any(name.startswith("sections-1-") for name in names)
    assert json.loads(measured.to_json()) == json.loads((tmp_path / "g" / "geometry.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        (([],), {}, "models holds no network"),
        ((["zoo:digits-mlp"] * 2,), {}, "named twice"),
        (("zoo:digits-mlp", X), {}, "needs their labels: give y"),
        (("zoo:digits-mlp", None, Y), {}, "y and bytes_as belong to x"),
        (("zoo:digits-mlp", X, Y), {"images": "0:2"}, "x and images are both given"),
        (("zoo:digits-mlp", X, Y[:2]), {}, "x holds 4 images and y 2 labels"),
        (("zoo:digits-mlp", X[:, :, :4], Y), {}, "an image of x has 32 values"),
        (("zoo:digits-mlp", 2 * X, Y), {}, "outside the valid range"),
        (("zoo:digits-mlp",), {"images": "5000:"}, "^images 5000: names no image"),
        (("zoo:digits-mlp",), {"data": "nothing"}, "unknown data set 'nothing'"),
        (("zoo:digits-mlp", X, (Y + 1) % 10), {}, "classified rightly"),
    ],
)
@pytest.mark.parametrize("name", ["compare", "geometry"])
def test_bad_arguments(name: str, arguments: tuple[Any, ...], options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words) as refused:
        getattr(advverify, name)(*arguments, **options)
    assert "--" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("compare", {"norm": 0}, "distances in norm 0 are counts"),
        ("compare", {"timeout": -1}, "timeout must be a number of seconds above 0"),
        ("compare", {"gap": 2}, "gap must be above 0 and below 1"),
        ("compare", {"jobs": 0}, "jobs must be a whole number from 1, got 0"),
        ("compare", {"eps_grid": [0.1, -1]}, "eps_grid takes radii above 0, got -1"),
        ("geometry", {"h": 0}, "h must be a number above 0"),
        ("geometry", {"seed": -1}, "seed must be a whole number from 0"),
    ],
)
def test_bad_options(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        getattr(advverify, name)("zoo:digits-mlp", X, Y, **options)


def test_a_module_needs_images_and_a_network_in_memory_a_file() -> None:
    with pytest.raises(InvalidInput, match="exports a module for the images that it is given: give x and y"):
        advverify.compare(module(0))
    network = advverify.open_model("zoo:digits-mlp").network
    with pytest.raises(InvalidInput, match="was built in memory and has no file"):
        advverify.compare(network, X, Y, jobs=1)
    assert len(advverify.geometry(network, X, Y)) == 1


def test_what_was_decided_is_a_warning(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=(255 * X).astype(np.uint8), labels=Y)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        advverify.geometry("zoo:digits-mlp", data=f"npz:{tmp_path / 'd.npz'}", images="0:4")
    assert any("255" in str(warning.message) for warning in said)
