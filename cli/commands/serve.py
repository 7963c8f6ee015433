"""`advverify serve`: a resident server that other commands start from, without importing torch again."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..help import Command


@click.command("serve", cls=Command)
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    help="The socket to listen at.  [default: ADVVERIFY_SERVER, or one in the user's runtime folder]",
)
@click.option(
    "--idle",
    type=click.FloatRange(min=0, min_open=True),
    default=3600.0,
    show_default=True,
    metavar="SECONDS",
    help="End after so long without a command.",
)
def command(path: Path | None, idle: float) -> int:
    """Keep everything imported, and start commands of this user from there: a small query takes a quarter of the time.

    Commands find the server by themselves, run in a process of their own with their caller's files, folder, environment, limits and
    signals, and answer the same. A server of other code is left alone. ADVVERIFY_SERVER=off does without; SIGTERM or Ctrl-C ends it.
    """
    from ..resident.call import address
    from ..resident.server import Server

    if sys.platform == "win32":
        raise click.UsageError("a resident server needs fork(), which Windows lacks")
    path = path or address()
    if path is None:
        raise click.UsageError("ADVVERIFY_SERVER=off forbids a server; unset it, or name a --socket")
    server = Server(path.absolute())
    click.echo(f"listening at {path}, until Ctrl-C or {idle:g} s without a command", err=True)
    try:
        call = server.serve(idle)
    except KeyboardInterrupt:
        call = None
    finally:
        server.close()
    if call is None:
        return 0
    from ..interrupt import interrupt_alike
    from ..main import run

    interrupt_alike()  # by the caller's signals, which are this process's now
    return run(call.arguments)
