"""Every study runs from end to end, on fewer epochs, seeds and images."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from advverify.models.datasets import Dataset, load_dataset
from advverify.models.recipe import Recipe, read_recipe
from advverify.models.zoo import recipe_of
from examples import (
    cure_against_adversarial_training,
    dictionaries,
    dictionary_attacks,
    dictionary_defences,
    evaluation,
    first_certificate,
    robust_training,
    stable_against_plain,
    stable_mnist,
    transfer,
)


def short(name: str) -> Recipe:
    chosen = read_recipe(evaluation.RECIPES / f"{name}.toml")
    return replace(
        chosen,
        training=replace(chosen.training, epochs=1),
        data=replace(chosen.data, limit=128),
        card=replace(chosen.card, images=2),
    )


def brief(name: str) -> Recipe:
    """Enough for most images."""
    chosen = recipe_of(name)
    return replace(
        chosen,
        training=replace(chosen.training, epochs=4),
        data=replace(chosen.data, limit=600),
        card=replace(chosen.card, images=2),
    )


def few(name: str, split: str) -> Dataset:
    data = load_dataset(name, split)
    return Dataset(data.name, data.images[:60], data.labels[:60])


def test_robust_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(evaluation, "RESULTS", tmp_path)
    monkeypatch.setattr(robust_training, "recipe", short)
    monkeypatch.setattr(robust_training, "load_dataset", few)
    robust_training.main.main(["--data", "digits"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert "the one-step attack fgsm (47.9 % survive) is stronger than pgd (58.0 %)" in shown
    assert (tmp_path / "robust-training-digits" / "pca.png").is_file()


def test_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "RESULTS", tmp_path)
    monkeypatch.setattr(cure_against_adversarial_training, "recipe", short)
    monkeypatch.setattr(cure_against_adversarial_training, "load_dataset", few)
    cure_against_adversarial_training.main.main([], standalone_mode=False)
    assert "cost against standard" in (tmp_path / "cure-digits" / "README.md").read_text()


def test_stable_against_plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stable_against_plain, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(stable_against_plain, "FAMILIES", ("plain", "cpl"))
    monkeypatch.setattr(stable_against_plain, "recipe_of", brief)
    arguments = ["--seeds", "2", "--images", "0:2", "--work", str(tmp_path / "work")]
    stable_against_plain.main.main(arguments, standalone_mode=False)
    page = (tmp_path / "results" / "stable-against-plain-norm-inf" / "index.html").read_text()
    assert "on average over the seeds" in page and "digits-resnet-cpl" in page


@pytest.mark.parametrize("path", sorted(evaluation.RECIPES.glob("*.toml")), ids=lambda p: p.stem)
def test_recipes_can_be_read(path: Path) -> None:
    assert read_recipe(path).name == path.stem


def test_dictionary_attacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "RESULTS", tmp_path)
    monkeypatch.setattr(dictionary_attacks, "recipe", short)
    monkeypatch.setattr(dictionary_attacks, "load_dataset", few)
    monkeypatch.setattr(dictionary_attacks, "ATOMS", (2,))
    dictionary_attacks.main.main(["--count", "40"], standalone_mode=False)
    text = (tmp_path / "dictionary-attacks-digits" / "README.md").read_text()
    assert text.count("| ADiL |") == 3 and "noise injection" in text


def test_first_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first_certificate.main(tmp_path, epochs=4, count=6)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all("6 images" in line for line in lines)
    assert all("certified accuracy" in line for line in lines[::2]) and all(
        "mean distance" in line for line in lines[1::2]
    )
    for name in ("mlp", "conv"):
        for file in (f"{name}-radii.png", f"{name}-adversarial.png", f"{name}.onnx"):
            assert (tmp_path / file).stat().st_size > 1000, file


def test_dictionaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice: the second time every number is there already, and the same."""
    monkeypatch.setattr(evaluation, "RESULTS", tmp_path)
    arguments = [
        "--networks",
        "zoo:digits-mlp,zoo:digits-resnet-cpl",
        "--images",
        "0:30",
        "--fit",
        "0:60",
        "--atoms",
        "1,3",
    ]
    arguments += ["--seeds", "1", "--span", "3", "--certify", "2", "--timeout", "2", "--work", str(tmp_path / "work")]
    place = tmp_path / "dictionaries-digits-2"
    pages = []
    for _ in range(2):
        dictionaries.main.main(arguments, standalone_mode=False)
        pages.append((place / "README.md").read_text())
    assert pages[0] == pages[1] and "zoo:digits-resnet-cpl" in pages[0]
    assert {p.name for p in place.glob("*.png")} == {"curves.png", "atoms.png", "learning.png"}
    lines = (tmp_path / "work" / "rows.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 2 * 2 * 2 + 2 * 4 + 2 * 2 * 2
    with (tmp_path / "work" / "rows.jsonl").open("a") as stream:
        stream.write('{"key": "cut sho')  # by a kill
    assert len(evaluation.Rows(tmp_path / "work" / "rows.jsonl").known) == len(lines)


def test_stable_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In two pieces, on digits; bounds alone from two blocks on."""
    monkeypatch.setattr(evaluation, "RESULTS", tmp_path)
    text = (
        "--data digits --families plain,Hamiltonian --losses cross-entropy,margin --depths 1,2 --by-bounds 2 --seeds 2 "
    )
    text += "--norms inf --images 0:2 --timeout 2 --epochs 1 --limit 100 --work"
    arguments = [*text.split(), str(tmp_path / "work")]
    stable_mnist.main.main([*arguments, "--minutes", "0.000001"], standalone_mode=False)
    assert not (tmp_path / "stable-digits").exists()
    for _ in range(2):
        stable_mnist.main.main(arguments, standalone_mode=False)
    text = (tmp_path / "stable-digits" / "README.md").read_text()
    assert text.count("| plain | cross-entropy |") == 4 and "Unfinished" not in text and "bounds" in text
    rows = (tmp_path / "work" / "rows.jsonl").read_text().splitlines()
    assert len(rows) == 2 * 2 * 2 * 2 and (tmp_path / "stable-digits" / "radii-inf.png").is_file()


def test_families_have_equal_parameters() -> None:
    """Within two per cent of the plain one's."""
    image = Dataset("mnist", np.zeros((1, 1, 28, 28)), np.zeros(1, dtype=np.int64))
    work = Path("unused")
    study = stable_mnist.Study(image, image, range(1), 1.0, 0.05, work, None, 1, 0, 4, 4, 16, 1, "cpu")  # type: ignore[arg-type]
    for depth in (2, 8):
        counts = {f: stable_mnist._parameters(study.recipe(f, "margin", depth, 0)) for f in stable_mnist.FAMILIES}
        assert all(abs(count / counts["plain"] - 1) < 0.02 for count in counts.values()), counts


def test_dictionary_defences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "RESULTS", tmp_path)
    monkeypatch.setattr(dictionary_defences, "recipe_of", short_zoo)
    arguments = ["--seeds", "2", "--atoms", "3", "--images", "0:40", "--work", str(tmp_path / "work")]
    dictionary_defences.main.main(arguments, standalone_mode=False)
    first = (tmp_path / "dictionary-defences-digits" / "README.md").read_text()
    dictionary_defences.main.main(arguments, standalone_mode=False)
    assert first == (tmp_path / "dictionary-defences-digits" / "README.md").read_text()
    assert all(f"| {name} |" in first for name in dictionary_defences.DEFENCES) and "n.s." in first


def short_zoo(name: str) -> Recipe:
    chosen = recipe_of(name)
    return replace(
        chosen,
        training=replace(chosen.training, epochs=1),
        data=replace(chosen.data, limit=300),
        card=replace(chosen.card, images=0),
    )


def test_transfer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "RESULTS", tmp_path)
    networks = "zoo:digits-mlp,zoo:digits-resnet-cpl"
    arguments = ["--networks", networks, "--attacks", "pgd,universal-sgd", "--images", "0:40", "--fit", "0:60"]
    transfer.main.main([*arguments, "--work", str(tmp_path / "work")], standalone_mode=False)
    place = tmp_path / "transfer-digits-inf"
    numbers = json.loads((place / "numbers.json").read_text())
    shares = np.array(numbers["pgd"]["shares"])
    assert shares[0, 0] > shares[0, 1] and shares[0, 0] > 0.5  # the own network is fooled most, the other is robuster
    assert np.array(numbers["pgd"]["controls"]).max() < shares[0, 0]
    assert (place / "matrix.png").is_file() and "random signs" in (place / "README.md").read_text()
