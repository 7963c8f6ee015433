"""The command line as Markdown, from the definitions that click reads."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from advverify.cli.main import cli


def commands(
    group: click.Group, path: tuple[str, ...] = ("advverify",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands below a group, with the words that call them."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def command_line() -> str:
    """A section for each command: what it does, its arguments, its options."""
    return "\n\n".join(_section(path, command) for path, command in commands(cli))


def _section(path: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(path))
    usage = " ".join(command.collect_usage_pieces(context))
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    lines = [f"{'#' * len(path)} {' '.join(path)}", "", f"    {' '.join(path)} {usage}", ""]
    lines += [_text(inspect.cleandoc(command.help or "")), ""]
    if options:
        lines += ["| option | meaning |", "|---|---|"]
        for option in options:
            record = option.get_help_record(context)
            if record is not None:
                name, text = (part.replace("|", "\\|") for part in record)
                lines.append(f"| {_spelled(name)} | {_text(text)} |")
    examples = getattr(command, "examples", ())
    if examples:
        lines += ["", *(f"    {example}" for example in examples)]
    return "\n".join(lines)


def _spelled(name: str) -> str:
    """The names of an option and what it takes, each as a piece that is not broken."""
    return " / ".join(" ".join(f"`{part}`" for part in each.split(" ", 1)) for each in name.split(" / "))


def _text(text: str) -> str:
    """Words that Markdown would take for marks, as they are; names of options as code, as what is code already."""
    parts = text.replace("\b", "").split("`")
    for k in range(0, len(parts), 2):
        words = re.sub(r"([*_<\[\]])", r"\\\1", parts[k])
        parts[k] = re.sub(r"--[a-z0-9]+(-[a-z0-9]+)*", r"`\g<0>`", words)
    return "`".join(parts)
