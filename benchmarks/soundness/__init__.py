"""`python -m benchmarks soundness`: an independent oracle in rational arithmetic against everything a user can call."""

from .command import command

__all__ = ["command"]
