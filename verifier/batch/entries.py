"""What the entries of a job file may be, and the faults of a whole file, gathered before anything is done about one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..engines import MilpOptions, Settings, check_milp_options, choose_engines, split_names
from ..errors import AdvverifyError, InvalidInput

_SHOWN = 5  # faults that are named; of more their number is said


@dataclass(frozen=True)
class Entry:
    """What a value has to be: in words, and as a test."""

    words: str
    fits: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def list_of(entry: Entry, words: str) -> Entry:
    """A list of values of one kind, which is not empty."""
    return Entry(
        f"a list of {words}", lambda value: type(value) is list and bool(value) and all(map(entry.fits, value))
    )


TEXT = Entry("text", lambda value: type(value) is str and bool(value))
YES_NO = Entry("true or false", lambda value: type(value) is bool)
SEED = Entry("a whole number >= 0", lambda value: type(value) is int and 0 <= value < 2**63)
COUNT = Entry("a whole number >= 1", lambda value: type(value) is int and value >= 1)
CLASS = Entry("a class, a whole number >= 0", SEED.fits)
SECONDS = Entry("a number of seconds above 0", lambda value: _is_number(value) and value > 0)
RADIUS = Entry("a number >= 0", lambda value: _is_number(value) and value >= 0)
SHARE = Entry("a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1)
RANGE = Entry(
    "two numbers, the lowest first",
    lambda value: type(value) is list and len(value) == 2 and all(map(_is_number, value)) and value[0] <= value[1],
)
NORM = Entry("a norm", lambda value: type(value) is str or _is_number(value) or value == math.inf)
TABLES = Entry("tables", lambda value: type(value) is list and all(isinstance(each, dict) for each in value))
NAMES = list_of(TEXT, "names")

MILP = {
    "solver": TEXT,
    "formulation": TEXT,
    "fix_stable": YES_NO,
    "substitute": YES_NO,
    "tighten": TEXT,
    "targets": TEXT,
    "cuts": TEXT,
}
# What every section may say about the search, as the options of the command line do.
SEARCH = {
    "timeout": SECONDS,
    "gap": SHARE,
    "engines": Entry(
        "a text or a list of names", lambda value: value in ([], "") or TEXT.fits(value) or NAMES.fits(value)
    ),
    "seed": SEED,
    "seeds": list_of(SEED, "whole numbers >= 0"),
    "float32": YES_NO,
    "proofs": TEXT,
    **MILP,
}


class Faults:
    """What is wrong with a job, in the order in which it was found."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextmanager
    def at(self, where: str) -> Iterator[None]:
        """What is refused inside is a fault of this place, and reading goes on after it."""
        try:
            yield
        except AdvverifyError as error:  # a solver that is not installed, too
            text = f"{where}: {error}" if where else str(error)
            if text not in self.found:
                self.found.append(text)

    def check(self) -> None:
        """Refuse the job if anything is wrong with it.

        Raises:
            InvalidInput: names the faults.
        """
        if self.found:
            more = len(self.found) - _SHOWN
            raise InvalidInput("; ".join(self.found[:_SHOWN]) + (f"; and {more} more" if more > 0 else ""))


def check_entries(section: Mapping[str, Any], known: Mapping[str, Entry], faults: Faults, where: str) -> bool:
    """Whether all entries of a table are known and of their kind; what is not becomes a fault."""
    before = len(faults.found)
    for key, value in section.items():
        with faults.at(where):
            if key not in known:
                raise InvalidInput(f"has no key '{key}': choose among {', '.join(known)}")
            if not known[key].fits(value):
                raise InvalidInput(f"{key} must be {known[key].words}, got {value!r}")
    return len(faults.found) == before


def settings_of(section: Mapping[str, Any], base: Mapping[str, Any], folder: Path) -> list[Settings]:
    """Settings of a section, one for each of its seeds; the whole job's where it says nothing.

    Raises:
        InvalidInput: a name that there is not, or an option that none of the engines reads.
    """
    if "seed" in section and "seeds" in section:
        raise InvalidInput("give seed or seeds, not both")
    given = [name for name in MILP if name in section]
    milp = MilpOptions(**{name: section[name] for name in given})
    check_milp_options(milp, engines_of(section), given)
    timeout, gap = (float(section.get(name, base[name])) for name in ("timeout", "gap"))
    proofs = section.get("proofs", base["proofs"])
    place = None if proofs is None else (folder / proofs).absolute()
    seeds = section.get("seeds", [section.get("seed", base["seed"])])
    return [Settings(timeout, gap, seed=seed, threads=1, milp=milp, proofs=place) for seed in seeds]


def engines_of(section: Mapping[str, Any]) -> tuple[str, ...]:
    """Engines of a section, a list or a text as the command line takes it; none where it names none, which stands for all.

    Raises:
        InvalidInput: there is no such engine.
    """
    value = section.get("engines", ())
    engines = split_names(value) if isinstance(value, str) else tuple(value)
    choose_engines(engines)
    return engines
