"""Recipes: all that determines a trained network, as a TOML file.

    name = "digits-resnet-cpl"

    [architecture]
    name = "cpl"                  # and the options of `architectures.ARCHITECTURES[name]`
    image = [1, 8, 8]

    [data]
    name = "digits"               # kind of data set; where its files are is not part of a recipe

    [training]
    epochs = 40

    [adversary]                   # optional: adversarial training
    [certified]                   # optional: IBP or CROWN-IBP
    [multilevel]                  # optional: train shallow, double the blocks, halve the step
    [defences.l1]                 # optional, any number: terms of `defences.DEFENCES`
    [card]                        # optional: the query whose certified share the data card states

A key that does not exist, or a value of the wrong kind, is refused.
"""

from __future__ import annotations

import hashlib
import json
import types
import typing
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from advverify.verifier.errors import InvalidInput, no_such
from advverify.verifier.toml_text import read_toml

from .defences import DEFENCES, Defence, defence_type
from .defences.adversary import Adversary
from .defences.certified import Certified
from .multilevel import Multilevel

T = TypeVar("T")

OPTIMISERS = ("adam", "sgd")
SCHEDULES = ("one-cycle", "cosine", "step", "constant")
LOSSES = ("cross-entropy", "multi-margin")


@dataclass(frozen=True)
class Architecture:
    """Name in `architectures.ARCHITECTURES`, and its options."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Data:
    """What to train on.

    Attributes:
        name: kind of data set, without its place.
        limit: only the first images of the training part; 0 for all.
        flip: mirror images at random.
        crop: shift images at random by up to so many pixels, filled with zeros.
    """

    name: str = "digits"
    limit: int = 0
    flip: bool = False
    crop: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.limit < 0 or self.crop < 0:
            raise InvalidInput("[data] limit and crop must be at least 0")


@dataclass(frozen=True)
class Training:
    """The optimiser's side.

    Attributes:
        epochs: passes over the training part.
        batch: batch size.
        optimiser: "adam" or "sgd" (with Nesterov's momentum where momentum > 0).
        learning_rate: the largest one.
        schedule: "one-cycle", "cosine", "step" (a tenth at each milestone) or "constant".
        milestones: shares of the training at which "step" steps.
        momentum: of sgd.
        weight_decay: of the optimiser.
        clip: largest norm of a gradient; 0 for no limit.
        loss: "cross-entropy" or "multi-margin".
        margin: of the multi-margin loss.
        seed: of initialisation, data order, augmentation and attacks.
    """

    epochs: int = 40
    batch: int = 64
    optimiser: str = "adam"
    learning_rate: float = 5e-3
    schedule: str = "one-cycle"
    milestones: tuple[float, ...] = (0.5, 0.75)
    momentum: float = 0.0
    weight_decay: float = 0.0
    clip: float = 0.0
    loss: str = "cross-entropy"
    margin: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the options."""
        for name, value, choices in (
            ("optimiser", self.optimiser, OPTIMISERS),
            ("schedule", self.schedule, SCHEDULES),
            ("loss", self.loss, LOSSES),
        ):
            if value not in choices:
                raise InvalidInput(f"[training] {name} is one of {', '.join(choices)}, got '{value}'")
        if self.epochs < 1 or self.batch < 1 or self.learning_rate <= 0 or self.margin <= 0:
            raise InvalidInput("[training] needs epochs >= 1, batch >= 1, learning_rate > 0 and margin > 0")
        if min(self.momentum, self.weight_decay, self.clip) < 0:
            raise InvalidInput("[training] momentum, weight_decay and clip must be at least 0")


@dataclass(frozen=True)
class Card:
    """The query whose certified share the data card states: bound propagation on the first test images."""

    norm: str = "inf"
    eps: float = 0.05
    images: int = 100


@dataclass(frozen=True)
class Recipe:
    """See the module's docstring; every section has defaults but the architecture."""

    architecture: Architecture
    name: str = ""
    data: Data = Data()
    training: Training = Training()
    adversary: Adversary | None = None
    certified: Certified | None = None
    multilevel: Multilevel | None = None
    defences: dict[str, Defence] = field(default_factory=dict)
    card: Card = Card()

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for data cards; sections that are not used are left out."""
        plain = asdict(self)
        if self.adversary is not None:
            plain["adversary"] = self.adversary.as_dict()
        plain["defences"] = {name: asdict(term) for name, term in self.defences.items()}  # type: ignore[call-overload]
        return {key: value for key, value in plain.items() if value not in (None, {})}

    @property
    def fingerprint(self) -> str:
        """Hash of everything in the recipe."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()[:16]


_SECTIONS: dict[str, Any] = {
    "data": Data,
    "training": Training,
    "adversary": Adversary,
    "certified": Certified,
    "multilevel": Multilevel,
    "card": Card,
}


def read_recipe(path: str | Path) -> Recipe:
    """Read a TOML file.

    Raises:
        InvalidInput: not there, not TOML, or not a recipe; names the key.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path}: not a TOML file ({error})") from error
    try:
        return recipe_from(read_toml(text))
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from error


def recipe_from(table: dict[str, Any]) -> Recipe:
    """A recipe from plain values.

    Raises:
        InvalidInput: a key or value that makes no sense.
    """
    known = ["name", "architecture", "defences", *_SECTIONS]
    for key in table:
        if key not in known:
            raise InvalidInput(f"a recipe has no key '{key}': choose {', '.join(known)}")
    architecture = _table(table.get("architecture"), "[architecture]")
    if not isinstance(architecture.get("name"), str):
        raise InvalidInput("a recipe needs [architecture] with a name")
    options = {key: value for key, value in architecture.items() if key != "name"}
    parts: dict[str, Any] = {
        key: _section(kind, table[key], f"[{key}]") for key, kind in _SECTIONS.items() if key in table
    }
    defences = {}
    for name, values in _table(table.get("defences", {}), "[defences]").items():
        if name not in DEFENCES:
            raise no_such("defence", name, DEFENCES)
        defences[name] = _section(defence_type(name), values, f"[defences.{name}]")
        if defences[name].weight < 0:
            raise InvalidInput(f"[defences.{name}] weight must be at least 0")
    return Recipe(Architecture(architecture["name"], options), str(table.get("name", "")), defences=defences, **parts)


def _table(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidInput(f"a recipe needs {where} as a table")
    return value


def _section(kind: type[T], values: Any, where: str) -> T:
    """A dataclass from a table, every key and type checked."""
    hints = typing.get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    chosen = {}
    for key, value in _table(values, where).items():
        if key not in known:
            raise InvalidInput(f"{where} has no key '{key}': choose {', '.join(known)}")
        chosen[key] = _value(hints[key], value, f"{where} {key}")
    for name, f in known.items():
        if name not in chosen and f.default is MISSING and f.default_factory is MISSING:
            raise InvalidInput(f"{where} needs {name}")
    return kind(**chosen)


def _value(kind: Any, value: Any, where: str) -> Any:
    if kind is float and type(value) in (int, float):
        return float(value)
    if isinstance(kind, types.GenericAlias) and isinstance(value, list | tuple):
        return tuple(_value(float, item, where) for item in value)
    if not isinstance(kind, types.GenericAlias) and type(value) is kind:
        return value
    wanted = "list of numbers" if isinstance(kind, types.GenericAlias) else kind.__name__
    raise InvalidInput(f"{where} must be of type {wanted}, got {value!r}")
