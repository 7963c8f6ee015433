"""Job files.

    name = "digits"
    timeout = 60                  # seconds a query; sections may have their own

    [[queries]]
    models = ["zoo:digits-mlp", "mine.onnx"]   # relative to the job file
    data = "digits"
    images = "0:100"
    norms = ["inf", "2"]
    eps = [0.03, 0.05]            # or: distance = true
    engines = []                  # optional
    gap = 1e-4                    # optional
    formulation = "asymmetric"    # optional, as solver, fix_stable, substitute, tighten, targets and cuts: of the MILP engine

    [[vnncomp]]
    folder = "benchmarks/acasxu"  # with instances.csv
    take = 20                     # optional: the first instances

Everything is read and checked before anything starts.
"""

from __future__ import annotations

import csv
import json
import math
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from advverify import __version__

from ..engines import MilpOptions, Settings, choose_engines
from ..errors import InvalidInput
from ..network.onnx_reader import read_onnx
from ..request import Request, file_sha256, model_of
from ..solvers import get_solver
from ..specification import Threat
from ..store import StoredQuery

_MILP = {
    "solver": str,
    "formulation": str,
    "fix_stable": bool,
    "substitute": bool,
    "tighten": str,
    "targets": str,
    "cuts": str,
}
_TOP = {"name": str, "timeout": float, "seed": int, "queries": list, "vnncomp": list}
_QUERIES = {
    "models": list,
    "data": str,
    "images": str,
    "norms": list,
    "eps": list,
    "distance": bool,
    "timeout": float,
    "gap": float,
    "engines": list,
    **_MILP,
}
_VNNCOMP = {"folder": str, "timeout": float, "take": int, **_MILP}

LoadData = Callable[[str], tuple[np.ndarray, np.ndarray]]
FindModel = Callable[[str, Path], Path]
PickImages = Callable[[str, int], range]


@dataclass(frozen=True, eq=False)
class Task:
    """A query as a worker gets it.

    Attributes:
        stored: its row.
        request: what is asked.
        expected: rough seconds, for the order of work.
    """

    stored: StoredQuery
    request: Request
    expected: float = 1.0


@dataclass(frozen=True)
class Job:
    """A checked job."""

    name: str
    text: str
    folder: str
    tasks: tuple[Task, ...] = field(repr=False, default=())


@dataclass(frozen=True)
class Sources:
    """How names become images and files: what lies above the verifier knows data sets and the zoo.

    Attributes:
        data: name to images (N, ...) and labels (N,).
        model: name and the job's folder to a path.
        images: text like 0:100 and the number of images to indices.
    """

    data: LoadData
    model: FindModel
    images: PickImages


def read_job(path: str | Path, sources: Sources) -> Job:
    """Read and check a job file.

    Raises:
        InvalidInput: anything in it that makes no sense, named.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: cannot be read ({error})") from error
    try:
        return read_text(text, path.stem, path.absolute().parent, sources)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


def read_text(text: str, name: str, folder: Path, sources: Sources) -> Job:
    """Check the text of a job; `name` where it has none of its own, `folder` is where its paths start.

    Raises:
        InvalidInput: anything in it that makes no sense, named.
    """
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"not a TOML file ({error})") from error
    return _job(table, text, name, folder, sources)


def _job(table: dict[str, Any], text: str, name: str, folder: Path, sources: Sources) -> Job:
    _known(table, _TOP, "a job")
    if not table.get("queries") and not table.get("vnncomp"):
        raise InvalidInput("a job needs [[queries]] or [[vnncomp]]")
    base = {"timeout": _limit(table.get("timeout", 60.0), "timeout"), "seed": table.get("seed", 0)}
    tasks: list[Task] = []
    for number, section in enumerate(table.get("queries", []), start=1):
        where = f"[[queries]] number {number}"
        _known(section, _QUERIES, where)
        try:
            tasks += _images(section, base, folder, sources)
        except InvalidInput as error:
            raise InvalidInput(f"{where}: {error}") from error
    for number, section in enumerate(table.get("vnncomp", []), start=1):
        where = f"[[vnncomp]] number {number}"
        _known(section, _VNNCOMP, where)
        tasks += _instances(section, base, folder, where)
    unique = {task.stored.key: task for task in tasks}
    return Job(table.get("name", name), text, str(folder), tuple(unique.values()))


def _known(table: Any, known: dict[str, type], where: str) -> None:
    if not isinstance(table, dict):
        raise InvalidInput(f"{where} must be a table")
    for key, value in table.items():
        if key not in known:
            raise InvalidInput(f"{where} has no key '{key}': choose {', '.join(known)}")
        wanted = known[key]
        if not (type(value) is wanted or (wanted is float and type(value) is int)):
            raise InvalidInput(f"{where}: {key} must be of type {wanted.__name__}, got {value!r}")


def _limit(value: float, name: str) -> float:
    if not 0 < value < math.inf:
        raise InvalidInput(f"{name} must be a number of seconds above 0, got {value}")
    return float(value)


def _milp(section: dict[str, Any]) -> MilpOptions:
    """Options of the MILP engine; the solver is there."""
    options = MilpOptions(**{name: section[name] for name in _MILP if name in section})
    if options.solver != "highs":
        get_solver(options.solver)
    return options


def _images(section: dict[str, Any], base: dict[str, Any], folder: Path, sources: Sources) -> list[Task]:
    """Models x images x norms x radii."""
    for key in ("models", "data"):
        if not section.get(key):
            raise InvalidInput(f"needs {key}")
    distance, radii = section.get("distance", False), section.get("eps", [])
    if distance == bool(radii):
        raise InvalidInput("needs eps (a list of radii) or distance = true, one of the two")
    if any(type(eps) not in (int, float) or not 0 <= eps < math.inf for eps in radii):
        raise InvalidInput(f"eps must be a list of numbers >= 0, got {radii}")
    gap = section.get("gap", 1e-4)
    if not 0 < gap < 1:
        raise InvalidInput(f"gap must lie between 0 and 1, got {gap}")
    norms = [str(norm) for norm in section.get("norms", ["inf"])]
    threats = [Threat(norm, eps) for norm in norms for eps in ([None] if distance else radii)]
    engines = tuple(str(name) for name in section.get("engines", []))
    choose_engines(engines)
    images, labels = sources.data(section["data"])
    indices = sources.images(section.get("images", f"0:{len(labels)}"), len(labels))
    for index in indices:
        low, high = float(images[index].min()), float(images[index].max())
        if low < 0 or high > 1:
            raise InvalidInput(
                f"image {index} has values from {low:g} to {high:g}; jobs work in [0, 1]: scale the images"
            )
    timeout = _limit(section.get("timeout", base["timeout"]), "timeout")
    settings = Settings(timeout=timeout, gap=gap, seed=base["seed"], threads=1, milp=_milp(section))
    tasks = []
    for name in section["models"]:
        path = sources.model(str(name), folder)
        network = model_of(str(path)).network  # kept, for workers that are forks
        if images[0].size != network.input_size:
            raise InvalidInput(
                f"{name} takes {network.input_size} values, images of {section['data']} have {images[0].size}"
            )
        for threat, index in product(threats, indices):
            request = Request(
                "distance" if distance else "certify",
                str(path),
                network.sha256,
                threat,
                images[index],
                int(labels[index]),
                settings=settings,
                engines=engines,
            )
            expected = network.relu_count * (2.0 if distance else 1.0) * (4.0 if threat.norm == "2" else 1.0) * 1e-3
            tasks.append(Task(_stored(request, str(name), section["data"], str(index)), request, expected))
    return tasks


def _instances(section: dict[str, Any], base: dict[str, Any], folder: Path, where: str) -> list[Task]:
    """The rows of a VNN-COMP folder's instances.csv."""
    if not section.get("folder"):
        raise InvalidInput(f"{where} needs folder")
    place = folder / section["folder"]
    listing = place / "instances.csv"
    if not listing.is_file():
        raise InvalidInput(f"{where}: {listing} is not there; give a VNN-COMP folder with instances.csv")
    try:
        milp = _milp(section)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from error
    with listing.open(newline="") as stream:
        rows = [row for row in csv.reader(stream) if len(row) >= 2]
    if rows and not rows[0][0].strip().endswith((".onnx", ".onnx.gz")):
        rows = rows[1:]  # a header
    tasks = []
    hashes: dict[Path, str] = {}
    for row in rows[: section.get("take")]:
        network, prop = place / row[0].strip(), place / row[1].strip()
        for path, digest in ((network, _network_digest), (prop, file_sha256)):
            if not path.is_file():
                raise InvalidInput(f"{where}: {path}, named in {listing.name}, is not there")
            if path not in hashes:
                hashes[path] = digest(path)
        written = float(row[2]) if len(row) > 2 and row[2].strip() else base["timeout"]
        timeout = _limit(section.get("timeout", written), "timeout")
        request = Request(
            "verify",
            str(network),
            hashes[network],
            property_path=str(prop),
            property_sha256=hashes[prop],
            settings=Settings(timeout=timeout, seed=base["seed"], threads=1, milp=milp),
        )
        tasks.append(Task(_stored(request, row[0].strip(), section["folder"], row[1].strip()), request, 5.0))
    return tasks


def _network_digest(path: Path) -> str:
    """As its reader has it, so that what cannot be read is refused before anything starts."""
    return read_onnx(path).sha256


def _stored(request: Request, model: str, data: str, item: str) -> StoredQuery:
    """A row of the store."""
    settings, threat = request.settings, request.threat
    options = {"timeout": settings.timeout, "gap": settings.gap, "engines": request.engines, "seed": settings.seed}
    options |= asdict(settings.milp)
    norm, eps = (None, None) if request.command == "verify" else (str(threat.norm), threat.eps)
    text = json.dumps(options, sort_keys=True)
    return StoredQuery(request.key, request.command, model, request.sha256, data, item, norm, eps, text, __version__)
