"""A click group that imports a command's module only when the command runs, so that `--help` answers at once."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with the names that a mistyped one may stand for."""
        name = args[0]
        if ctx.resilient_parsing or name.startswith("-") or name in self.table or name.lower() in self.table:
            return super().resolve_command(ctx, args)
        close = get_close_matches(name.lower(), self.table, n=2)
        hint = f"did you mean {' or '.join(close)}?" if close else f"choose {', '.join(self.table)}"
        ctx.fail(f"no such command '{name}'; {hint}")

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section(self.heading):
            formatter.write_dl([(name, text) for name, (_, text) in self.table.items()])
