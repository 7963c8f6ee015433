"""Data readers, and the zoo against its recipes."""

import hashlib
import io
import json
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import pytest
import torch

from advverify.models.build import build_model
from advverify.models.datasets import load_dataset
from advverify.models.datasets.fetch import Source, fetch
from advverify.models.folding import fold
from advverify.models.zoo import names, path_of, recipe_of
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import evaluate, predict
from advverify.verifier.network.onnx_reader import read_onnx


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("digits-")])
def test_data_card_says_the_truth(name: str) -> None:
    network, data = read_onnx(path_of(name)), load_dataset("digits")
    predicted = predict(network, torch.tensor(data.images.reshape(len(data), -1)))
    accuracy = float((predicted.numpy() == data.labels).mean())
    assert abs(accuracy - float(dict(network.metadata)["accuracy"])) < 0.004


@pytest.mark.parametrize("name", ["digits-mlp", "digits-resnet-cpl-adv"])
def test_retraining_gives_the_shipped_network(name: str, tmp_path: Path) -> None:
    data = load_dataset("digits")
    again = build_model(recipe_of(name), load_dataset("digits", "train"), data, tmp_path / "again.onnx")
    images = torch.tensor(data.images)
    with torch.no_grad():
        fresh = fold(again.network)(images.float()).double()
    network = read_onnx(path_of(name))
    shipped = evaluate(network, images.reshape(len(data), -1))
    # other processors sum in another order, and training amplifies that
    assert float((fresh - shipped).abs().mean()) <= 0.05 * float(shipped.std())
    assert float((fresh.argmax(1) == shipped.argmax(1)).double().mean()) >= 0.97
    assert json.loads(dict(network.metadata)["recipe"]) == json.loads(json.dumps(again.card["recipe"]))


class _Answer(io.BytesIO):
    def __enter__(self) -> Self:
        return self


def test_files_are_fetched_checked_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"published"
    source = Source("f.gz", hashlib.md5(content).hexdigest(), ("http://one", "http://two"))
    asked = []

    def answer(address: str, timeout: float) -> _Answer:
        asked.append(address)
        if address == "http://one":
            raise urllib.error.URLError("no route")
        return _Answer(content)

    monkeypatch.setattr(urllib.request, "urlopen", answer)
    assert fetch(source, tmp_path, ("f.",)).read_bytes() == content and asked == ["http://one", "http://two"]
    with pytest.raises(InvalidInput, match="another hash.*by hand"):
        fetch(replace(source, md5="0" * 32), tmp_path, ("f.",))
    with pytest.raises(InvalidInput, match="no such folder"):
        fetch(source, tmp_path / "nowhere", ("f.",))
    with pytest.raises(InvalidInput, match="holds other things, and no f.gz"):
        fetch(source, tmp_path, ("g.",))
    monkeypatch.setattr(urllib.request, "urlopen", lambda a, timeout: answer("http://one", timeout))
    with pytest.raises(InvalidInput, match="could not be fetched .no route.; put f.gz into"):
        fetch(source, tmp_path, ("f.",))


def test_npz(tmp_path: Path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, images=np.zeros((2, 4, 4, 3), np.uint8), labels=np.array([1, 2]))
    data = load_dataset(f"npz:{path}")
    assert data.images.shape == (2, 3, 4, 4)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(InvalidInput, match="needs arrays"):
        load_dataset(f"npz:{path}")


def test_cifar_binary_and_bad_files(tmp_path: Path) -> None:
    record = np.zeros((2, 3073), np.uint8)
    record[:, 0] = [3, 9]
    (tmp_path / "test_batch.bin").write_bytes(record.tobytes())
    assert load_dataset(f"cifar10:{tmp_path}").labels.tolist() == [3, 9]
    (tmp_path / "test_batch.bin").write_bytes(b"123")
    with pytest.raises(InvalidInput, match="records of 3073"):
        load_dataset(f"cifar10:{tmp_path}")


def test_pickles_cannot_run_code(tmp_path: Path) -> None:
    import os
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path}/ran",)

    (tmp_path / "test_batch").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(InvalidInput, match="not a CIFAR-10 Python batch"):
        load_dataset(f"cifar10:{tmp_path}")
    assert not (tmp_path / "ran").exists()
