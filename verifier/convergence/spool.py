"""Where trajectories are kept: short ones in memory, long ones in a temporary file.

A search that moves its bracket thousands of times leaves as many steps, and a store holds 100,000 answers; so memory grows with
how many answers there are, and not with how long their traces are.
"""

from __future__ import annotations

import tempfile
import weakref
from dataclasses import dataclass
from typing import IO

import numpy as np

from .trajectory import Trajectory

_SHORT = 64  # steps at most of a trajectory that stays in memory


@dataclass(frozen=True, eq=False, slots=True)
class Kept:
    """A trajectory is here, or where its steps are in the file; its last bracket is at hand."""

    end: tuple[float, float]
    here: Trajectory | None
    spool: Spool | None = None
    begin: int = 0
    steps: int = 0

    def load(self) -> Trajectory:
        """The trajectory as it was given."""
        if self.here is not None:
            return self.here
        assert self.spool is not None
        return self.spool.read(self.begin, self.steps)


class Spool:
    """The temporary file of long trajectories; it is gone with the last of them."""

    def __init__(self) -> None:
        """Without a file, until there is something for it."""
        self._file: IO[bytes] | None = None
        self._end = 0

    def keep(self, trajectory: Trajectory) -> Kept:
        """Keep a trajectory."""
        steps = len(trajectory.times)
        if steps <= _SHORT:
            return Kept(trajectory.end, trajectory)
        if self._file is None:
            self._file = tempfile.TemporaryFile()
            weakref.finalize(self, self._file.close)
        self._file.seek(self._end)
        self._file.write(np.stack([trajectory.times, trajectory.lower, trajectory.upper]).tobytes())
        begin, self._end = self._end, self._file.tell()
        return Kept(trajectory.end, None, self, begin, steps)

    def read(self, begin: int, steps: int) -> Trajectory:
        """So many steps from a place in the file."""
        assert self._file is not None
        self._file.seek(begin)
        values = np.frombuffer(self._file.read(3 * 8 * steps), dtype=np.float64)
        return Trajectory(*values.reshape(3, steps))
