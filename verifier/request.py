"""A call of the library as a value: sent to another process, kept under its key, answered there by `certify` and its like."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .api import Model, certify, certify_all, distance, verify
from .engines import Settings
from .errors import ChangedFile
from .key import content_key
from .outcome import Bracket, Outcome, TraceEvent, Trust, Verdict
from .specification import Threat

Command = Literal["certify", "distance", "verify", "attack"]


@dataclass(frozen=True, eq=False)
class Request:
    """A request says what is to be called, about which model, with what.

    Attributes:
        command: the function of `api`, or an attack's `attack_all`.
        path: of the model.
        sha256: of the model; another file at the path is refused.
        threat: of all but `verify`; of a property its `float32` alone.
        image: of all but `verify`.
        label: of the image.
        exact_margin: of `certify`.
        property_path: of `verify`.
        property_sha256: hash of the property file.
        settings: limits and options.
        engines: names of the engines to use; all where none are given.
        attack: the name of the attack of `attack`.
        loss: that it descends.
    """

    command: Command
    path: str
    sha256: str
    threat: Threat = Threat()
    image: np.ndarray | None = None
    label: int = -1
    exact_margin: bool = False
    property_path: str = ""
    property_sha256: str = ""
    settings: Settings = field(default_factory=Settings)
    engines: tuple[str, ...] = ()
    attack: str = ""
    loss: str = ""

    @property
    def key(self) -> str:
        """Content key: all that an answer depends on; no paths, threads or devices (see `key`).

        The time limit is not part of it, since what was settled within any time is settled: whoever keeps answers asks
        again what an earlier limit has left open (`Outcome.is_settled`).
        """
        parts = {"command": self.command, "model": self.sha256, "threat": self.threat.to_dict(), "label": self.label}
        parts |= {"exact_margin": self.exact_margin, "property": self.property_sha256, "engines": list(self.engines)}
        parts |= {name: getattr(self.settings, name) for name in ("gap", "seed")}
        parts |= {f"milp_{name}": value for name, value in vars(self.settings.milp).items()}
        if self.command == "attack":
            parts |= {"attack": self.attack, "loss": self.loss}
        return content_key(parts, *(() if self.image is None else (self.image,)))

    @property
    def seconds(self) -> float:
        """How long an answer may take: the time limit, and the proof's where one is asked for."""
        limit, proof = self.settings.timeout, self.settings.proof_seconds
        return limit + ((limit if proof is None else proof) if self.settings.proofs is not None else 0.0)

    def read(self) -> Model:
        """The model, read once a process.

        Raises:
            ChangedFile: it, or the property, is not what this was asked about.
            InvalidModel: it cannot be read.
        """
        model = model_of(self.path)
        if model.network.sha256 != self.sha256:
            raise _changed(self.path)
        if self.property_sha256 and file_sha256(self.property_path) != self.property_sha256:
            raise _changed(self.property_path)
        return model

    def answer(self, listener: Callable[[TraceEvent], None] | None = None) -> Outcome:
        """What the function says; `listener` hears every move of the bracket.

        Raises:
            ChangedFile: the model or the property is not what this was asked about.
            InvalidInput: an argument makes no sense.
        """
        model = self.read()
        if self.command == "verify":
            return verify(
                model,
                self.property_path,
                float32=self.threat.float32,
                settings=self.settings,
                engines=self.engines,
                listener=listener,
            )
        assert self.image is not None
        if self.command == "attack":
            from .attacking import attack_all

            (outcome,) = attack_all(
                model, [self.image], [self.label], self.threat, self.attack, self.loss, self.settings.seed
            )
            return outcome
        limits: dict[str, Any] = {"settings": self.settings, "engines": self.engines, "listener": listener}
        if self.command == "distance":
            return distance(model, self.image, self.label, self.threat, **limits)
        return certify(model, self.image, self.label, self.threat, exact_margin=self.exact_margin, **limits)

    def unanswered(self, reason: str) -> Outcome:
        """`unknown`, and why: nobody could say anything."""
        labels = {} if self.command == "verify" else {"label": self.label, **self.threat.to_dict()}
        bracket = Bracket(0.0 if self.command in ("distance", "attack") else -math.inf, math.inf)
        return Outcome(Verdict.UNKNOWN, bracket, Trust.SOLVER, "", 0.0, (), reason, labels)


def answer_all(
    requests: Sequence[Request], rest: bool, hear: Callable[[int, TraceEvent], None] | None = None
) -> Iterator[tuple[int, Outcome]]:
    """Answers to requests that differ in image and label alone, where the library has a function for many of them.

    Args:
        requests: what is asked.
        rest: whether those follow that batches do not settle.
        hear: as `listener` of `certify_all`.

    Yields:
        Position of a request and its answer: of all of them with `rest`, else of those that are settled in batches; of none
        where there is no such function.
    """
    if not requests or requests[0].command != "certify":
        return
    first = requests[0]
    model = first.read()
    images = [request.image for request in requests if request.image is not None]
    labels = [request.label for request in requests]
    yield from certify_all(
        model,
        images,
        labels,
        first.threat,
        exact_margin=first.exact_margin,
        settings=first.settings,
        engines=first.engines,
        rest=rest,
        listener=hear,
    )


def file_sha256(path: str | Path) -> str:
    """Hash of a file's content.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _changed(path: str) -> ChangedFile:
    return ChangedFile(f"{path}: the file has changed since this was asked; ask again")


def model_of(path: str) -> Model:
    """The model of a path, read once a process for as long as the file stays what it is."""
    try:
        stat = Path(path).stat()
    except OSError:
        return Model(path)  # which says what is wrong with it
    return _model_of(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=8)
def _model_of(path: str, stamp: tuple[int, int, int]) -> Model:
    return Model(path)
