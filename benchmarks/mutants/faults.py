"""Faults as data: a passage of a file that occurs once, and what stands there instead."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

import click

ROOT = Path(__file__).resolve().parents[2]
AREAS = Path(__file__).resolve().parent / "areas"


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes:
        area: the file of `areas` that it is from.
        name: tells it from the others of its area.
        kind: "dropped loss", "flipped sign", "comparison", "swapped sides", "missing clip", "stale", "wrong term".
        file: path from the root of the repository.
        find: a passage that occurs once there.
        replace: what stands there with the fault.
        wrong: what goes wrong.
        harmless: why no wrong answer can come of it after all; such faults are not counted.
        tests: of the files or tests to be run first.
    """

    area: str
    name: str
    kind: str
    file: str
    find: str
    replace: str
    wrong: str
    harmless: str
    tests: tuple[str, ...]

    @property
    def module(self) -> str:
        """Name under which the file is imported."""
        parts = Path(self.file).with_suffix("").parts
        return ".".join(("advverify", *(parts[:-1] if parts[-1] == "__init__" else parts)))

    @property
    def label(self) -> str:
        """Area and name."""
        return f"{self.area}/{self.name}"

    def source(self) -> str:
        """The file's text with the fault.

        Raises:
            click.ClickException: the passage is gone or no longer unique; the fault must be written anew.
        """
        path = ROOT / self.file
        text = path.read_text() if path.is_file() else ""
        count = text.count(self.find)
        if count != 1 or self.find == self.replace:
            raise click.ClickException(
                f"{self.label} is stale: its passage occurs {count} times in {self.file}, not once; "
                f"mend `find` in benchmarks/mutants/areas/{self.area}.toml"
            )
        return text.replace(self.find, self.replace)


def load_faults() -> list[Fault]:
    """All faults, area by area.

    Raises:
        click.ClickException: an area's file lacks something, or two faults have one name.
    """
    faults: list[Fault] = []
    for path in sorted(AREAS.glob("*.toml")):
        content = tomllib.loads(path.read_text())
        for entry in content["fault"]:
            try:
                fault = Fault(
                    path.stem,
                    entry["name"],
                    entry["kind"],
                    entry.get("file", content.get("file", "")),
                    entry["find"],
                    entry["replace"],
                    entry["wrong"],
                    entry.get("harmless", ""),
                    tuple(entry.get("tests", [])) + tuple(content["tests"]),
                )
            except KeyError as error:
                raise click.ClickException(f"{path.name}: fault {entry.get('name')} has no {error}") from error
            faults.append(fault)
    labels = [fault.label for fault in faults]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise click.ClickException(f"two faults are called {sorted(twice)[0]}")
    return faults
