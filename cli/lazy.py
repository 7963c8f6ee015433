"""A click group that imports a command's module only when the command runs, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click


class LazyGroup(click.Group):
    """Commands by name: (module that holds `command`, one-line help); listed in the order given."""

    def __init__(self, commands: Mapping[str, tuple[str, str]], heading: str = "Commands", **options: object) -> None:
        """Know the names; `options` are click's."""
        super().__init__(**options)  # type: ignore[arg-type]
        self.table, self.heading = commands, heading

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In workflow order."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in self.table:
            return None
        command: click.Command = import_module(self.table[cmd_name][0]).command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section(self.heading):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])
