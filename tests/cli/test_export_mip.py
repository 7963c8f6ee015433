"""`export-mip` end to end: other solvers' optima of its files are our answers."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from command_line import run
from mip_files import solve_by_highs, solve_by_scip
from onnx_networks import write_network

from advverify.verifier.api import Model

CASES = [("mlp", 2), ("residual", 1), ("conv", 2), ("pool", 3), ("mlp", 1)]  # nothing to be found for the last one


def asked(folder: Path, kind: str, seed: int) -> tuple[str, ...]:
    """A tiny network and an image of the class that it gives it."""
    path = write_network(folder / f"{kind}{seed}.onnx", kind, seed)  # models are read once a path
    model = Model(path)
    image = np.random.default_rng(seed).random(model.network.input_size)
    shape = (1, *model.network.input_shape)
    np.savez(folder / "d.npz", images=image.reshape(shape), labels=np.array([model.predict(image)]))
    return str(path), "--data", f"npz:{folder / 'd.npz'}", "--images", "0"


def ours(command: str, folder: Path, query: tuple[str, ...], *options: str) -> tuple[float, float]:
    out = folder / "ours.jsonl"
    done = run(command, *query, "--out", str(out), *options)
    assert done.returncode == 0, done.stderr
    line = json.loads(out.read_text().splitlines()[-1])
    lower, upper = (math.inf if line[side] is None else float(line[side]) for side in ("lower", "upper"))
    return lower, upper


def export(path: Path, query: tuple[str, ...], *options: str) -> str:
    done = run("export-mip", query[0], str(path), *query[1:], *options)
    assert done.returncode == 0 and "rows" in done.stdout, done.stderr
    return path.read_text()


@pytest.mark.parametrize(
    ("formulation", "norm"),
    [("symmetric", "inf"), ("asymmetric", "1"), ("partition-2", "0"), ("partition-2", "inf"), ("extended", "inf")],
)
def test_distances(formulation: str, norm: str, tmp_path: Path) -> None:
    settled = 0
    for kind, seed in CASES:
        query = asked(tmp_path, kind, seed)
        lower, upper = ours("distance", tmp_path, query, "--margin", "0.1", "--norm", norm, "--gap", "1e-6")
        eps = str(2 * upper) if math.isfinite(upper) else "inf"
        ways = ((".mps", ()), (".lp", ("--no-fix-stable",)), (".lp", ("--tighten", "lp", "--cuts", "root")))
        for suffix, more in ways:
            path = tmp_path / f"p{suffix}"
            text = export(
                path, query, "--norm", norm, "--eps", eps, "--formulation", formulation, "--margin", "0.1", *more
            )
            assert f"ReLUs: {formulation}" in text and "margin 0.1" in text and str(tmp_path) not in text
            found = solve_by_highs(path)
            assert lower * (1 - 1e-5) - 1e-7 <= found <= upper * (1 + 1e-5) + 1e-7, (kind, seed)
        settled += math.isfinite(upper)
    assert settled >= 4


def test_margins_verdicts_and_targets(tmp_path: Path) -> None:
    verdicts = set()
    for kind, seed in CASES[:3]:
        query = asked(tmp_path, kind, seed)
        label = int(np.load(tmp_path / "d.npz")["labels"][0])
        target = ("--target", str((label + 1) % 3))
        for eps in ("0.02", "0.4"):
            lower, upper = ours("certify", tmp_path, query, "--eps", eps, "--exact-margin", *target)
            for objective, more in (("feasibility", ()), ("max_margin", ()), ("max_margin", ("--tighten", "lp"))):
                path = tmp_path / "p.mps"
                export(path, query, "--eps", eps, "--objective", objective, *target, *more)
                found = solve_by_highs(path)
                if objective == "feasibility":
                    assert math.isinf(found) == (lower > 0), (kind, seed, eps)
                    verdicts.add(lower > 0)
                else:
                    assert lower - 1e-5 <= found <= upper + 1e-5, (kind, seed, eps, more)
    assert verdicts == {True, False}


@pytest.mark.parametrize("suffix", [".lp", ".mps"])
def test_norm_2(suffix: str, tmp_path: Path) -> None:
    pytest.importorskip("pyscipopt")
    path, settled = tmp_path / f"p{suffix}", 0
    for kind, seed in CASES[:2]:
        query = asked(tmp_path, kind, seed)
        lower, upper = ours("distance", tmp_path, query, "--norm", "2")
        if not math.isfinite(upper):
            continue
        done = run("export-mip", query[0], str(path), *query[1:], "--norm", "2", "--eps", str(2 * upper))
        assert done.returncode == 0 and "a quadratic objective" in done.stdout and "square of" in path.read_text()
        assert lower - 1e-4 <= math.sqrt(solve_by_scip(path)) <= upper + 1e-4
        for share in (0.9, 1.1):
            eps = ("--norm", "2", "--eps", str(share * upper))
            export(path, query, *eps, "--objective", "feasibility", "--formulation", "partition-2")
            assert math.isinf(solve_by_scip(path)) == (share < 1)
            text = export(path, query, *eps, "--objective", "max_margin")
            assert "QCMATRIX ball" in text or "\n ball:" in text
            low, high = ours("certify", tmp_path, query, *eps, "--exact-margin")
            assert low - 1e-3 <= solve_by_scip(path) <= high + 1e-3
            settled += 1
    assert settled >= 4


def test_more_groups_than_inputs_are_noted(tmp_path: Path) -> None:
    """The program is then that of the largest number that there are: the same file but for what its head calls it."""
    query = ("zoo:digits-mlp", str(tmp_path / "p.lp"), "--eps", "0.05", "--formulation")
    most = run("export-mip", *query, "partition-100000")
    found = re.search(r"note: no ReLU .* more than (\d+) columns: partition-100000 is partition-\1 here", most.stderr)
    assert most.returncode == 0 and found is not None and 64 <= int(found[1]) < 200, most.stderr
    text = (tmp_path / "p.lp").read_text().replace("partition-100000", f"partition-{found[1]}")
    fewer = run("export-mip", *query, f"partition-{found[1]}")
    assert fewer.stderr == "" and (tmp_path / "p.lp").read_text() == text
    assert run("export-mip", *query, "extended").stderr == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("p.gms", "--eps", "0.1"), "must end in .lp or .mps"),
        (("nowhere/p.lp", "--eps", "0.1"), "cannot be written"),
        (("p.lp", "--eps", "0.1", "--formulation", "asymetric"), "did you mean asymmetric?"),
        (("p.lp", "--eps", "0.1", "--formulation", "partition-0"), "takes a whole number from 1"),
        (("p.lp", "--eps", "0.1", "--objective", "feasibility", "--cuts", "root"), "has none"),
        (("p.lp", "--eps", "0.1", "--images", "0:3"), "a program is of one image"),
        (("p.lp", "--eps", "0.1", "--timeout", "0"), "--timeout must be"),
        (("p.lp", "--eps", "-1"), "eps must be a number >= 0"),
        (("p.lp", "--eps", "0"), "needs no program: give a radius above 0"),
        (("p.lp", "--eps", "0.1", "--cuts", "tree"), "'tree' is not one of 'none', 'root'"),
        (("p.lp", "--eps", "0.1", "--images", "1", "--target", "9"), "other than the label 9"),
        (("p.lp", "--eps", "0.1", "--margin", "-1"), "the confidence margin must be"),
    ],
)
def test_bad_input(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = run("export-mip", "zoo:digits-mlp", str(tmp_path / options[0]), *options[1:])
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
