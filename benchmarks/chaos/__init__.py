"""`python -m benchmarks chaos`: batches under kills, full disks and missing files; every query is answered once, as without them."""

from .command import command

__all__ = ["command"]
