"""Saved examples are what was found: arrays, pictures with their scale, and an index."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run, write_property
from PIL import Image

import advverify
from advverify.cli.report.pictures import side_by_side, signed
from advverify.cli.saving import Gallery
from advverify.models.datasets import load_dataset
from advverify.verifier.api import Model

DIGITS = load_dataset("digits")


@pytest.mark.parametrize("command", ["certify", "distance"])
def test_examples_of_images(command: str, tmp_path: Path) -> None:
    eps = ("--eps", "0.1") if command == "certify" else ()
    done = run(command, "zoo:digits-mlp", "--images", "0:4", *eps, "--save", str(tmp_path / "s"), "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    index = json.loads((tmp_path / "s" / "index.json").read_text())
    found = {line["index"]: line for line in lines if line["witness"] is not None}
    assert [entry["index"] for entry in index["examples"]] == list(found) and found
    assert f"{len(found)} adversarial example" in done.stderr
    model, page = Model(advverify.open_model("zoo:digits-mlp").path or ""), (tmp_path / "s" / "index.html").read_text()
    for entry in index["examples"]:
        with np.load(tmp_path / "s" / entry["arrays"]) as arrays:
            assert np.array_equal(arrays["adversarial"].ravel(), found[entry["index"]]["witness"])
            assert np.array_equal(arrays["image"], DIGITS.images[entry["index"]])
            assert model.predict(arrays["adversarial"]) == entry["prediction"] != entry["label"] == arrays["label"]
            length = np.abs(arrays["adversarial"] - arrays["image"]).max()
        assert entry["distance"] == pytest.approx(length) and (command == "distance") == (entry["proved"] is not None)
        with Image.open(tmp_path / "s" / entry["picture"]) as picture:
            assert picture.width > 600
        assert entry["picture"] in page and entry["arrays"] in page


def test_from_python(tmp_path: Path) -> None:
    found = advverify.attack("zoo:digits-mlp", DIGITS.images[:3], DIGITS.labels[:3], norm=2)
    page = found.save(tmp_path / "s", title="<b>")
    index = json.loads(page.with_name("index.json").read_text())
    hits = [k for k in range(3) if found[k].adversarial is not None]
    assert [entry["index"] for entry in index["examples"]] == hits and "&lt;b&gt;" in page.read_text()
    assert all(entry["prediction"] != entry["label"] for entry in index["examples"])


def test_colours_and_what_is_no_picture(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path, "mixed", {"norm": "inf"})
    image = np.random.default_rng(0).random((3, 32, 32))
    gallery.add("colour", np.clip(image + 0.1, 0, 1), image, label=1, prediction=2)
    gallery.add("vector", np.zeros(5), np.ones(5), label=1)
    gallery.add("alone", np.zeros((1, 8, 8)))
    gallery.close()
    assert [entry["picture"] for entry in gallery.entries] == ["colour.png", None, "alone.png"]
    assert all((tmp_path / f"{name}.npz").is_file() for name in ("colour", "vector", "alone"))
    assert not (tmp_path / "vector.png").exists()
    with np.load(tmp_path / "alone.npz") as arrays:
        assert list(arrays) == ["adversarial"]


def test_the_difference_is_drawn_to_its_scale() -> None:
    """White where nothing changes, the full colours where most does, and the image's own shades beside them."""
    colours = signed(np.array([[-0.5, 0.0, 0.5, 0.25]]), 0.5)
    assert np.allclose(colours[0, 1], 1) and colours[0, 0, 2] > colours[0, 0, 0] and colours[0, 2, 0] > colours[0, 2, 2]
    assert (colours[0, 2] < colours[0, 3]).sum() >= 2
    image = np.zeros((1, 4, 4))
    other = image.copy()
    other[0, 0, 0] = 0.5
    picture = side_by_side(image, other, (0.0, 1.0), ("class 1", "class 2"))
    assert picture is not None
    pixels = np.asarray(picture)
    assert (pixels == 128).all(-1).sum() > 500 or (pixels == 127).all(-1).sum() > 500  # half grey, enlarged
    assert (np.abs(pixels.astype(int) - (178, 24, 43)).sum(-1) <= 3).sum() > 500


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("distance", "zoo:digits-mlp", "--images", "0", "--save", str(tmp_path / "file"))
    assert done.returncode == 2 and "--save" in done.stderr and done.stderr.count("\n") == 1


def test_examples_of_attacks(tmp_path: Path) -> None:
    asked = ("attack", "zoo:digits-mlp", "--attack", "fgsm,pgd", "--norm", "inf", "--eps", "0.1", "--images", "0:4")
    done = run(*asked, "--save", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    rows = {row["attack"]: row for row in map(json.loads, done.stdout.splitlines())}
    index, model = json.loads((tmp_path / "index.json").read_text()), advverify.open_model("zoo:digits-mlp")
    for name, row in rows.items():
        found = [entry for entry in index["examples"] if entry["attack"] == name]
        assert len(found) == round(row["success"] * row["images"])
        for entry in found:
            with np.load(tmp_path / entry["arrays"]) as arrays:
                assert model.predict(arrays["adversarial"]) == entry["prediction"] != entry["label"]
                assert np.abs(arrays["adversarial"] - arrays["image"]).max() <= 0.1 * (1 + 1e-9)
    assert index["examples"]


def test_the_counterexample_of_a_property(tmp_path: Path) -> None:
    model = str(advverify.open_model("zoo:digits-mlp").path)
    bad = write_property(tmp_path / "bad.vnnlib", 0, 1, "(assert (>= Y_0 Y_1))")
    done = run("verify", model, str(bad), "--save", str(tmp_path / "s"), "--timeout", "20")
    assert done.stdout == "sat\n" and "1 adversarial example in" in done.stderr
    (entry,) = json.loads((tmp_path / "s" / "index.json").read_text())["examples"]
    with np.load(tmp_path / "s" / "bad.npz") as arrays:
        assert arrays["adversarial"].shape == (1, 8, 8) and arrays["outputs"][0] >= arrays["outputs"][1]
    assert entry["picture"] == "bad.png"
    safe = write_property(tmp_path / "safe.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    done = run("verify", model, str(safe), "--save", str(tmp_path / "s"))
    assert done.stdout == "unsat\n" and "0 adversarial examples in" in done.stderr
    assert json.loads((tmp_path / "s" / "index.json").read_text())["examples"] == []
