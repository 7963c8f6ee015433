"""A call of the library as a value: sent to another process, kept under its key, answered there by `certify` and its like."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Literal

import numpy as np

from .api import Model, certify, certify_all, distance, verify
from .engines import Settings
from .errors import InvalidInput
from .key import content_key
from .outcome import Bracket, Outcome, Trust, Verdict
from .specification import Threat

Command = Literal["certify", "distance", "verify"]


@dataclass(frozen=True, eq=False)
class Request:
    """A request says what is to be called, about which model, with what.

    Attributes:
        command: the function of `api`.
        path: of the model.
        sha256: of the model; another file at the path is refused.
        threat: of `certify` and `distance`; of a property its `float32` alone.
        image: of `certify` and `distance`.
        label: of the image.
        exact_margin: of `certify`.
        property_path: of `verify`.
        property_sha256: hash of the property file.
        settings: limits and options.
        engines: names of the engines to use; all where none are given.
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

    @property
    def key(self) -> str:
        """Content key: all that an answer depends on; no paths, threads or devices (see `key`)."""
        parts = {"command": self.command, "model": self.sha256, "threat": self.threat.to_dict(), "label": self.label}
        parts |= {"exact_margin": self.exact_margin, "property": self.property_sha256, "engines": list(self.engines)}
        parts |= {name: getattr(self.settings, name) for name in ("timeout", "gap", "seed")}
        parts |= {f"milp_{name}": value for name, value in asdict(self.settings.milp).items()}
        return content_key(parts, *(() if self.image is None else (self.image,)))

    @property
    def seconds(self) -> float:
        """How long an answer may take: the time limit, and the proof's where one is asked for."""
        limit, proof = self.settings.timeout, self.settings.proof_seconds
        return limit + ((limit if proof is None else proof) if self.settings.proofs is not None else 0.0)

    def answer(self) -> Outcome:
        """What the function says.

        Raises:
            InvalidInput: the file has changed, or an argument makes no sense.
        """
        model = model_of(self.path)
        if model.network.sha256 != self.sha256:
            raise InvalidInput(f"{self.path}: the file has changed since this was asked; ask again")
        settings, engines = self.settings, self.engines
        if self.command == "verify":
            return verify(model, self.property_path, float32=self.threat.float32, settings=settings, engines=engines)
        assert self.image is not None
        if self.command == "distance":
            return distance(model, self.image, self.label, self.threat, settings=settings, engines=engines)
        exact = self.exact_margin
        return certify(
            model, self.image, self.label, self.threat, exact_margin=exact, settings=settings, engines=engines
        )

    def unanswered(self, reason: str) -> Outcome:
        """`unknown`, and why: nobody could say anything."""
        labels = {} if self.command == "verify" else {"label": self.label, **self.threat.to_dict()}
        bracket = Bracket(0.0 if self.command == "distance" else -math.inf, math.inf)
        return Outcome(Verdict.UNKNOWN, bracket, Trust.SOLVER, "", 0.0, (), reason, labels)


def answer_all(requests: Sequence[Request], rest: bool) -> Iterator[tuple[int, Outcome]]:
    """Answers to requests that differ in image and label alone, where the library has a function for many of them.

    Yields:
        Position of a request and its answer: of all of them with `rest`, else of those that are settled in batches; of none
        where there is no such function.
    """
    if not requests or requests[0].command != "certify":
        return
    first = requests[0]
    images = [request.image for request in requests if request.image is not None]
    labels = [request.label for request in requests]
    yield from certify_all(
        model_of(first.path),
        images,
        labels,
        first.threat,
        exact_margin=first.exact_margin,
        settings=first.settings,
        engines=first.engines,
        rest=rest,
    )


@lru_cache(maxsize=8)
def model_of(path: str) -> Model:
    """The model of a path, read once a process."""
    return Model(path)
