"""Sections [[queries]] of job files: networks x data sets x norms x radii x seeds (x attacks), a query for each image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from ..api import Model
from ..attacking import check_attack
from ..engines import Settings
from ..errors import InvalidInput
from ..request import Command, Request, file_sha256
from ..specification import Threat
from .entries import (
    CLASS,
    MILP,
    NAMES,
    NORM,
    RADIUS,
    RANGE,
    SEARCH,
    TEXT,
    YES_NO,
    Entry,
    Faults,
    check_entries,
    engines_of,
    list_of,
    settings_of,
)
from .sources import Images, Sources, readable
from .task import Task, task_of

_ENTRIES = {
    "models": NAMES,
    "data": Entry("a name or a list of names", lambda value: TEXT.fits(value) or NAMES.fits(value)),
    "images": TEXT,
    "norms": list_of(NORM, "norms"),
    "eps": list_of(RADIUS, "numbers >= 0"),
    "distance": YES_NO,
    "exact_margin": YES_NO,
    "target": CLASS,
    "margin": RADIUS,
    "valid_range": RANGE,
    "bytes": Entry("'raw' or 'unit'", lambda value: value in ("raw", "unit")),
    "tie_channels": YES_NO,
    "attacks": NAMES,
    "loss": TEXT,
    **SEARCH,
}
# What attacks do not know.
_PROOFS_OF = ("exact_margin", "margin", "valid_range", "tie_channels", "float32", "engines", "proofs", "gap", *MILP)


class _Asked(NamedTuple):
    """What a section asks of every image."""

    threats: list[Threat]
    settings: list[Settings]
    engines: tuple[str, ...]
    attacks: list[str]
    loss: str


def image_tasks(
    section: Mapping[str, Any], base: Mapping[str, Any], folder: Path, sources: Sources, faults: Faults, where: str
) -> Iterator[Task]:
    """The tasks of a section; what is wrong with it becomes faults."""
    if not check_entries(section, _ENTRIES, faults, where):
        return
    asked: _Asked | None = None
    with faults.at(where):
        threats, settings = _threats(section), settings_of(section, base, folder)
        asked = _Asked(threats, settings, engines_of(section), *_attacks(section, threats))
    names = section.get("data")
    for name in section.get("models", ()) if asked is not None else ():
        for data in [names] if names is None or isinstance(names, str) else names:
            with faults.at(where):
                path = sources.model(name, folder)
                yield from _of_model(section, name, path, _data(section, data, path, name, sources), asked, sources)


def _threats(section: Mapping[str, Any]) -> list[Threat]:
    """What counts as adversarial, for every norm and radius.

    Raises:
        InvalidInput: neither radii nor distances are asked for, or both.
    """
    if "models" not in section:
        raise InvalidInput("needs models")
    distance, radii = section.get("distance", False), section.get("eps", [])
    if distance == bool(radii):
        raise InvalidInput("needs eps (a list of radii) or distance = true, one of the two")
    if distance and section.get("exact_margin", False):
        raise InvalidInput("exact_margin is for radii, not for distances")
    about = {name: section[name] for name in ("target", "margin", "float32") if name in section}
    valid = tuple(section.get("valid_range", (0.0, 1.0)))
    norms = [str(norm) for norm in section.get("norms", ["inf"])]
    return [Threat(norm, eps, valid_range=valid, **about) for norm in norms for eps in ([None] if distance else radii)]


def _attacks(section: Mapping[str, Any], threats: list[Threat]) -> tuple[list[str], str]:
    """The attacks of a section that asks for attacks rather than for proofs, and their loss.

    Raises:
        InvalidInput: an attack that there is not, or an entry that attacks do not know.
    """
    attacks, loss = section.get("attacks", []), section.get("loss", "margin")
    for name, threat in product(attacks, threats):
        check_attack(name, loss, threat)
    if "loss" in section and not attacks:
        raise InvalidInput("loss is for attacks: name some, or leave loss out")
    for name in _PROOFS_OF if attacks else ():
        if name in section:
            raise InvalidInput(f"attacks know no {name}: leave it out, or ask for attacks in a section of their own")
    return attacks, loss


def _data(
    section: Mapping[str, Any], data: str | None, path: Path, name: str, sources: Sources
) -> tuple[str, Images, Model | None]:
    """A data set in the order of a network's inputs, under its name; the network's own where the section names none.

    Raises:
        InvalidInput: there is none, or its images do not fit.
    """
    model = readable(path)
    chosen = data or (None if model is None else dict(model.network.metadata).get("data"))
    if chosen is None:
        raise InvalidInput(f"needs data: {name} names none")
    low, high = section.get("valid_range", (0.0, 1.0))
    images = sources.data(chosen, (float(low), float(high)), section.get("bytes"))
    if model is not None:
        if images.images[0].size != model.network.input_size:
            raise InvalidInput(
                f"{name} takes {model.network.input_size} values, images of {chosen} have {images.images[0].size}"
            )
        images = images.fitted(model.network.input_shape)
    return chosen, images, model


def _of_model(
    section: Mapping[str, Any],
    name: str,
    path: Path,
    data: tuple[str, Images, Model | None],
    asked: _Asked,
    sources: Sources,
) -> Iterator[Task]:
    """A task for every threat, every seed and every image.

    Raises:
        InvalidInput: an image outside the valid range, a class that does not exist.
    """
    (chosen, images, model), threats = data, asked.threats
    indices = sources.images(section.get("images", f"0:{len(images.labels)}"), len(images.labels))
    target, (low, high) = section.get("target"), threats[0].valid_range
    kept = [i for i in indices if target is None or images.labels[i] != target]
    if not kept:
        raise InvalidInput(f"target {target} is the label of every one of these images; choose another class")
    for i in kept:
        least, most = float(images.images[i].min()), float(images.images[i].max())
        if least < low or most > high:
            raise InvalidInput(
                f"image {i} of {chosen} has values from {least:g} to {most:g}, outside the valid range [{low:g}, {high:g}]; "
                "give another valid_range, or scale the images"
            )
    sha256, size = file_sha256(path) if model is None else model.network.sha256, 1.0
    if model is not None:
        size = model.network.relu_count * 1e-3
        classes = max(model.network.output_size, 2)
        if target is not None and target >= classes:
            raise InvalidInput(f"target {target}: {name} has the classes 0 to {classes - 1}")
        if section.get("tie_channels", False):
            threats = [replace(threat, channels=model.channels()) for threat in threats]
    command: Command = "distance" if section.get("distance", False) else "certify"
    if asked.attacks:
        command = "attack"
    for threat, settings, attack, i in product(threats, asked.settings, asked.attacks or [""], kept):
        request = Request(
            command,
            str(path),
            sha256,
            threat,
            images.images[i],
            int(images.labels[i]),
            exact_margin=section.get("exact_margin", False),
            settings=settings,
            engines=asked.engines,
            attack=attack,
            loss=asked.loss if attack else "",
        )
        expected = size * (2.0 if command == "distance" else 1.0) * (4.0 if threat.norm == "2" else 1.0)
        yield task_of(request, name, chosen, str(i), expected, images.units)
