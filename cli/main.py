"""The `advverify` command. Commands are imported only when they run, so that `--help` answers at once."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from advverify import __version__
from advverify.verifier.errors import AdvverifyError

COMMANDS = {
    "certify": ("certify", "Is each image robust at eps?"),
    "distance": ("distance", "How far is the nearest adversarial example?"),
    "verify": ("verify", "Check a VNN-LIB property (VNN-COMP and VNN-LIB 2.1 conventions)."),
    "info": ("info", "Layers, ReLUs and data card of a network."),
    "export-mip": ("export_mip", "Write a query as an .mps or .lp file."),
    "capabilities": ("capabilities", "What verify supports, for tools."),
}


class LazyGroup(click.Group):
    """Knows the names and one-line helps; imports a command's module when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In workflow order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"advverify.cli.commands.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="advverify")
def cli() -> None:
    """Exact robustness of ReLU networks: certificates, minimal adversarial examples, VNN-LIB properties."""


def main() -> None:
    """Entry point: 0 done, 1 a check failed, 2 wrong use or bad input (one line), 130 interrupted."""
    try:
        code = cli.main(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        message = error.format_message()
        click.echo(f"advverify: {message}", err=True)
        sys.exit(2)
    except AdvverifyError as error:
        click.echo(f"advverify: {error}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        click.echo("advverify: interrupted", err=True)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(0)
    sys.exit(code if isinstance(code, int) else 0)
