"""The benchmark itself: broken files for every reader, one after another, and how each reading ended."""

from __future__ import annotations

import random
import resource
import signal
import tempfile
from collections import Counter
from pathlib import Path

import click

from advverify.verifier.checker import Rejected
from advverify.verifier.errors import AdvverifyError

from ..measure import table
from .readers import READERS, reader_of

MEMORY = 8 << 30  # bytes of address space while fuzzing
SECONDS = 20  # for one input
KEPT = Path("build/fuzz")


class Hang(Exception):
    """An input that took too long."""


def fuzz(reader: str, count: int, seed: int, folder: Path) -> Counter[str]:
    """Feed `count` broken files to a reader; returns how often each kind of end came.

    Raises:
        AssertionError: anything but success or a refusal; the file is kept in `KEPT`.
    """
    chosen = reader_of(reader, folder)
    rng, ends = random.Random(seed), Counter[str]()
    path = folder / chosen.place
    signal.signal(signal.SIGALRM, _ring)
    for number in range(count):
        path.write_bytes(rng.choice(chosen.ways)(rng.choice(chosen.good), rng))
        signal.alarm(SECONDS)
        try:
            chosen.read(path)
            ends["accepted"] += 1
        except (AdvverifyError, Rejected) as error:
            assert "\n" not in str(error), f"{reader}, seed {seed}, input {number}: a message of several lines"
            ends["refused"] += 1
        except BaseException as error:
            kept = KEPT / f"{reader}-{seed}-{number}"
            KEPT.mkdir(parents=True, exist_ok=True)
            kept.write_bytes(path.read_bytes())
            raise AssertionError(f"{reader}, seed {seed}, input {number} ({kept}): {type(error).__name__}") from error
        finally:
            signal.alarm(0)
    return ends


def _ring(signum: int, frame: object) -> None:
    raise Hang(f"more than {SECONDS} s")


@click.command("fuzz")
@click.option("--reader", type=click.Choice(READERS), multiple=True, help="[default: all]")
@click.option("--inputs", default=100_000, show_default=True, help="For each reader.")
@click.option("--seed", default=0, show_default=True)
def command(reader: tuple[str, ...], inputs: int, seed: int) -> None:
    """Broken input for every reader: nothing but clear refusals may come out, in bounded time and memory."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    rows = []
    for name in reader or READERS:
        with tempfile.TemporaryDirectory() as folder:
            ends = fuzz(name, inputs, seed, Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        rows.append([name, inputs, ends["refused"], ends["accepted"], 0, f"{peak:.0f}"])
        click.echo(rows[-1], err=True)
    click.echo(table(["reader", "inputs", "refused", "accepted", "other ends", "peak MiB"], rows))
