"""What a sweep trains: a base recipe, factors with their levels, a design, and seeds; read from a TOML file.

name = "digits-factors"
design = "one-at-a-time"              # from the first levels of all factors; or "full", every combination
seeds = 5

[measure]                             # distances of the first test images, right or wrong (then 0)
norm = "inf"
images = "0:40"
timeout = 30.0

[base.architecture]                   # a recipe, as `advverify train` takes it
name = "resnet"
...

[factors]
"architecture.blocks" = [2, 1, 4]     # an entry of the recipe, and its levels
"data.limit" = [0, 300]

[[factors.optimiser]]                 # or levels that change several entries
label = "adam"

[[factors.optimiser]]
label = "sgd"
"training.optimiser" = "sgd"
"training.learning_rate" = 0.1
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from advverify.verifier.errors import InvalidInput
from advverify.verifier.norms import get_norm
from advverify.verifier.toml_text import read_toml

from ..recipe import Recipe, recipe_from

DESIGNS = ("one-at-a-time", "full")
_KEYS = ("name", "design", "seeds", "measure", "base", "factors")


@dataclass(frozen=True)
class Measure:
    """Which distances are bracketed: norm, test images, seconds an image, relative gap of a closed bracket."""

    norm: str = "inf"
    images: str = "0:40"
    timeout: float = 30.0
    gap: float = 0.01

    def __post_init__(self) -> None:
        """Check the values."""
        if get_norm(self.norm).name == "0":
            raise InvalidInput("[measure] norm 0 counts, and counts have no means; choose 1, 2 or inf")
        if not self.timeout > 0 or not 0 < self.gap < 1:
            raise InvalidInput("[measure] needs timeout > 0 and a gap between 0 and 1")


@dataclass(frozen=True)
class Level:
    """A level of a factor: its label, and the entries of the recipe that it sets."""

    label: str
    entries: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """One network to train: a label for every factor, the seed, and the recipe that follows."""

    setting: dict[str, str]
    seed: int
    recipe: Recipe


@dataclass(frozen=True)
class Sweep:
    """See the module's docstring; `factors` maps names to levels, the first of which is the base's."""

    name: str
    base: dict[str, Any]
    factors: dict[str, tuple[Level, ...]]
    design: str = "one-at-a-time"
    seeds: int = 3
    measure: Measure = Measure()

    def settings(self) -> list[dict[str, Level]]:
        """All settings, the base first."""
        first = {name: levels[0] for name, levels in self.factors.items()}
        if self.design == "full":
            crossed = itertools.product(*self.factors.values())
            return [dict(zip(self.factors, levels, strict=True)) for levels in crossed]
        changed = [{**first, name: level} for name, levels in self.factors.items() for level in levels[1:]]
        return [first, *changed]

    def runs(self) -> Iterator[Run]:
        """Seed after seed, so that a sweep that is cut short has something of every setting.

        Raises:
            InvalidInput: a setting that makes no recipe.
        """
        for seed in range(self.seeds):
            for setting in self.settings():
                yield Run({name: level.label for name, level in setting.items()}, seed, self._recipe(setting, seed))

    def _recipe(self, setting: dict[str, Level], seed: int) -> Recipe:
        table = copy.deepcopy(self.base)
        for name, level in setting.items():
            for key, value in level.entries.items():
                _set(table, key, value, name)
        table.setdefault("training", {})["seed"] = seed
        table["name"] = "-".join([self.name, *(f"{level.label}" for level in setting.values())])
        table["card"] = {"images": 0}
        where = ", ".join(f"{name} = {level.label}" for name, level in setting.items())
        try:
            return recipe_from(table)
        except InvalidInput as error:
            raise InvalidInput(f"with {where}: {error}") from error


def _set(table: dict[str, Any], key: str, value: Any, factor: str) -> None:
    """Set `architecture.blocks` and the like.

    Raises:
        InvalidInput: no section or no entry.
    """
    *sections, entry = key.split(".")
    if not sections or not entry:
        raise InvalidInput(
            f"[factors] {factor}: '{key}' names no entry of a recipe; write section.entry, like training.batch"
        )
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise InvalidInput(f"[factors] {factor}: '{section}' in '{key}' is no section of a recipe")
    table[entry] = value


def read_sweep(path: Path) -> Sweep:
    """Read a TOML file.

    Raises:
        InvalidInput: not there, not TOML, or not a sweep; names the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not a TOML file ({error})") from error
    try:
        sweep = sweep_from(read_toml(text))
        list(sweep.runs())  # every recipe is made once, so that none is refused hours later
        return sweep
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


def sweep_from(table: dict[str, Any]) -> Sweep:
    """A sweep from plain values.

    Raises:
        InvalidInput: a key or value that makes no sense.
    """
    for key in table:
        if key not in _KEYS:
            raise InvalidInput(f"a sweep has no key '{key}': choose {', '.join(_KEYS)}")
    for key in ("base", "factors"):
        if not isinstance(table.get(key), dict) or not table[key]:
            raise InvalidInput(f"a sweep needs [{key}]")
    design, seeds = table.get("design", "one-at-a-time"), table.get("seeds", 3)
    if design not in DESIGNS:
        raise InvalidInput(f"design is one of {', '.join(DESIGNS)}, got {design!r}")
    if type(seeds) is not int or seeds < 1:
        raise InvalidInput(f"seeds must be a whole number of at least 1, got {seeds!r}")
    factors = {name: _levels(name, levels) for name, levels in _flat(table["factors"])}
    return Sweep(
        str(table.get("name", "sweep")), table["base"], factors, design, seeds, _measure(table.get("measure", {}))
    )


def _measure(values: Any) -> Measure:
    known = {"norm": str, "images": str, "timeout": float, "gap": float}
    if not isinstance(values, dict):
        raise InvalidInput("[measure] must be a table")
    chosen: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise InvalidInput(f"[measure] has no key '{key}': choose {', '.join(known)}")
        right = type(value) is str if known[key] is str else type(value) in (int, float)
        if not right:
            raise InvalidInput(f"[measure] {key} must be of type {known[key].__name__}, got {value!r}")
        chosen[key] = known[key](value)
    return Measure(**chosen)


def _flat(table: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Names and levels; `architecture.blocks` without quotes is a table in TOML, and means the same."""
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _levels(name: str, values: Any) -> tuple[Level, ...]:
    if not isinstance(values, list) or len(values) < 2:
        raise InvalidInput(f"[factors] {name} needs a list of at least two levels, the base's first")
    levels = []
    for value in values:
        if isinstance(value, dict):
            rest = {key: v for key, v in value.items() if key != "label"}
            if not isinstance(value.get("label"), str):
                raise InvalidInput(f"[factors] {name}: a level that sets several entries needs a label")
            levels.append(Level(value["label"], dict(_flat(rest))))
        else:
            levels.append(Level(_label(value), {name: value}))
    labels = [level.label for level in levels]
    if len(set(labels)) < len(labels):
        raise InvalidInput(f"[factors] {name}: the same level twice")
    return tuple(levels)


def _label(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
