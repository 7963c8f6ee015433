"""`python -m benchmarks NAME`: one benchmark a file, one line here."""

from __future__ import annotations

from importlib import import_module

import click

BENCHMARKS = {
    "encodings": "what each part of the MILP encoding buys",
    "wk17a": "the MNIST network of Wong & Kolter: certify at linf 0.1, or minimal distortions",
    "digits": "minimal distortions on the shipped digits networks",
    "vnncomp": "VNN-COMP folders in one process: verdicts, times and nodes",
    "branching": "scores of ReLU splits against each other",
    "scaling": "time against images, ReLUs and eps, as a table and a plot",
    "peers": "other open verifiers and modelling tools on the same queries, in the same run",
}


class Group(click.Group):
    """Imports a benchmark when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order above."""
        return list(BENCHMARKS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The `command` of the module."""
        if cmd_name not in BENCHMARKS:
            return None
        command = import_module(f"benchmarks.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without importing anything."""
        with formatter.section("Benchmarks"):
            formatter.write_dl(list(BENCHMARKS.items()))


main = Group(help="Measure advverify; every benchmark prints one Markdown table.")

if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
