"""What image files hold and in which units networks get it: stated, asked for or refused in one line, never guessed in silence."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from command_line import run

from advverify.models.datasets import Dataset, load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.errors import InvalidInput

LABELS = np.array([3, 5])
WHOLE = np.arange(2 * 64, dtype=np.uint8).reshape(2, 1, 8, 8)


def saved(folder: Path, images: np.ndarray, labels: np.ndarray = LABELS) -> str:
    np.savez(folder / "d.npz", images=images, labels=labels)
    return f"npz:{folder / 'd.npz'}"


def mnist(folder: Path) -> str:
    images = np.arange(2 * 784, dtype=np.uint64).astype(np.uint8).reshape(2, 28, 28)
    for stem, array, rank in (("images-idx3", images, 3), ("labels-idx1", LABELS.astype(np.uint8), 1)):
        header = b"\x00\x00\x08" + bytes([rank]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
        (folder / f"t10k-{stem}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return f"mnist:{folder}"


@pytest.mark.parametrize(
    ("valid", "stated", "factor", "units", "said"),
    [
        ((0.0, 1.0), None, 1 / 255, "bytes / 255", "divided by 255"),
        ((0.0, 1.0), "unit", 1 / 255, "bytes / 255", ""),
        ((0.0, 255.0), None, 1, "bytes", "as they are"),
        ((0.0, 255.0), "raw", 1, "bytes", ""),
        ((0.0, 255.0), "unit", 1 / 255, "bytes / 255", ""),
        ((-1.0, 300.0), "raw", 1, "bytes", ""),
        ((-1.0, 1.0), "unit", 1 / 255, "bytes / 255", ""),
    ],
)
def test_bytes_of_an_npz_file(
    tmp_path: Path, valid: tuple[float, float], stated: str | None, factor: float, units: str, said: str
) -> None:
    data = load_dataset(saved(tmp_path, WHOLE), valid=valid, bytes_as=stated)
    assert data.units == units and (said in data.note if said else not data.note)
    expected = WHOLE.astype(np.float64) if factor == 1 else WHOLE / 255.0
    assert np.array_equal(data.images, expected)


def test_every_byte_survives_being_taken_as_it_is(tmp_path: Path) -> None:
    every = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    data = load_dataset(saved(tmp_path, every, np.array([0])), valid=(0.0, 255.0))
    assert np.array_equal(data.images, every.astype(np.float64))


def test_idx_files_are_bytes_of_a_documented_unit(tmp_path: Path) -> None:
    name = mnist(tmp_path)
    unit, raw = load_dataset(name), load_dataset(name, valid=(0.0, 255.0))
    assert not unit.note and unit.images.max() == 1 and unit.units == "bytes / 255"
    assert "as they are" in raw.note and raw.images.max() == 255
    with pytest.raises(InvalidInput, match="give --bytes raw"):
        load_dataset(name, valid=(-1.0, 1.0))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int64, np.uint16])
def test_other_types_are_taken_as_they_are(tmp_path: Path, kind: type) -> None:
    data = load_dataset(saved(tmp_path, WHOLE.astype(kind)), valid=(0.0, 255.0))
    assert np.array_equal(data.images, WHOLE.astype(np.float64)) and not data.note


def test_integers_of_other_types_can_be_stated_to_be_bytes(tmp_path: Path) -> None:
    name = saved(tmp_path, WHOLE.astype(np.int64))
    assert np.array_equal(load_dataset(name, bytes_as="unit").images, WHOLE / 255.0)
    with pytest.raises(InvalidInput, match="hold 0 to 1270, which are no bytes"):
        load_dataset(saved(tmp_path, WHOLE.astype(np.int64) * 10), bytes_as="unit")


@pytest.mark.parametrize(
    ("images", "stated", "message"),
    [
        (WHOLE.astype(np.float32), "unit", "not bytes; leave it out"),
        (np.where(WHOLE == 70, np.nan, 0.5), None, "NaN or infinite values .1 of 2 images, the first is 1"),
        (WHOLE.astype(np.complex128), None, "type complex128; needs real numbers"),
        (WHOLE.astype("U3"), None, "needs real numbers"),
        (WHOLE[:0], None, "holds no images"),
        (WHOLE[:1], None, "1 images but 2 labels"),
    ],
)
def test_what_is_no_set_of_images_is_refused(
    tmp_path: Path, images: np.ndarray, stated: str | None, message: str
) -> None:
    name = saved(tmp_path, images, LABELS if len(images) else LABELS[:0])
    with pytest.raises(InvalidInput, match=message):
        load_dataset(name, bytes_as=stated)


def test_missing_labels_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", images=WHOLE)
    with pytest.raises(InvalidInput, match="has images 'images' but no labels 'labels'"):
        load_dataset(f"npz:{tmp_path / 'd.npz'}")


def test_images_come_in_the_order_of_the_networks_inputs(tmp_path: Path) -> None:
    last = np.random.default_rng(0).random((2, 4, 5, 3))
    data = load_dataset(saved(tmp_path, last))
    assert data.channels_last and np.array_equal(data.fitted((3, 4, 5)).images, last.transpose(0, 3, 1, 2))
    assert np.array_equal(data.fitted((4, 5, 3)).images, last)
    assert data.fitted((60,)) is data
    with pytest.raises(InvalidInput, match="the same values in another order"):
        data.fitted((3, 5, 4))
    with pytest.raises(InvalidInput, match="have 60 values, the network takes 61"):
        data.fitted((61,))
    grey = Dataset("grey", np.zeros((1, 8, 8)), np.array([0]))
    assert grey.fitted((1, 8, 8)) is grey and grey.fitted((8, 8, 1)) is grey and grey.fitted((64,)) is grey


def test_the_range_is_checked_for_the_images_that_are_asked_for(tmp_path: Path) -> None:
    data = load_dataset(saved(tmp_path, np.stack([np.full(64, 0.5), np.full(64, 1.5)])))
    data.check_range([0])
    with pytest.raises(InvalidInput, match="image 1 has values from 1.5 to 1.5.*scale the images"):
        data.check_range(range(2))
    data.check_range(range(2), (0.0, 2.0))


def test_units_are_said_on_the_terminal_and_in_the_lines(tmp_path: Path) -> None:
    name, model, out = saved(tmp_path, WHOLE), str(path_of("digits-mlp")), tmp_path / "o.jsonl"
    asked = ("certify", model, "--data", name, "--images", "0:2", "--eps", "0.001")
    done = run(*asked, "--out", str(out))
    assert done.returncode == 0 and "are bytes: divided by 255" in done.stderr and "(0 of 2)" in done.stdout
    assert [json.loads(line)["units"] for line in out.read_text().splitlines()] == ["bytes / 255"] * 2
    refused = run(*asked, "--valid-range", "-1", "1")
    assert refused.returncode == 2 and "--bytes raw" in refused.stderr and len(refused.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("command", ["attack", "compare"])
def test_commands_without_a_range_refuse_what_lies_outside(tmp_path: Path, command: str) -> None:
    done = run(
        command, str(path_of("digits-mlp")), "--data", saved(tmp_path, WHOLE.astype(np.float32)), "--images", "0:2"
    )
    assert done.returncode == 2 and "works in [0, 1]: scale the images" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_jobs_refuse_what_lies_outside(tmp_path: Path) -> None:
    job = tmp_path / "j.toml"
    name = saved(tmp_path, WHOLE.astype(np.float32))
    job.write_text(f'[[queries]]\nmodels = ["zoo:digits-mlp"]\ndata = "{name}"\nimages = "0:2"\neps = [0.1]\n')
    done = run("batch", "run", str(job), "--store", str(tmp_path / "s.sqlite"), "--dry-run")
    assert done.returncode == 2 and "outside the valid range [0, 1]" in done.stderr
