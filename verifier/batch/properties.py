"""Sections [[properties]] and [[vnncomp]] of job files: VNN-LIB files, named one by one or by the list of a folder."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InvalidInput, no_file
from ..request import Request, file_sha256
from ..specification import Threat
from .entries import COUNT, NAMES, SEARCH, SECONDS, TEXT, Faults, check_entries, engines_of, settings_of
from .sources import Sources, readable
from .task import Task, task_of

_EXPECTED = 5.0  # seconds
_LARGEST = 64 << 20  # bytes of a list of instances
_PROPERTIES = {"models": NAMES, "properties": NAMES, **SEARCH}
_VNNCOMP = {"folder": TEXT, "take": COUNT, **SEARCH}


class _Instance(NamedTuple):
    """A network and a property, as they are named and where they are; its time limit where it has one of its own."""

    model: str
    path: Path
    data: str
    item: str
    spec: Path
    timeout: float | None = None


def property_tasks(
    section: Mapping[str, Any], base: Mapping[str, Any], folder: Path, sources: Sources, faults: Faults, where: str
) -> Iterator[Task]:
    """Every network of the section with every property; what is wrong becomes faults."""
    if not check_entries(section, _PROPERTIES, faults, where):
        return
    with faults.at(where):
        for key in ("models", "properties"):
            if key not in section:
                raise InvalidInput(f"needs {key}")
        for name, spec in product(section["models"], section["properties"]):
            with faults.at(where):
                instance = _Instance(name, sources.model(name, folder), "properties", spec, _there(folder / spec, spec))
                yield from _tasks(instance, section, base, folder)


def vnncomp_tasks(
    section: Mapping[str, Any], base: Mapping[str, Any], folder: Path, sources: Sources, faults: Faults, where: str
) -> Iterator[Task]:
    """The rows of a VNN-COMP folder's instances.csv; what is wrong with them becomes faults."""
    if not check_entries(section, _VNNCOMP, faults, where):
        return
    with faults.at(where):
        if "folder" not in section:
            raise InvalidInput("needs folder")
        settings_of(section, base, folder)  # what is wrong with it is wrong once, and not in every line
        place = folder / section["folder"]
        for number, row in _rows(place / "instances.csv", section.get("take")):
            with faults.at(f"{where}: instances.csv, line {number}"):
                if len(row) < 2:
                    raise InvalidInput(
                        f"needs a network, a property and a time limit with commas between, got {row[0]!r}"
                    )
                model, spec, limit = (cell.strip() for cell in [*row, ""][:3])
                paths = [_there(place / name, name) for name in (model, spec)]
                instance = _Instance(model, paths[0], section["folder"], spec, paths[1], _seconds(limit))
                yield from _tasks(instance, section, base, folder)


def _tasks(instance: _Instance, section: Mapping[str, Any], base: Mapping[str, Any], folder: Path) -> Iterator[Task]:
    """A task for every seed.

    Raises:
        InvalidInput: an option that makes no sense.
    """
    if instance.timeout is not None:
        base = {**base, "timeout": instance.timeout}
    engines, threat = engines_of(section), Threat(float32=section.get("float32", False))
    for settings in settings_of(section, base, folder):
        request = Request(
            "verify",
            str(instance.path),
            _network_sha256(instance.path, instance.path.stat().st_mtime_ns),
            threat,
            property_path=str(instance.spec),
            property_sha256=file_sha256(instance.spec),
            settings=settings,
            engines=engines,
        )
        yield task_of(request, instance.model, instance.data, instance.item, _EXPECTED)


def _rows(listing: Path, take: int | None) -> list[tuple[int, list[str]]]:
    """Lines of a list of instances, with their numbers; a header is left out.

    Raises:
        InvalidInput: there is no list, or none that can be read.
    """
    if not listing.is_file():
        raise InvalidInput(f"{listing} is not there; give a VNN-COMP folder with instances.csv")
    if listing.stat().st_size > _LARGEST:
        raise InvalidInput(f"{listing}: larger than {_LARGEST >> 20} MiB, and no list of instances")
    try:
        with listing.open(newline="", encoding="utf-8-sig") as stream:
            rows = [(number, row) for number, row in enumerate(csv.reader(stream), start=1) if any(map(str.strip, row))]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput(f"{listing}: cannot be read as a list of instances ({error}); write it as UTF-8") from error
    if rows and not any("." in cell for cell in rows[0][1][:2]):  # no names of files: words
        rows = rows[1:]
    if not rows:
        raise InvalidInput(f"{listing}: holds no instances")
    return rows[:take]


def _seconds(text: str) -> float | None:
    """A time limit; None where there is none.

    Raises:
        InvalidInput: no number of seconds above 0.
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not SECONDS.fits(value):
        raise InvalidInput(f"the time limit must be {SECONDS.words}, got {text!r}")
    return value


def _there(path: Path, name: str) -> Path:
    try:
        there = path.is_file()
    except OSError as error:  # a name that no file can have
        raise InvalidInput(f"{name[:200]}: {error.strerror}") from error
    if not there:
        raise InvalidInput(f"{name[:200]}: {no_file(path)}")
    return path


@cache
def _network_sha256(path: Path, changed: int) -> str:
    """Hash of a network as its reader has it; of the file, where it cannot be read. `changed` is when it was written."""
    model = readable(path)
    return file_sha256(path) if model is None else model.network.sha256
