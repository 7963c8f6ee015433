"""Job files say all that the command line says; what is wrong with them is said together, before anything starts."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run, write_property
from onnx import TensorProto, helper, numpy_helper, save

from advverify.cli.jobs import sources
from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.batch import images, job, properties, work
from advverify.verifier.batch.groups import grouped
from advverify.verifier.batch.job import read_text
from advverify.verifier.batch.task import Task
from advverify.verifier.engines import MilpOptions
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Outcome, Verdict
from advverify.verifier.store import Store

PLAIN = """
[[queries]]
models = ["zoo:digits-mlp"]
data = "digits"
images = "0:3"
eps = [0.02]
"""


def tasks(text: str, folder: Path = Path()) -> tuple[Task, ...]:
    return read_text(text, "j", folder, sources()).tasks


def keys_of_command(tmp_path: Path, *arguments: str) -> list[str]:
    """Content keys of what `certify` or `distance` asks with these arguments; equal keys are equal questions."""
    out = tmp_path / "out.jsonl"
    assert run(*arguments, "--out", str(out)).returncode == 0
    return [json.loads(line)["key"] for line in out.read_text().splitlines()]


@pytest.mark.parametrize(
    ("entries", "arguments"),
    [
        ("", ()),
        ("target = 3", ("--target", "3")),
        ("margin = 0.5", ("--margin", "0.5")),
        ("valid_range = [0, 2]", ("--valid-range", "0", "2")),
        ("tie_channels = true\nnorms = ['0']", ("--tie-channels", "--norm", "0")),
        ("float32 = true", ("--float32",)),
        ("exact_margin = true", ("--exact-margin",)),
        ("engines = ['crown', 'falsify']", ("--engines", "crown,falsify")),
        ("seed = 7", ("--seed", "7")),
        ("gap = 0.5\ntimeout = 9", ("--gap", "0.5", "--timeout", "9")),
        ("formulation = 'partition-3'\ncuts = 'none'", ("--formulation", "partition-3", "--cuts", "none")),
        ("solver = 'scip'\ntargets = 'joint'", ("--solver", "scip", "--targets", "joint")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_jobs_ask_what_the_command_line_asks(entries: str, arguments: tuple[str, ...], tmp_path: Path) -> None:
    if "scip" in entries:
        pytest.importorskip("pyscipopt")
    asked = tasks(PLAIN + entries)
    command = ("certify", "zoo:digits-mlp", "--data", "digits", "--images", "0:3", "--eps", "0.02", *arguments)
    assert [task.stored.key for task in asked] == keys_of_command(tmp_path, *command)


def test_sections_multiply(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.full((2, 1, 8, 8), 0.5), labels=np.array([1, 2]))
    text = PLAIN.replace('"digits"\n', f'["digits", "npz:{tmp_path / "a.npz"}"]\n').replace("0:3", "0:2")
    asked = tasks(
        text.replace('["zoo:digits-mlp"]', '["zoo:digits-mlp", "zoo:digits-conv"]')
        + "seeds = [1, 2]\nnorms = ['1', inf]"
    )
    assert len(asked) == len({task.stored.key for task in asked}) == 2 * 2 * 2 * 2 * 2
    assert {task.request.settings.seed for task in asked} == {1, 2}
    assert {task.stored.data for task in asked} == {"digits", f"npz:{tmp_path / 'a.npz'}"}
    assert {json.loads(task.stored.options)["seed"] for task in asked} == {1, 2}


def test_a_job_has_settings_for_all_sections(tmp_path: Path) -> None:
    other = PLAIN.replace("0.02", "0.03")
    text = f"timeout = 3\ngap = 0.1\nseed = 5\nproofs = 'kept'\n{PLAIN}{other}timeout = 4\nproofs = 'own'"
    first, *_, last = tasks(text, tmp_path)
    assert (first.request.settings.timeout, first.request.settings.gap, first.request.settings.seed) == (3.0, 0.1, 5)
    assert first.request.settings.proofs == tmp_path / "kept" and last.request.settings.proofs == tmp_path / "own"
    assert last.request.settings.timeout == 4.0 and last.request.settings.seed == 5
    assert len(grouped([first, last], 1)) == 2  # proofs are found one by one


def test_of_sections_that_ask_the_same_the_most_time_counts(tmp_path: Path) -> None:
    for first, second in ((3, 4), (4, 3)):
        asked = tasks(f"{PLAIN}timeout = {first}\n{PLAIN}timeout = {second}\n", tmp_path)
        assert [task.request.settings.timeout for task in asked] == [4.0] * 3


def test_repeated_queries_are_said(tmp_path: Path) -> None:
    (tmp_path / "job.toml").write_text(f"{PLAIN}{PLAIN}")
    done = run("batch", "run", str(tmp_path / "job.toml"), "--store", str(tmp_path / "s.sqlite"))
    assert done.returncode == 0 and "3 more queries of the job are the same as others of it" in done.stderr


def test_the_models_own_data_set_is_the_usual_one() -> None:
    with_name, without = tasks(PLAIN), tasks(PLAIN.replace('data = "digits"\n', ""))
    assert [task.stored for task in with_name] == [task.stored for task in without]


def test_images_are_in_the_order_of_the_networks_inputs(tmp_path: Path) -> None:
    """Channels last, as `certify` has them."""
    rng = np.random.default_rng(0)
    model = tmp_path / "last.onnx"
    nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 2, 3])]
    ends = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])]
    weights = [numpy_helper.from_array(rng.normal(size=(12, 3)).astype(np.float32), "w")]
    opsets = [helper.make_opsetid("", 13)]
    graph = helper.make_graph(nodes, "g", ports, ends, weights)
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), model)
    pixels = rng.random((4, 3, 2, 2))
    np.savez(tmp_path / "rgb.npz", images=pixels, labels=np.array([0, 1, 2, 0]))
    text = f"[[queries]]\nmodels = ['last.onnx']\ndata = 'npz:{tmp_path / 'rgb.npz'}'\neps = [0.01]"
    asked = tasks(text, tmp_path)
    for task, image in zip(asked, pixels, strict=True):
        assert task.request.image is not None
        assert np.array_equal(task.request.image.ravel(), image.transpose(1, 2, 0).ravel())


def test_a_class_is_not_asked_to_become_itself() -> None:
    labels = {task.request.label for task in tasks(PLAIN.replace("0:3", "0:50") + "target = 3")}
    assert 3 not in labels and len(labels) == 9


def test_all_faults_are_said_in_one_line(tmp_path: Path) -> None:
    text = "timeout = 'soon'\n" + PLAIN
    with pytest.raises(InvalidInput, match="a job: timeout must be a number of seconds above 0, got 'soon'"):
        tasks(text)
    text = PLAIN + "norm = 3\nmargin = -1\n" + PLAIN.replace("digits-mlp", "nothing") + PLAIN + "target = 12\n"
    path, store = tmp_path / "job.toml", tmp_path / "s.sqlite"
    path.write_text(text)
    done = run("batch", "run", str(path), "--store", str(store))
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and not store.exists()
    for words in (
        "number 1: has no key 'norm'",
        "number 1: margin must be a number >= 0, got -1",
        "number 2: the zoo has no network",
        "number 3: target 12: zoo:digits-mlp has the classes 0 to 9",
    ):
        assert words in done.stderr
    many = "".join(f"[[queries]]\nmodels = ['{k}.onnx']\ndata = 'digits'\neps = [0.1]\n" for k in range(9))
    with pytest.raises(InvalidInput, match=r"4\.onnx.*; and 4 more$"):
        tasks(many)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("seeds = []", "seeds must be a list of whole numbers"),
        ("seeds = [1]\nseed = 1", "give seed or seeds"),
        ("seed = -1", "seed must be a whole number >= 0"),
        ("target = 1.5", "target must be a class"),
        ("valid_range = [1, 0]", "the lowest first"),
        ("bytes = 'maybe'", "'raw' or 'unit'"),
        ("tie_channels = 1", "true or false"),
        ("distance = true", "one of the two"),
        ("valid_range = [0.5, 1]", "outside the valid range"),
        ("engines = ['crwn']", "unknown engine 'crwn'"),
        ("timeout = nan", "above 0, got nan"),
        ("norms = [[]]", "list of norms"),
        ("models2 = []", "has no key"),
    ],
)
def test_entries_that_make_no_sense(entry: str, message: str) -> None:
    with pytest.raises(InvalidInput, match="number 1: ") as refused:
        tasks(PLAIN + entry)
    assert message in str(refused.value)


def test_every_entry_is_in_the_documentation() -> None:
    page = (Path(__file__).parents[3] / "docs" / "batch.md").read_text()
    known = job._TOP.keys() | images._ENTRIES.keys() | properties._PROPERTIES.keys() | properties._VNNCOMP.keys()
    assert len(known) > 25
    assert not [name for name in known - {"name"} if not re.search(rf"\b{name}\b", page)]


# -- networks that cannot be read --------------------------------------------------------------------------------------


def test_a_network_that_cannot_be_read_is_an_accident_of_its_own_queries(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no network")
    (tmp_path / "fine.onnx").write_bytes(path_of("digits-mlp").read_bytes())
    write_property(tmp_path / "p.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    (tmp_path / "instances.csv").write_text("broken.onnx,p.vnnlib,20\nfine.onnx,p.vnnlib,20\n")
    text = PLAIN.replace('["zoo:digits-mlp"]', '["broken.onnx", "fine.onnx"]') + "[[vnncomp]]\nfolder = '.'\n"
    (tmp_path / "job.toml").write_text(text)
    store = tmp_path / "s.sqlite"
    done = run("batch", "run", str(tmp_path / "job.toml"), "--store", str(store), "--jobs", "2")
    assert done.returncode == 1 and "4 accidents, refused: " in done.stderr and "broken.onnx" in done.stderr
    with Store(store) as opened:
        assert {row["model"] for row in opened.accidents()} == {"broken.onnx"}
        assert [row["model"] for row in opened.rows() if row["verdict"] == "robust"] == ["fine.onnx"] * 4


# -- properties --------------------------------------------------------------------------------------------------------


def test_properties_one_by_one(tmp_path: Path) -> None:
    write_property(tmp_path / "safe.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    write_property(tmp_path / "unsafe.vnnlib", 0, 0.5, "(assert (>= Y_0 -1000))")
    text = (
        "[[properties]]\nmodels = ['zoo:digits-mlp']\nproperties = ['safe.vnnlib', 'unsafe.vnnlib']\nfloat32 = true\n"
    )
    asked = tasks(text + "engines = ['crown', 'falsify']\ntimeout = 20", tmp_path)
    found: list[Outcome] = [work.answer(task, lambda message: None) for task in asked]
    assert [outcome.verdict for outcome in found] == [Verdict.ROBUST, Verdict.ADVERSARIAL]
    assert all(task.request.threat.float32 and task.request.engines == ("crown", "falsify") for task in asked)
    with pytest.raises(InvalidInput, match=r"number 1: gone\.vnnlib: no such file"):
        tasks(text.replace("'safe.vnnlib'", "'gone.vnnlib'"), tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"n.onnx,p.vnnlib,abc\n",
            "instances.csv, line 1: the time limit must be a number of seconds above 0, got 'abc'",
        ),
        (b"n.onnx,p.vnnlib,20\nn.onnx,p.vnnlib,-3\n", "line 2: the time limit"),
        (b"n.onnx,p.vnnlib,inf\n", "line 1: the time limit"),
        (b"n.onnx,q.vnnlib,20\n", "line 1: q.vnnlib: no such file"),
        (b"n.onx,p.vnnlib,20\n", "line 1: n.onx: no such file"),
        (b"N.ONNX,p.vnnlib,20\nn.onnx,p.vnnlib,20\n", "line 1: N.ONNX: no such file"),
        (b"n.onnx;p.vnnlib;20\n", "line 1: needs a network, a property and a time limit with commas between"),
        (b"n.onnx,p.vnnlib,20\n\nn.onnx\n", "line 3: needs a network, a property"),
        (b"", "holds no instances"),
        (b"onnx,vnnlib,timeout\n", "holds no instances"),
        (b"\xff\xfen\x00,\x00", "write it as UTF-8"),
        (b'"n.onnx,p.vnnlib' + b"x" * 200_000, "cannot be read as a list of instances"),
    ],
)
def test_lists_of_instances_that_make_no_sense(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "n.onnx").write_bytes(path_of("digits-mlp").read_bytes())
    write_property(tmp_path / "p.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    (tmp_path / "instances.csv").write_bytes(content)
    with pytest.raises(InvalidInput, match="number 1") as refused:
        tasks("[[vnncomp]]\nfolder = '.'\n", tmp_path)
    assert message in str(refused.value)


def test_sections_choose_how_their_programs_are_written(tmp_path: Path) -> None:
    chosen = 'formulation = "partition-4"\ntighten = "mip"\ntargets = "joint"\ncuts = "none"\nfix_stable = false\nsubstitute = false\n'
    (usual, *_), (other, *_) = tasks(PLAIN), tasks(PLAIN + chosen)
    assert other.request.settings.milp == MilpOptions("highs", "partition-4", False, False, "mip", "joint", "none")
    assert usual.request.settings.milp == MilpOptions() and other.stored.key != usual.stored.key


# -- what the report makes of it ---------------------------------------------------------------------------------------


def test_questions_that_differ_are_told_apart() -> None:
    from advverify.cli.report.summary import group_name

    def name(entry: str) -> str:
        stored: Any = tasks(PLAIN + entry)[0].stored
        return group_name({column: getattr(stored, column) for column in stored.__dataclass_fields__})

    assert name("") == name("seed = 3") == "zoo:digits-mlp, norm inf, eps 0.02"
    assert name("target = 3\nmargin = 0.5") == "zoo:digits-mlp, norm inf, eps 0.02, target 3, margin 0.5"
    assert name("exact_margin = true") == "zoo:digits-mlp, norm inf, eps 0.02, exact margin"


ATTACKS = """
[[queries]]
models = ["zoo:digits-mlp"]
images = "0:6"
norms = ["2", "inf"]
attacks = ["pgd", "fgsm"]
distance = true
"""


def test_attacks_are_asked_as_the_library_asks_them(tmp_path: Path) -> None:
    import advverify

    job, store = tmp_path / "job.toml", tmp_path / "s.sqlite"
    job.write_text(ATTACKS)
    assert run("batch", "run", str(job), "--store", str(store), "--jobs", "1").returncode == 0
    data = load_dataset("digits")
    with Store(store) as opened:
        rows = list(opened.rows(outcomes=True))
    assert len(rows) == 24 and {row["kind"] for row in rows} == {"attack"}
    assert sum(row["verdict"] == "adversarial" for row in rows) > 18
    for row in rows[::5]:
        name, k = json.loads(row["options"])["attack"], int(row["item"])
        image, label = data.images[k], int(data.labels[k])
        alone = advverify.attack("zoo:digits-mlp", image, label, name=name, norm=row["norm"])
        assert (alone.verdict.value, alone.upper) == (row["verdict"], row["upper"])
    shown = run("report", str(store), "--text")
    assert shown.returncode == 0 and "attack pgd" in shown.stdout
    assert run("gap", str(store)).returncode == 2  # nothing is proved here


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"fgsm"', '"fgms"', "unknown attack 'fgms': did you mean fgsm"),
        ('"fgsm"', '"universal-sgd"', "is learned on some images"),
        ('["2", "inf"]', '["0"]', "the attack pgd knows the norms inf, 2, 1, not 0"),
        ("distance", "engines = 'mip'\ndistance", "attacks know no engines: leave it out"),
        ("distance", "loss = 'nothing'\ndistance", "unknown loss 'nothing'"),
        ("attacks", "loss = 'margin'\n#", "loss is for attacks"),
        ("distance = true", "eps = [0.0]", "eps must be a number above 0"),
    ],
)
def test_attacks_that_make_no_sense(old: str, new: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=re.escape(message)):
        read_text(ATTACKS.replace(old, new), "job", Path("."), sources())
