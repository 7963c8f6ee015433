"""The `advverify` command."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence

import click
from click.shell_completion import add_completion_class

from advverify import __version__
from advverify.cli.completion import Bash, Fish
from advverify.cli.interrupt import interrupt_alike
from advverify.cli.lazy import LazyGroup
from advverify.verifier.allocator import keep_freed_memory
from advverify.verifier.errors import AdvverifyError, printable

# Threads that wait for work spin by default, for long; beside any other busy program that makes us ten times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")

# What a full or broken disk says to whoever writes; where it is said from is no help to the reader.
_STORAGE = (errno.ENOSPC, errno.EFBIG, errno.EROFS, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC))
_NAMES = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES)
_COMMANDS = "advverify.cli.commands."
COMMANDS = {
    "certify": (_COMMANDS + "certify", "Is each image robust at eps?"),
    "distance": (_COMMANDS + "distance", "How far is the nearest adversarial example?"),
    "verify": (_COMMANDS + "verify", "Check a VNN-LIB property (VNN-COMP and VNN-LIB 2.1 conventions)."),
    "train": (_COMMANDS + "train", "Train a network by a recipe."),
    "attack": (_COMMANDS + "attack", "What each attack finds, and how far that is from the exact minimum."),
    "subspace": (_COMMANDS + "subspace", "How far, in the span of a dictionary or a random subspace?"),
    "geometry": (_COMMANDS + "geometry", "Curvature, normals and subspaces of decision boundaries, as figures."),
    "compare": (_COMMANDS + "compare", "Certified radii of several networks, with statistics and pictures."),
    "study": (_COMMANDS + "study", "What depth, width, optimiser, data ... do to the certified radius."),
    "batch": (_COMMANDS + "batch", "Jobs of many queries, kept in a store, resumed after anything."),
    "report": (_COMMANDS + "report", "What a store holds, as one page."),
    "show": (_COMMANDS + "show", "One kept answer: its bracket over time, search, adversarial example and proof."),
    "gap": (_COMMANDS + "gap", "How primal and dual bounds converged, run against run."),
    "check": (_COMMANDS + "check", "Is a proof valid for a model?"),
    "info": (_COMMANDS + "info", "Layers, ReLUs and data card of a network."),
    "export-mip": (_COMMANDS + "export_mip", "Write a query as an .mps or .lp file."),
    "solvers": (_COMMANDS + "solvers", "Which MIP solvers are there, and what each can do."),
    "serve": (_COMMANDS + "serve", "Keep everything imported, so that other commands start at once."),
    "capabilities": (_COMMANDS + "capabilities", "What verify supports, for tools."),
}

cli = LazyGroup(
    COMMANDS,
    help="Exact robustness of ReLU networks: certificates, minimal adversarial examples, VNN-LIB properties.",
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": str.lower},
)
cli = click.version_option(__version__, prog_name="advverify")(cli)
add_completion_class(Bash)
add_completion_class(Fish)


def main() -> None:
    """Entry point."""
    status = by_server(sys.argv[1:])
    if status is not None:
        os._exit(status)
    keep_freed_memory()
    interrupt_alike()
    _exit(run())


def by_server(arguments: list[str]) -> int | None:
    """The exit status of a command that a resident server ran; None where there is none."""
    if not hasattr(os, "fork") or arguments[:1] == ["serve"] or "_ADVVERIFY_COMPLETE" in os.environ:
        return None
    from advverify.cli.resident.client import ask_server

    return ask_server(arguments)


def run(arguments: Sequence[str] | None = None) -> int:
    """A command's exit status: 0 done, 1 a check failed, 2 wrong use or bad input (one line), 130 interrupted."""
    try:
        code = cli.main(args=arguments, prog_name="advverify", standalone_mode=False)
    except click.exceptions.Abort as error:
        click.echo(_interrupted(error.__cause__), err=True)
        return 130
    except click.ClickException as error:
        click.echo(f"advverify: {error.format_message()}", err=True)
        return 2
    except AdvverifyError as error:
        click.echo(f"advverify: {error}", err=True)
        return 2
    except KeyboardInterrupt as error:
        click.echo(_interrupted(error), err=True)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.errno in _STORAGE:
            what = "cannot write" if error.filename is None else f"cannot write {error.filename}"
        elif error.errno in _NAMES and error.filename is not None:
            what = str(error.filename)
        else:
            raise
        click.echo(f"advverify: {printable(what)}: {error.strerror}", err=True)
        return 2
    return code if isinstance(code, int) else 0


def _interrupted(error: BaseException | None) -> str:
    """One line for Ctrl-C, with what the command noted of what is kept."""
    return "; ".join(["advverify: interrupted", *getattr(error, "__notes__", ())])


def _exit(code: int) -> None:
    """Leave at once: every file is closed by now, and taking torch apart would cost a third of a second."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed by the caller
                stream.flush()
    except BrokenPipeError:
        code = 0
    if "concurrent.futures.process" in sys.modules:  # pools have semaphores to give back
        # CPython remembers a KeyboardInterrupt that passed through exec() of a string, as when a dataclass was being made,
        # even if it was caught, and kills a process of `python -m` by SIGINT at its end; the next exec() makes it forget.
        exec("")
        sys.exit(code)
    os._exit(code)
