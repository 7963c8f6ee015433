"""Data readers, and the zoo against its recipes."""

from pathlib import Path

import numpy as np
import pytest
import torch

from advverify.models.datasets import load_dataset
from advverify.models.zoo import names, path_of, retrain
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.onnx_reader import read_onnx


@pytest.mark.parametrize("name", names())
def test_data_card_says_the_truth(name: str) -> None:
    network, data = read_onnx(path_of(name)), load_dataset("digits")
    predicted = predict(network, torch.tensor(data.images.reshape(len(data), -1)))
    accuracy = float((predicted.numpy() == data.labels).mean())
    assert abs(accuracy - float(dict(network.metadata)["accuracy"])) < 0.004


def test_retraining_gives_the_shipped_network() -> None:
    module, _ = retrain("digits-mlp")
    data = load_dataset("digits")
    with torch.no_grad():
        fresh = module(torch.tensor(data.images[:50]).float()).double()
    from advverify.verifier.network.evaluate import evaluate

    shipped = evaluate(read_onnx(path_of("digits-mlp")), torch.tensor(data.images[:50].reshape(50, -1)))
    torch.testing.assert_close(fresh, shipped, atol=1e-2, rtol=1e-2)  # other processors sum in another order


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
