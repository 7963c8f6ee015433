"""Every command end to end, and bad input: one clear line and exit status 2."""

import json
import re
import signal
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from command_line import run, write_property
from onnx_networks import write_network

from advverify.models.datasets import load_dataset
from advverify.models.zoo import path_of
from advverify.verifier.api import Model
from advverify.verifier.solvers import get_solver


def test_certify_and_json(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    done = run("certify", "zoo:digits-mlp", "--eps", "0.05", "--images", "6:9", "--out", str(out))
    assert done.returncode == 0 and "robust" in done.stdout
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["index"] for line in lines] == [6, 7, 8] and lines[0]["schema"] == 1
    assert [line["verdict"] for line in lines] == ["robust", "adversarial", "robust"]
    witness = np.array(lines[1]["witness"])
    assert lines[1]["trust"] == "checked" and ((witness >= 0) & (witness <= 1)).all()


@pytest.mark.parametrize(("margin", "eps", "verdict"), [("0", "0.1", "adversarial"), ("1.5", "0.05", "robust")])
def test_margins_are_by_how_much_the_label_wins(margin: str, eps: str, verdict: str, tmp_path: Path) -> None:
    """The least y_label - y_other, plus --margin, over the ball: that of the witness, and at most that of the image."""
    out, model, images = tmp_path / "m.jsonl", Model(path_of("digits-mlp")), load_dataset("digits").images
    asked = ("certify", "zoo:digits-mlp", "--images", "0:2", "--eps", eps, "--margin", margin)
    done = run(*asked, "--exact-margin", "--out", str(out))
    assert done.returncode == 0, done.stderr

    def value(x: np.ndarray, label: int) -> float:
        y = model.executor.run(x.reshape(1, -1))[0]
        return float(y[label] - np.delete(y, label).max()) + float(margin)

    for line in map(json.loads, out.read_text().splitlines()):
        label = line["label"]
        assert line["verdict"] == verdict and line["margin"] == float(margin)
        assert line["lower"] <= line["upper"] <= value(images[line["index"]], label) + 1e-5
        if verdict == "adversarial":
            assert (
                line["upper"] == pytest.approx(value(np.array(line["witness"]), label), abs=1e-5) and line["upper"] < 0
            )


def test_many_images_side_by_side_and_what_is_left_in_processes(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    arguments = ["certify", "zoo:digits-mlp", "--eps", "0.08", "--images", "0:12", "--out", str(out), "--jobs", "2"]
    done = run(*arguments, "--engines", "propagate,relu-split")
    assert done.returncode == 0 and "12 images" in done.stdout
    lines = {line["index"]: line for line in map(json.loads, out.read_text().splitlines())}
    assert sorted(lines) == list(range(12))
    assert {line["engine"] for line in lines.values()} >= {"propagate", "relu-split"}
    again = run(*arguments, "--engines", "propagate,relu-split")
    assert "12 of 12 images are in" in again.stderr


def test_proofs_are_written_and_checked(tmp_path: Path) -> None:
    out, folder = tmp_path / "o.jsonl", tmp_path / "proofs"
    options = ["--images", "0:2", "--out", str(out), "--proofs", str(folder)]
    done = run("certify", "zoo:digits-mlp", "--eps", "0.03", *options)
    assert done.returncode == 0 and "checked" in done.stdout and "solver" not in done.stdout
    proofs = [json.loads(line)["proof"] for line in out.read_text().splitlines()]
    valid = run("check", proofs[0], "zoo:digits-mlp")
    assert valid.returncode == 0 and valid.stdout.startswith("valid: no input of the box within inf-norm 0.03")
    other = run("check", proofs[0], "zoo:digits-deep")
    assert other.returncode == 1 and other.stdout.startswith("not valid: the proof is about another model")
    missing = run("check", "nowhere.proof", "zoo:digits-mlp")
    assert missing.returncode == 2 and len(missing.stderr.strip().splitlines()) == 1


def test_distance_in_two_processes() -> None:
    done = run("distance", "zoo:digits-mlp", "--images", "0:2", "--jobs", "2")
    assert done.returncode == 0 and "2 brackets closed" in done.stdout


def test_verify_both_conventions(tmp_path: Path) -> None:
    model = str(path_of("digits-mlp"))
    safe = write_property(tmp_path / "safe.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    bad = write_property(tmp_path / "bad.vnnlib", 0, 1, "(assert (>= Y_0 Y_1))")
    result = tmp_path / "r.txt"
    assert run("verify", model, str(safe), "--result", str(result)).returncode == 0
    assert result.read_text() == "unsat\n"
    assert run("verify", model, str(bad), "--timeout", "20", "--result", str(result)).returncode == 0
    text = result.read_text()
    assert text.startswith("sat\n((X_0 ") and "(Y_9 " in text and text.rstrip().endswith("))")
    standard = run("verify", str(bad), "--network", f"N={model}", "--serialise-assignments", str(tmp_path / "a"))
    assert standard.stdout.splitlines()[0] == "sat" and (tmp_path / "a" / "assignments.txt").is_file()


def test_solvers() -> None:
    """What is listed as working solves; what is not there says how to get it."""
    listed = json.loads(run("solvers", "--json").stdout)
    found = {entry["name"]: entry for entry in listed["solvers"]}
    assert found["highs"]["works"] and "milp" in found["highs"]["features"] and found["highs"]["version"]
    assert all(set(entry["features"]) <= set(listed["features"]) for entry in found.values())
    for entry in found.values():
        assert entry["works"] == (not entry["note"]) and (
            entry["version"] is not None or "not installed" in entry["note"]
        )
    table = run("solvers").stdout
    assert all(name in table for name in found)
    missing = run("certify", "zoo:digits-mlp", "--eps", "0.1", "--solver", "nobody")
    assert missing.returncode == 2 and missing.stderr.count("\n") == 1 and "choose among highs, scip" in missing.stderr
    assert run("solvers", "--wrong").returncode == 2


def test_how_to_install_a_solver_is_printed_whole() -> None:
    """Brackets of extras are text, no markup."""
    from rich.console import Console

    from advverify.cli.commands.solvers import _print
    from advverify.cli.python.solvers import _found

    scip = get_solver("scip")
    assert "[scip]" in scip.install
    screen = Console(file=StringIO(), width=300)
    _print(screen, [_found(scip, None, "")], {})
    assert scip.install in screen.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "content", ["[" * 100_000 + "\n", f'{{"schema": 1, "verdict": "unknown", "witness": null, "lower": {10**400}}}\n']
)
def test_results_that_break_json(content: str, tmp_path: Path) -> None:
    """Whatever reads lines of results refuses what JSON readers stumble over, in one line."""
    bad = tmp_path / "bad.jsonl"
    bad.write_text(content)
    out = run("distance", "zoo:digits-mlp", "--images", "0", "--out", str(bad))
    exact = run("attack", "zoo:digits-mlp", "--images", "0:2", "--exact", str(bad))
    for done, message in ((out, "line 1 is not a result"), (exact, "not the lines of")):
        assert done.returncode == 2 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert bad.read_text() == content


def test_info_export_capabilities(tmp_path: Path) -> None:
    assert "64 ReLUs" in run("info", "zoo:digits-mlp").stdout
    for suffix, norm in ((".mps", "inf"), (".lp", "1"), (".lp", "2")):
        path = tmp_path / f"p{norm}{suffix}"
        done = run("export-mip", "zoo:digits-mlp", str(path), "--eps", "0.05", "--norm", norm)
        assert done.returncode == 0 and path.stat().st_size > 1000, done.stderr
    assert "Conv" in json.loads(run("capabilities").stdout)["onnx-operators"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["certify", "nope.onnx", "--eps", "0.1"], "no such file"),
        (["certify", "zoo:nope", "--eps", "0.1"], "the zoo has no network"),
        (["certify", "zoo:digits-mlp", "--eps", "-1"], "eps must be a number >= 0"),
        (["certify", "zoo:digits-mlp", "--eps", "nan"], "eps must be a number >= 0"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--norm", "3"], "unknown norm '3'"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--timeout", "0"], "--timeout must be"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--engines", "magic"], "unknown engine 'magic'"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--engines", ", "], "names no engine: leave engines out"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--seed", str(2**64)], "not in the range"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--threads", str(2**64)], "not in the range"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--jobs", "0"], "not in the range"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--images", "0:9999"], "the data set has 360 images"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--images", "0:9:0"], "--images takes 7, 0:100 or 0:100:5"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--data", "cats"], "unknown data set"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--target", "10"], "target 10 must be"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--solver", "nope"], "unknown solver"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--formulation", "extnded"], "did you mean extended?"),
        (["distance", "zoo:digits-mlp", "--formulation", "partition-0"], "as partition-4 does"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--cuts", "tree"], "'tree' is not one of 'none', 'root'"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--engines", "mlip"], "did you mean mip?"),
        (
            ["certify", "zoo:digits-mlp", "--eps", "0.1", "--engines", "crown", "--solver", "highs"],
            "--solver has no effect with --engines crown: only milp reads it; add milp to --engines",
        ),
        (
            ["distance", "zoo:digits-mlp", "--engines", "falsify,relu-split", "--formulation", "extended"],
            "only lp-split and milp read it",
        ),
        (["verify", "zoo:digits-mlp", "p.vnnlib", "--engines", "lp-split", "--cuts", "none"], "--cuts has no effect"),
        (["distance", "zoo:digits-mlp", "--tighten", "qp"], "'qp' is not one of 'none', 'lp', 'mip'"),
        (["verify", "zoo:digits-mlp", "p.vnnlib", "--targets", "all"], "'all' is not one of 'joint', 'separate'"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--valid-range", "0", "0.1"], "outside the valid range"),
        (["distance", "zoo:digits-mlp", "--device", "cuda"], "--device cuda is for verdicts of certify and verify"),
        (
            ["certify", "zoo:digits-mlp", "--eps", "0.1", "--float32", "--device", "cuda"],
            "verdicts of certify and verify",
        ),
        (["distance", "zoo:digits-mlp", "--data", "mnist:/nowhere"], "no such folder"),
        (["verify", "zoo:digits-mlp"], "takes MODEL and SPEC"),
        (["certify", "zoo:digits-mlp"], "Missing option '--eps'"),
        (["frobnicate"], "no such command"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and message in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["certfy", "x"], "did you mean certify"),
        (["certify", "digits-mlp", "--eps", "0.1"], "did you mean zoo:digits-mlp?"),
        (["certify", ".", "--eps", "0.1"], "is a folder, not a file"),
        (["check", ".", "zoo:digits-mlp"], "is a folder, not a file"),
        (["verify", "zoo:digits-mlp", "."], "is a folder, not a file"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--images", "3:3"], "names no image"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--data", "digits:foo"], "takes no place"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--valid-range", "1", "0"], "the lowest first"),
        (["certify", "zoo:digits-mlp", "--eps", "0.1", "--target", "7", "--images", "0"], "every one of these images"),
        (["attack", "zoo:digits-mlp", "--target", "12"], "10 classes, 0 to 9"),
        (["attack", "zoo:digits-mlp", "--target", "-1"], "10 classes, 0 to 9"),
        (["attack", "zoo:digits-mlp", "--exact", "."], "is a directory"),
        (["attack", "zoo:digits-mlp", "--out", "nowhere/a.jsonl"], "cannot be written"),
        (["report", "x.sqlite", "-o", "nowhere/a.html"], "cannot be written"),
        (["compare", "zoo:digits-mlp", "--norm", "l0"], "distances in norm 0 are counts"),
        (["verify", "zoo:digits-mlp", "a.vnnlib", "--proof", "nowhere/a.proof"], "cannot be written"),
    ],
)
def test_slips_are_told_how_to_mend(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1 and not Path("nowhere").exists()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--eps", "0.001"], ""),  # nothing was stated
        (["--eps", "0.001", "--engines", "crown,milp"], ""),
        (
            ["--eps", "0.001", "--solver", "highs", "--no-fix-stable"],
            "--solver highs, --no-fix-stable had no effect: attacks, bounds and our own trees settled every query before",
        ),
        (["--eps", "0.09", "--exact-margin", "--engines", "milp", "--solver", "highs", "--cuts", "root"], ""),
        (["--eps", "1.6", "--norm", "2", "--engines", "milp", "--solver", "highs"], "norm 2 needs a solver of MIQPs"),
        (
            ["--eps", "0.2", "--timeout", "1e-6", "--engines", "propagate,milp", "--targets", "joint"],
            "--targets joint had no effect: 0 of 1 queries were settled before",
        ),
    ],
)
def test_options_that_no_query_came_to_are_named(arguments: list[str], line: str) -> None:
    done = run("certify", "zoo:digits-mlp", "--images", "2", "--timeout", "20", *arguments)
    shown = " ".join(done.stdout.split())
    assert done.returncode == 0 and (line in shown if line else "no effect" not in shown), done.stdout


def test_verify_names_them_too(tmp_path: Path) -> None:
    safe = write_property(tmp_path / "safe.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    done = run("verify", "zoo:digits-mlp", str(safe), "--solver", "highs")
    assert done.stdout == "unsat\n" and "--solver highs had no effect: attacks, bounds" in done.stderr


def test_verify_says_who_answers_and_keeps_lines_for_gap(tmp_path: Path) -> None:
    safe = write_property(tmp_path / "safe.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    out, proof = tmp_path / "v.jsonl", tmp_path / "safe.proof"
    for more in ([], ["--proof", str(proof)]):
        done = run("verify", "zoo:digits-mlp", str(safe), "--out", str(out), *more)
        assert done.stdout == "unsat\n" and re.match(r"engine \S+, trust \S+, \d+\.\d\d s", done.stderr), done.stderr
        assert (f"proof {proof}" in done.stderr) == bool(more)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [line["proof"] for line in lines] == [None, str(proof)] and lines[0]["index"] == "safe.vnnlib"
    assert "1 question, 1 run" in run("gap", str(out)).stdout


def test_names_are_taken_in_any_case_and_odd_radii_are_noted() -> None:
    done = run("Certify", "zoo:digits-mlp", "--EPS", "8", "--norm", "LINF", "--images", "0:3", "--target", "7")
    assert done.returncode == 0 and "holds the whole valid range" in done.stderr
    assert "1 image of class 7 itself left out" in done.stderr and "2 images" in done.stdout
    assert "allows none to" in run("certify", "zoo:digits-mlp", "--eps", "0.5", "--norm", "0", "--images", "0").stderr


def test_answers_whose_proofs_are_gone_are_asked_again(tmp_path: Path) -> None:
    out, folder, other = tmp_path / "o.jsonl", tmp_path / "proofs", tmp_path / "others"
    command = ["certify", "zoo:digits-mlp", "--eps", "0.03", "--images", "0:2", "--out", str(out)]
    run(*command)
    for place, there in ((folder, 0), (folder, 2), (other, 0), (other, 2)):
        again = run(*command, "--proofs", str(place))
        assert ("2 of 2 images are in" in again.stderr) is (there == 2) and len(list(place.iterdir())) == 2
    next(folder.iterdir()).unlink()
    run(*command, "--proofs", str(other))
    assert "1 of 2 images are in" not in run(*command, "--proofs", str(other)).stderr
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert all(line["trust"] == "checked" for line in lines[2:]) and len(lines) == 6


def test_why_there_is_no_proof_is_said(tmp_path: Path) -> None:
    path, image = write_network(tmp_path / "soft.onnx", "mlp", 0), np.full(3, 0.5)
    label = Model(path).predict(image)
    model = onnx.load(path)
    last = model.graph.output[0].name
    model.graph.node.append(onnx.helper.make_node("Softmax", [last], ["probabilities"]))
    model.graph.output[0].name = "probabilities"
    onnx.save(model, path)
    np.savez(tmp_path / "d.npz", images=np.stack([image, image]), labels=np.full(2, label))
    command = ["certify", str(path), "--eps", "1e-6", "--data", f"npz:{tmp_path / 'd.npz'}", "--images", "0:2"]
    done = run(*command, "--proofs", str(tmp_path / "proofs"))
    assert done.returncode == 0 and "no proof for images 0, 1: " in done.stdout and "Softmax" in done.stdout


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    arguments = ["distance", "zoo:digits-mlp", "--images", "0:5", "--out", str(out)]
    process = subprocess.Popen([sys.executable, "-m", "advverify.cli", *arguments], stdout=subprocess.DEVNULL)
    while not (out.is_file() and out.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = out.read_bytes()
    out.write_bytes(before + b'{"schema": 1, "mod')  # as if killed in the middle of a line
    done = run(*arguments)
    kept = before.count(b"\n")
    assert done.returncode == 0 and f"{kept} of 5 images are in" in done.stderr
    lines = out.read_bytes()
    assert lines.startswith(before) and [json.loads(line)["index"] for line in lines.splitlines()] == list(range(5))
    other = run(*arguments, "--gap", "0.01")
    assert other.returncode == 0 and "already" not in other.stderr and out.read_bytes().count(b"\n") == 10


def test_interrupt_keeps_what_is_done(tmp_path: Path) -> None:
    out = tmp_path / "o.jsonl"
    command = [sys.executable, "-m", "advverify.cli", "distance", "zoo:digits-deep", "--images", "0:3"]
    process = subprocess.Popen(
        [*command, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore the signal, and so would whatever they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not out.is_file():
        assert process.poll() is None
        time.sleep(0.02)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in stderr and "Traceback" not in stderr
    assert "digits-deep" in stdout or not out.read_text()


def test_an_interrupt_while_a_dataclass_is_made_ends_like_any_other(tmp_path: Path) -> None:
    """CPython would end `python -m` by a signal: the interrupt has passed through exec() of a string."""
    program = """
import concurrent.futures.process
from advverify.cli import main
main.cli.main = lambda **options: exec("raise KeyboardInterrupt")
main.main()
"""
    (tmp_path / "interrupted.py").write_text(program)
    done = subprocess.run([sys.executable, "-m", "interrupted"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 130 and done.stderr == "advverify: interrupted\n"


def test_a_file_of_something_else_is_not_touched(tmp_path: Path) -> None:
    out = tmp_path / "notes.txt"
    out.write_text("my notes")
    done = run("certify", "zoo:digits-mlp", "--eps", "0.1", "--images", "0", "--out", str(out))
    assert done.returncode == 2 and "choose another file" in done.stderr and out.read_text() == "my notes"


def test_verify_writes_a_proof(tmp_path: Path) -> None:
    safe = write_property(tmp_path / "safe.vnnlib", 0, 0.01, "(assert (>= Y_0 1000))")
    proof = tmp_path / "p.proof"
    assert run("verify", "zoo:digits-mlp", str(safe), "--proof", str(proof)).returncode == 0
    assert run("check", str(proof), "zoo:digits-mlp").returncode == 0


def test_help_loads_no_mathematics() -> None:
    """What is only typed answers at once."""
    program = """
import sys
from importlib import import_module
for name in ("certify", "distance", "verify", "batch", "gap", "train", "info", "check"):
    import_module(f"advverify.cli.commands.{name}")
print(*sorted({"numpy", "torch", "onnx", "rich"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
