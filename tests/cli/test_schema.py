"""What commands print with --json and write as JSON validates against cli/schema.json, which lists all of it."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from command_line import run, write_property
from jsonschema import Draft202012Validator

import advverify
from advverify.cli.main import COMMANDS
from advverify.models.zoo import path_of

SCHEMA = json.loads((files("advverify.cli") / "schema.json").read_text())
MLP = "zoo:digits-mlp"
SWEEP = """
name = "tiny"
seeds = 2
[measure]
images = "0:2"
timeout = 5.0
[base.architecture]
name = "mlp"
inputs = 64
hidden = [8]
outputs = 10
[base.data]
limit = 200
[base.training]
epochs = 1
[factors]
training.batch = [64, 16]
"""


def check(name: str, value: Any) -> None:
    validator = Draft202012Validator(
        {"$schema": SCHEMA["$schema"], "$ref": f"#/$defs/{name}", "$defs": SCHEMA["$defs"]}
    )
    errors = [f"{error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]
    assert not errors, errors
    assert Draft202012Validator(SCHEMA).is_valid(value)


def printed(*arguments: str, code: int = 0) -> list[Any]:
    """The lines of JSON that a command prints, and nothing else."""
    done = run(*arguments)
    assert done.returncode == code, done.stderr

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return [json.loads(line, parse_constant=refuse) for line in done.stdout.splitlines()]


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert len(SCHEMA["anyOf"]) == len(SCHEMA["$defs"]) - 1  # but programs, which are parts
    assert not Draft202012Validator(SCHEMA).is_valid({"schema": 1})


@pytest.mark.parametrize(
    "arguments",
    [
        ("certify", "--eps", "0.08", "--images", "0:3"),
        ("certify", "--eps", "0.08", "--images", "1", "--exact-margin", "--engines", "mip"),
        ("distance", "--images", "0:2", "--timeout", "0.01"),
        ("distance", "--images", "2", "--engines", "milp", "--norm", "1", "--gap", "0.1", "--timeout", "20"),
    ],
    ids=" ".join,
)
def test_answers(arguments: tuple[str, ...], tmp_path: Path) -> None:
    command, *rest = arguments
    out = tmp_path / "o.jsonl"
    lines = printed(command, MLP, *rest, "--json", "--out", str(out), "--save", str(tmp_path / "s"))
    assert lines == [json.loads(line) for line in out.read_text().splitlines()]
    for line in lines:
        check("outcome", line)
    check("saved", json.loads((tmp_path / "s" / "index.json").read_text()))


def test_properties_and_proofs(tmp_path: Path) -> None:
    bad = write_property(tmp_path / "bad.vnnlib", 0, 1, "(assert (>= Y_0 Y_1))")
    (line,) = printed("verify", str(path_of("digits-mlp")), str(bad), "--json", "--save", str(tmp_path / "s"))
    check("outcome", line)
    check("saved", json.loads((tmp_path / "s" / "index.json").read_text()))
    assert line["answer"] == "sat" and line["property"] == str(bad)
    (line,) = printed("certify", MLP, "--eps", "0.02", "--images", "0", "--proofs", str(tmp_path / "p"), "--json")
    check("outcome", line)
    question = ("--image", "0", "--eps")
    for arguments, code, valid, answers in (
        ((MLP,), 0, True, None),
        ((MLP, *question, "0.02"), 0, True, True),
        ((MLP, *question, "0.03"), 1, True, False),
        (("zoo:digits-deep",), 1, False, None),
    ):
        (said,) = printed("check", line["proof"], *arguments, "--json", code=code)
        check("check", said)
        assert (said["valid"], said["answers_the_question"]) == (valid, answers)


def test_attacks(tmp_path: Path) -> None:
    asked = ("attack", MLP, "--attack", "fgsm,deepfool-2", "--images", "0:3", "--out", str(tmp_path / "a"))
    lines = printed(*asked, "--json", "--save", str(tmp_path / "s"))
    learned = ("--attack", "universal-sgd", "--norm", "2", "--fit", "train:0:20", "--controls", "2", "--images", "0:5")
    for line in [*lines, *printed("attack", MLP, *learned, "--json")]:
        check("attack", line)
    assert lines == [json.loads(line) for line in (tmp_path / "a").read_text().splitlines()]
    check("saved", json.loads((tmp_path / "s" / "index.json").read_text()))


def test_networks_beside_each_other(tmp_path: Path) -> None:
    names = (MLP, "zoo:digits-resnet-cpl")
    (line,) = printed("compare", *names, "--images", "0:3", "--timeout", "1", "--norm", "2", "--jobs", "1", "--json")
    check("comparison", line)
    (line,) = printed("geometry", MLP, "--images", "0:6", "--out", str(tmp_path / "g"), "--json")
    check("geometry", line)
    study = advverify.study(names, images="0:3", timeout=1, jobs=1)
    check("distributions", json.loads(study.to_json()))


def test_sweeps_and_subspaces(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep.toml"
    sweep.write_text(SWEEP)
    (line,) = printed("study", str(sweep), "--out", str(tmp_path / "study"), "--json")
    check("study", line)
    assert line == json.loads((tmp_path / "study" / "study.json").read_text())
    out = tmp_path / "subspace.jsonl"
    lines = printed("subspace", MLP, "random:2", "--images", "0:2", "--no-clip", "--json", "--out", str(out))
    assert lines == [json.loads(line) for line in out.read_text().splitlines()]
    for line in lines:
        check("outcome", line)
    (line,) = printed("show", str(out), "1", "--json")
    check("show", line)


def test_jobs(tmp_path: Path) -> None:
    store, job = str(tmp_path / "s.sqlite"), tmp_path / "job.toml"
    job.write_text(
        'timeout = 5\n[[queries]]\nmodels = ["zoo:digits-mlp"]\nimages = "0:3"\nnorms = ["inf"]\neps = [0.03]\n'
        '[[queries]]\nmodels = ["zoo:digits-mlp"]\nimages = "0:2"\nnorms = ["2"]\ndistance = true\ntimeout = 0.01\n'
    )
    common = ("--store", store, "--json", "--jobs", "1")
    (plan,) = printed("batch", "run", str(job), *common, "--dry-run")
    check("batch-plan", plan)
    (ran,) = printed("batch", "run", str(job), *common)
    check("batch-run", ran)
    assert (plan["to_do"], ran["queries"], ran["left"]) == (5, 5, 0)
    (ran,) = printed("batch", "resume", *common)
    check("batch-run", ran)
    for line in printed("batch", "status", "--store", store, "--json"):
        check("batch-status", line)
    assert run("batch", "export", "--store", store, "--format", "jsonl", "-o", str(tmp_path / "o")).returncode == 0
    for line in map(json.loads, (tmp_path / "o").read_text().splitlines()):
        check("outcome", line)
    (line,) = printed("report", store, "--json", "--against", store)
    check("report", line)
    assert line["open"] and line["changes"]["common"] == 5
    (line,) = printed("gap", store, "--json", "--by", "norm")
    check("gap", line)


def test_the_rest(tmp_path: Path) -> None:
    (line,) = printed("info", "zoo:digits-resnet-cpl", "--json")
    check("info", line)
    check("solvers", json.loads(run("solvers", "--json").stdout))
    check("capabilities", json.loads(run("capabilities").stdout))
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'name = "tiny"\n[architecture]\nname = "mlp"\ninputs = 64\nhidden = [4]\noutputs = 10\n'
        "[training]\nepochs = 1\n[card]\nimages = 3\n"
    )
    (line,) = printed("train", str(recipe), "--out", str(tmp_path / "n.onnx"), "--json")
    check("train", line)


def test_every_command_has_it_or_prints_no_results() -> None:
    """Whoever adds a command with results adds its format."""
    without = {name for name in COMMANDS if "--json" not in run(name, "--help").stdout}
    assert without == {"batch", "capabilities", "export-mip", "serve"}  # a group, JSON always, a file, a process


def test_quiet_commands_say_one_line_at_most(tmp_path: Path) -> None:
    for arguments in (
        ("distance", MLP, "--images", "0:2", "--save", str(tmp_path / "s")),
        ("certify", MLP, "--images", "0:2", "--eps", "0.03"),
    ):
        done = run(*arguments, "--quiet")
        assert done.returncode == 0 and not done.stderr and done.stdout.startswith("2 images: ")
    done = run("attack", MLP, "--images", "0:2", "--attack", "fgsm", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
