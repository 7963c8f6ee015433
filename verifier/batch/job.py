"""Job files.

    name = "digits"
    timeout = 60                  # seconds a query; as gap, seed and proofs, for sections that say nothing else

    [[queries]]
    models = ["zoo:digits-mlp", "mine.onnx"]   # relative to the job file
    data = "digits"               # or a list; the model's own where it names one
    images = "0:100"
    norms = ["inf", "2"]
    eps = [0.03, 0.05]            # or: distance = true
    engines = []                  # optional, like everything that follows; docs/batch.md has all

    [[properties]]
    models = ["mine.onnx"]
    properties = ["a.vnnlib", "b.vnnlib"]

    [[vnncomp]]
    folder = "benchmarks/acasxu"  # with instances.csv
    take = 20                     # optional: the first instances

Everything is read and checked before anything starts, and all that is wrong is said together. A network that cannot be read is
an accident of its own queries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InvalidInput
from ..toml_text import read_toml
from .entries import SECONDS, SEED, SHARE, TABLES, TEXT, Faults, check_entries
from .images import image_tasks
from .properties import property_tasks, vnncomp_tasks
from .sources import Sources
from .task import Task

_SECTIONS = {"queries": image_tasks, "properties": property_tasks, "vnncomp": vnncomp_tasks}
_TOP = {"name": TEXT, "timeout": SECONDS, "gap": SHARE, "seed": SEED, "proofs": TEXT} | dict.fromkeys(_SECTIONS, TABLES)
_BASE: dict[str, Any] = {"timeout": 60.0, "gap": 1e-4, "seed": 0, "proofs": None}


@dataclass(frozen=True)
class Job:
    """A checked job; `repeated` queries of it are the same as others of its `tasks`.

    What makes queries the same is what they ask, not the names of files.
    """

    name: str
    text: str
    folder: str
    tasks: tuple[Task, ...] = field(repr=False, default=())
    repeated: int = 0


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
    table = read_toml(text)
    faults, tasks = Faults(), list[Task]()
    if check_entries(table, _TOP, faults, "a job"):
        base = {key: table.get(key, usual) for key, usual in _BASE.items()}
        for kind, tasks_of in _SECTIONS.items():
            for number, section in enumerate(table.get(kind, []), start=1):
                tasks += tasks_of(section, base, folder, sources, faults, f"[[{kind}]] number {number}")
        if not any(table.get(kind) for kind in _SECTIONS):
            raise InvalidInput("a job needs [[queries]], [[properties]] or [[vnncomp]]")
        with faults.at("a job"):
            if not str(table.get("name", "")).isprintable():
                raise InvalidInput("name holds characters that cannot be printed")
    faults.check()
    unique: dict[str, Task] = {}
    for task in tasks:  # of a query that several sections ask, the one with the most time counts
        known = unique.get(task.stored.key)
        if known is None or task.request.settings.timeout > known.request.settings.timeout:
            unique[task.stored.key] = task
    return Job(table.get("name", name), text, str(folder), tuple(unique.values()), len(tasks) - len(unique))
