"""The layout rules that no tool knows: package list, import names, floors, docstring examples."""

import ast
import doctest
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("verifier", "models", "cli")
FLOOR = {"advverify.verifier": 0, "advverify.models": 1, "advverify.cli": 2}
PICTURE = (ROOT / "ARCHITECTURE.md").read_text()


def floors() -> dict[str, int]:
    """Floors inside the verifier, as ARCHITECTURE.md draws them: "10  api   words about it"."""
    found: dict[str, int] = {}
    for number, names in re.findall(r"^ +(\d+)  ((?:\w+ )*\w+)(?:  |$)", PICTURE, flags=re.MULTILINE):
        found |= dict.fromkeys(names.split(), int(number))
    return found


INNER = floors()
MODULES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))


def name(path: Path) -> str:
    """Import name of a source file at the root."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("advverify", *parts)).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Absolute names of the modules that a source file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
        elif isinstance(node, ast.ImportFrom):
            here = name(path).split(".")
            base = here[: len(here) - node.level + (path.name == "__init__.py")]
            yield ".".join(base + ([node.module] if node.module else []))


def test_checker_stands_apart() -> None:
    """Who does not trust us has to read these files alone, and what they import."""
    targets = {target for path in (ROOT / "verifier" / "checker").glob("*.py") for target in imports(path)}
    own = {target for target in targets if target.startswith("advverify")}
    assert all(target.startswith("advverify.verifier.checker") for target in own), own
    outside = {target.split(".")[0] for target in targets - own}
    assert outside - sys.stdlib_module_names <= {"numpy", "onnx"}, outside


def test_no_import_circles() -> None:
    """Inside the verifier no module needs itself, however it is imported."""
    files = {name(path): path for path in MODULES if path.parts[len(ROOT.parts)] == "verifier"}
    needs = {module: {t for t in imports(path) if t in files and t != module} for module, path in files.items()}
    packages = {module for module, path in files.items() if path.name == "__init__.py"}
    left = {
        module: {t for t in targets if t not in packages} for module, targets in needs.items() if module not in packages
    }
    while ready := [module for module, targets in left.items() if not targets & left.keys()]:
        for module in ready:
            del left[module]
    assert not left, f"in a circle, or above one: {sorted(left)}"


def test_the_picture_is_of_this_house() -> None:
    there = {
        path.stem for path in (ROOT / "verifier").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert set(INNER) == there - {"__init__"}
    for file in re.findall(r"`((?:\w+/)*\w+\.py|(?:\w+/)+)`", PICTURE):
        assert (ROOT / file).exists() or (ROOT / "verifier" / file).exists(), f"ARCHITECTURE.md names {file}"


def test_calls_stay_small() -> None:
    """What is asked travels as one value, so that no call of the library needs a long list of arguments."""
    for node in ast.walk(ast.parse((ROOT / "verifier" / "api.py").read_text())):
        if isinstance(node, ast.FunctionDef):
            count = len(node.args.posonlyargs) + len(node.args.args) + len(node.args.kwonlyargs)
            assert count <= 9, f"{node.name} takes {count} arguments"


def test_the_library_speaks_of_arguments() -> None:
    """Who calls it from Python has no options of a command line to mend; jobs and kept answers are read by commands alone."""
    found = 0
    for path in (ROOT / "verifier").rglob("*.py"):
        if path.parent.name in ("batch", "convergence", "store"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and re.match(r"(Invalid|Unsupported|Solver)[A-Z]", ast.unparse(node.func)):
                found += 1
                assert not re.search(r"--[a-z]", ast.unparse(node)), f"{path}, line {node.lineno}"
    assert found >= 60


def test_package_list_is_complete() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [name(p) for p in MODULES if p.name == "__init__.py"]
    assert sorted(listed) == sorted([*found, "advverify"])


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_point_down(path: Path) -> None:
    mine = FLOOR[".".join(name(path).split(".")[:2])]
    own = INNER.get((name(path).split(".") + ["", ""])[2], 10)
    for target in imports(path):
        assert target.split(".")[0] not in PACKAGES, f"import advverify.{target} instead of {target}"
        head = re.match(r"advverify\.\w+", target)
        assert head is None or FLOOR[head[0]] <= mine, f"{name(path)} imports {target}, which is above it"
        parts = target.split(".")
        if mine == 0 and parts[:2] == ["advverify", "verifier"] and len(parts) > 2:
            assert INNER[parts[2]] <= own, f"{name(path)} imports {target}, which is above it"


@pytest.mark.parametrize("path", [p for p in MODULES if p.name != "__main__.py"], ids=name)
def test_docstring_examples(path: Path) -> None:
    assert doctest.testmod(importlib.import_module(name(path))).failed == 0


def test_verifying_loads_no_more_than_it_needs() -> None:
    """What a property settled by bounds does not use stays unloaded: start-up is most of such a process."""
    program = """
import sys
import numpy as np
from advverify.models.zoo import path_of
from advverify.verifier.api import Model, Threat, certify
assert certify(Model(path_of("digits-mlp")), np.zeros((8, 8)), 4, Threat("inf", 1e-4)).seconds > 0
print(*sorted({"scipy", "cvxpy", "highspy", "clarabel", "pulp", "matplotlib", "jinja2"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []
