"""A user's script is understood by type checkers, in strict mode: right uses pass, wrong ones are found; importing is quick."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RIGHT = '''
"""A user's script that touches every call."""

from pathlib import Path

import numpy as np
import torch
from torch import nn

import advverify
from advverify import Outcome, Outcomes, Settings, Study, Threat, Verdict

module = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
x, y = torch.rand(4, 1, 8, 8), [0, 1, 2, 3]

one: Outcome = advverify.certify(module, x[0], 0, norm="inf", eps=0.05, timeout=10)
many: Outcomes = advverify.certify(module, x, y, norm=2, eps=0.05, jobs=2, threads=1, progress=True)
either: Outcome | Outcomes = advverify.distance("zoo:digits-mlp", np.zeros((1, 8, 8)))
same: Outcome = advverify.distance(Path("net.onnx"), x[0].numpy(), 3, Threat("1"), settings=Settings(timeout=5))
verdict: Verdict = one.verdict
gap: float = one.gap
example: np.ndarray | None = one.adversarial
lower: np.ndarray = many.lower
line: str = many.summary()
page: Path = many.save("found")
part: Outcomes = many[1:3]
first: Outcome = many[0]
for position, outcome in advverify.certify_all(module, x, y, eps=0.1):
    print(position + 1, outcome.lower)
found: Outcomes = advverify.attack(module, x, y, name="pgd", norm=2)
answer: Outcome = advverify.verify("net.onnx", "property.vnnlib", timeout=3)
path: Path = advverify.export(module, x, "net.onnx", card={"data": "digits"})
model: advverify.Model = advverify.open_model(module, x)
radii: list[float] = [row["median_radius"][0] for row in advverify.compare({"a": module}, x, y).rows()]
names: list[str] = list(advverify.geometry([module, "zoo:digits-mlp"], x, y, h=0.4))
study: Study = advverify.study({"a": many})
median: tuple[float, float] = study.quantiles(0.5)["a"]
left: int = advverify.batch.run({"queries": []}, "runs.sqlite", jobs=2).left
queries: int = len(advverify.report("runs.sqlite", "report.html").rows)
shares: list[dict[str, object]] = advverify.gap(["a.jsonl", "b.jsonl"], by=["engines", "model"]).rows()
raw, clipped, is_adv = advverify.ExactDistance(norm=2, timeout=5)(module, x, torch.tensor(y), epsilons=[0.1, None])
'''
WRONG = """
import advverify

advverify.certify("zoo:digits-mlp", [[0.0]], 0, epsilon=0.1)  # no such keyword
advverify.distance("zoo:digits-mlp", [[0.0]], 0, timeout="long")  # no number
text: str = advverify.certify("zoo:digits-mlp", [[0.0]], 0, eps=0.1)  # an Outcome
advverify.batch.run({}, retry="never")  # none of the three
"""


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    return tmp_path


def places(text: str) -> set[int]:
    """Lines of a script with a comment that says what is wrong."""
    return {k for k, line in enumerate(text.splitlines(), start=1) if "  # " in line}


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is of the extra dev")
def test_mypy(scripts: Path) -> None:
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--hide-error-context"]
    command += ["--cache-dir", str(scripts / "cache"), "right.py", "wrong.py"]
    environment = {**os.environ, "MYPYPATH": str(ROOT / ".typing")}
    done = subprocess.run(command, cwd=scripts, env=environment, capture_output=True, text=True)
    errors = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert not [line for line in errors if line.startswith("right.py")], done.stdout
    assert {int(line.split(":")[1]) for line in errors} == places(WRONG)


def test_pyright(scripts: Path) -> None:
    if find_spec("pyright") is None:
        pytest.skip("pyright is of the extra dev")
    pyright = [sys.executable, "-m", "pyright"]
    if subprocess.run([*pyright, "--version"], capture_output=True).returncode:
        pytest.skip("pyright has no node here and could not fetch one")
    settings = {"include": ["."], "extraPaths": [str(ROOT / ".typing")], "typeCheckingMode": "strict"}
    (scripts / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [*pyright, "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=scripts, capture_output=True, text=True)
    found = json.loads(done.stdout)["generalDiagnostics"]
    errors = [(Path(each["file"]).name, each["range"]["start"]["line"] + 1, each["message"]) for each in found]
    assert not [error for error in errors if error[0] == "right.py"], errors
    assert {line for _, line, _ in errors} == places(WRONG)


def test_importing_loads_nothing_that_takes_time() -> None:
    program = (
        "import sys, advverify; dir(advverify); print(*{'torch', 'numpy', 'onnx', 'rich', 'click'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_every_name_is_there() -> None:
    import advverify

    assert advverify.__all__ == sorted(advverify.__all__, key=lambda name: (name[0].islower(), name))
    assert dir(advverify) == sorted(advverify.__all__)
    for name in advverify.__all__:
        assert getattr(advverify, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'certfy'"):
        advverify.certfy  # noqa: B018
