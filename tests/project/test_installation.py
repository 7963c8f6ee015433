"""The package imports from anywhere, installed as a wheel or editable, and nothing of a clone hides it or is mixed with it."""

import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_SOURCES = shutil.ignore_patterns(".*", "__pycache__", "build", "dist", "*.egg-info", "*.jsonl")
WHERE = """
import advverify, advverify.cli, advverify.verifier.errors, pathlib
from advverify import __version__
print(*sorted({str(pathlib.Path(m.__file__).resolve()) for m in (advverify, advverify.cli, advverify.verifier.errors)}))
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources in a folder of the package's own name, as `git clone` makes it, and a second one beside it."""
    parent = tmp_path_factory.mktemp("home")
    for folder in ("advverify", "second"):
        shutil.copytree(ROOT, parent / folder, ignore=NOT_SOURCES)
    (parent / "beside.py").write_text(WHERE)
    return parent / "advverify"


def built(clone: Path, hook: str, folder: Path) -> Path:
    """What the build back end makes of a clone."""
    folder.mkdir(parents=True)
    program = f"from setuptools import build_meta; print(build_meta.{hook}({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / done.stdout.split()[-1]


@pytest.fixture(scope="module", params=["wheel", "editable"])
def python(request: pytest.FixtureRequest, clone: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The interpreter of a fresh environment with the package in it, and the folder that its files lie in.

    What the package depends on comes from the environment of the tests, by its path alone, so that its own copy of the
    package does not come along.
    """
    kind = request.param
    wheel = built(clone, f"build_{kind}", tmp_path_factory.mktemp(kind) / "dist")
    home = tmp_path_factory.mktemp(f"environment-{kind}")
    venv.create(home, with_pip=False)
    (site,) = home.glob("lib/*/site-packages")
    zipfile.ZipFile(wheel).extractall(site)
    others = [p for p in sys.path if p.endswith("site-packages")]
    (site / "others.pth").write_text("\n".join(others))
    return home / "bin" / "python", (site / "advverify" if kind == "wheel" else clone).resolve()


def test_imports_from_anywhere(python: tuple[Path, Path], clone: Path, tmp_path: Path) -> None:
    """The folder above, the root, the root of another clone, a folder elsewhere; and a script beside the clone."""
    interpreter, home = python
    expected = {str(home / part) for part in ("__init__.py", "cli/__init__.py", "verifier/errors.py")}
    for place in (clone.parent, clone, clone.parent / "second", tmp_path):
        done = subprocess.run([interpreter, "-c", WHERE], cwd=place, capture_output=True, text=True)
        found = set(done.stdout.split())
        if place == clone.parent:  # the folder there is a package of that name, whole: all of it counts, or none
            roots = {str(clone.resolve() / Path(path).relative_to(home)) for path in expected}
            assert found in (expected, roots), (place, done.stderr)
        else:
            assert found == expected, (place, done.stderr)
    done = subprocess.run([interpreter, clone.parent / "beside.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and len(done.stdout.split()) == 3, done.stderr


@pytest.mark.parametrize(
    "module", ["advverify", "advverify.cli", "benchmarks", "examples.stable_against_plain", "advverify.models.zoo"]
)
def test_documented_modules_run_in_a_clone(python: tuple[Path, Path], module: str, clone: Path) -> None:
    done = subprocess.run([python[0], "-m", module, "--help"], cwd=clone, capture_output=True, text=True)
    assert done.returncode == 0 and "Usage" in done.stdout, done.stderr


def test_a_wheel_holds_the_package_and_no_more(clone: Path, tmp_path: Path) -> None:
    names = zipfile.ZipFile(built(clone, "build_wheel", tmp_path / "dist")).namelist()
    tops = {name.split("/")[1] for name in names if name.startswith("advverify/")}
    assert tops == {"__init__.py", "__main__.py", "py.typed", "cli", "models", "verifier"}
    assert {name.split("/")[0].split("-")[0] for name in names} == {"advverify"}


def test_a_source_distribution_has_its_tests(clone: Path, tmp_path: Path) -> None:
    with tarfile.open(built(clone, "build_sdist", tmp_path / "dist")) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    needed = {p.relative_to(clone).as_posix() for p in (clone / "tests").rglob("*") if p.is_file()}
    assert needed - names == set()
    assert {"README.md", "LICENSE", "constraints.txt", "Makefile", "benchmarks/__main__.py", "__init__.py"} <= names
