"""Rows that are kept as JSON lines, so that a run which was cut goes on where it stopped, and tables are made of them again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

QUESTION, SOLVE = "question", "solve"
_ASKED = ("sha256", "data", "index", "asked", "seed")  # what a question is known by
_SOLVED = (*_ASKED, "limit", "threads", "variant", "solver")


class Kept:
    """The rows of a file; every new one is on the disk before the next is worked on."""

    def __init__(self, path: Path) -> None:
        """Read what is there.

        Raises:
            click.ClickException: a line other than the last, which a kill may have cut short, is no row.
        """
        self.path = path
        self.rows: list[dict[str, Any]] = []
        whole = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        if whole and not whole[-1].endswith(b"\n"):
            path.write_bytes(b"".join(whole[:-1]))
            click.echo(f"note: {path}: the last line was cut short; it is asked again", err=True)
            whole.pop()
        for number, line in enumerate(whole, start=1):
            try:
                row = json.loads(line)
                self._key(row)
            except (ValueError, KeyError, TypeError) as error:
                raise click.ClickException(f"{path}: line {number} is no row of this benchmark ({error})") from error
            self.rows.append(row)
        self._known = {self._key(row): row for row in self.rows}

    def add(self, row: dict[str, Any]) -> None:
        """Append a row."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as stream:
            stream.write(json.dumps(row, allow_nan=False) + "\n")
        self.rows.append(row)
        self._known[self._key(row)] = row

    def find(self, row: dict[str, Any]) -> dict[str, Any] | None:
        """The row that answers what this one is about."""
        return self._known.get(self._key(row))

    def solves(self) -> Iterable[dict[str, Any]]:
        """Rows of solvers; of those about the same the last."""
        return [row for row in self._known.values() if row["kind"] == SOLVE]

    def _key(self, row: dict[str, Any]) -> tuple[Any, ...]:
        return (row["kind"], *(row[name] for name in (_ASKED if row["kind"] == QUESTION else _SOLVED)))
