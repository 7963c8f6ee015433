"""Solves that Ctrl-C reaches: they run in a thread of their own, since Python hears signals between its own steps alone."""

from __future__ import annotations

import threading
from collections.abc import Callable

_HEARING = 0.1  # seconds between two looks


def run_interruptibly(run: Callable[[], object], stop: Callable[[], object]) -> None:
    """Run a solve to its end.

    Args:
        run: the solve; what it raises is its own to keep.
        stop: asks it to stop, from another thread.

    Raises:
        KeyboardInterrupt: by Ctrl-C, once the solve has stopped.
    """
    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    try:
        while worker.is_alive():
            worker.join(_HEARING)
    except KeyboardInterrupt:
        stop()
        worker.join()
        raise
