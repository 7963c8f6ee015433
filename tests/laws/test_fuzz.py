"""A short slice of `python -m benchmarks fuzz`: broken files end in a refusal of one line, or in what onnxruntime computes."""

from pathlib import Path

import onnx
import pytest
from onnx.external_data_helper import set_external_data

from advverify.models.zoo import path_of
from advverify.verifier.checker.network import Network, Rejected
from advverify.verifier.errors import InvalidModel
from advverify.verifier.network.onnx_reader import read_onnx
from benchmarks.fuzz import fuzz


@pytest.mark.parametrize(
    ("reader", "count"),
    [
        *(("onnx", 300), ("vnnlib", 1000), ("proof", 60), ("job", 300), ("recipe", 500)),
        *(("instances", 300), ("npz", 500), ("idx", 500), ("idx.gz", 200), ("images", 300)),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_broken_files(reader: str, count: int, tmp_path: Path) -> None:
    ends = fuzz(reader, count, 7, tmp_path)
    assert ends["refused"] > count / 4 and ends["refused"] + ends["accepted"] == count


def external(folder: Path, location: str) -> Path:
    """A network whose weights lie in another file."""
    model = onnx.load(str(path_of("digits-mlp")))
    (folder / "model").mkdir()
    with (folder / "weights.bin").open("wb") as outside, (folder / "model" / "weights.bin").open("wb") as inside:
        for tensor in model.graph.initializer:
            raw = tensor.raw_data
            set_external_data(tensor, location, offset=inside.tell(), length=len(raw))
            inside.write(raw)
            outside.write(raw)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
    path = folder / "model" / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_weights_in_files_of_their_own(tmp_path: Path) -> None:
    path = external(tmp_path, "weights.bin")
    first = read_onnx(path).sha256
    with (tmp_path / "model" / "weights.bin").open("r+b") as stream:
        stream.write(b"\0\0\0\0")
    assert read_onnx(path).sha256 != first  # the hash covers the weights
    with pytest.raises(Rejected, match="files of their own"):
        Network(onnx.load_model_from_string(path.read_bytes()))


@pytest.mark.parametrize("location", ["../weights.bin", "/etc/passwd", "missing.bin", "sub/../../weights.bin"])
def test_weights_outside_the_folder_are_refused(location: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidModel, match="outside the model's folder|not there"):
        read_onnx(external(tmp_path, location))


def test_links_do_not_lead_outside(tmp_path: Path) -> None:
    path = external(tmp_path, "link.bin")
    (tmp_path / "model" / "link.bin").symlink_to(tmp_path / "weights.bin")
    with pytest.raises(InvalidModel, match="outside"):
        read_onnx(path)
