"""The file of `--out`: one JSON line an image, kept whole through kills, and read back so that a rerun goes on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from advverify.verifier.errors import AdvverifyError, InvalidInput
from advverify.verifier.parallel.accident import ACCIDENT

if TYPE_CHECKING:
    from advverify.verifier.engines import Settings
    from advverify.verifier.outcome import Outcome

INTERRUPTED = "interrupted"


class ResultFile:
    """Appends outcomes; `done` holds those that were there before, by key."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a last line that a kill cut short is taken off.

        Raises:
            InvalidInput: not a file that can be written, or one that holds something else.
        """
        self.path, self.done = path, dict[str, "Outcome"]()
        try:
            self._stream = path.open("a+b", buffering=0)
        except OSError as error:
            raise InvalidInput(f"--out {path}: cannot be written ({error.strerror})") from error
        with ExitStack() as refused:
            refused.callback(self.close)
            try:
                self._stream.seek(0)
                self._read(self._stream.read())
            except OSError as error:
                raise InvalidInput(f"--out {path}: cannot be read ({error.strerror})") from error
            refused.pop_all()

    def _read(self, content: bytes) -> None:
        from advverify.verifier.outcome import UNREADABLE, Outcome

        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), start=1):
            try:
                outcome = Outcome.from_json(line.decode())
            except UNREADABLE as error:
                raise InvalidInput(
                    f"--out {self.path}: line {number} is not a result of this version; choose another file"
                ) from error
            key = outcome.labels.get("key")
            ended_early = outcome.reason.startswith(INTERRUPTED) or ACCIDENT in outcome.labels
            if key is not None and not ended_early:
                self.done[key] = outcome
        if whole < len(content):
            if not content[whole:].startswith(b"{"):
                raise InvalidInput(f"--out {self.path}: holds something other than results; choose another file")
            self._stream.truncate(whole)

    def known(self, keys: Sequence[str], settings: Settings) -> dict[int, Outcome]:
        """The answers that are there already, by position in `keys`.

        What is still open is asked again where there is more time than it had. Where proofs are asked for, only those count
        that have theirs in the folder of proofs, or need none: what was answered without, or is no longer there, is asked again.
        """
        found = {}
        for position, key in enumerate(keys):
            outcome = self.done.get(key)
            if outcome is None or (settings.proofs is not None and not _is_proved(outcome, settings.proofs)):
                continue
            if outcome.is_settled(settings.gap) or outcome.labels.get("timeout", 0.0) >= settings.timeout:
                found[position] = outcome
        return found

    def write(self, outcome: Outcome) -> None:
        """Append a line; it is on its way to the disk when this returns.

        Raises:
            AdvverifyError: the system takes no more, as where a disk is full; lines before this one are whole.
        """
        left = outcome.to_json().encode() + b"\n"
        try:
            while left:
                left = left[self._stream.write(left) :]
        except OSError as error:
            raise AdvverifyError(
                f"--out {self.path}: cannot be written ({error.strerror}); what it holds is whole, and the same command goes on from there"
            ) from error

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _is_proved(outcome: Outcome, proofs: Path) -> bool:
    """Whether the proof is there, or cannot be."""
    if outcome.proof is not None:
        return (proofs / Path(outcome.proof).name).is_file()
    return "no_proof" in outcome.statistics or outcome.verdict.value == "misclassified"
