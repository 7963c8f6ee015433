"""A question as it was read: a model, images with labels, options; and its answers, in this process or from several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from advverify.verifier import api
from advverify.verifier.answers import Hear, answers_to_many
from advverify.verifier.api import Interrupted, Model, Threat
from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Bracket, Outcome, Trust, Verdict
from advverify.verifier.query import Objective
from advverify.verifier.request import Request, answer_all

from .images import BytesAs, ImageLike, Images, read_images, takes_shape
from .opening import ModelLike, open_model, outputs_of
from .options import Asked, Command, read_options


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked, with everything read."""

    command: Command
    model: Model
    images: Images
    labels: tuple[int, ...]
    asked: Asked

    def answer(self, position: int, hear: Hear | None = None) -> Outcome:
        """The outcome of one image."""
        image, label, asked = self.images.values[position], self.labels[position], self.asked
        listener = asked.listener if hear is None else partial(hear, position)
        limits: dict[str, Any] = {"settings": asked.settings, "engines": asked.engines, "listener": listener}
        try:
            if self.command == "distance":
                outcome = api.distance(self.model, image, label, asked.threat, **limits)
            else:
                outcome = api.certify(self.model, image, label, asked.threat, exact_margin=asked.exact_margin, **limits)
        except Interrupted as stop:
            raise Interrupted(self.shaped(stop.outcome)) from stop
        return self.shaped(outcome)

    def answers(self, rest: bool = True, hear: Hear | None = None) -> Iterator[tuple[int, Outcome]]:
        """(position, outcome) as they come; `hear` hears positions and moves of brackets meanwhile."""
        if self.asked.jobs > 1:
            yield from self._answers_of_processes(rest, hear)
            return
        if self.command == "distance":
            for position in range(len(self.images)):
                yield position, self.answer(position, hear)
            return
        asked = self.asked
        settled = api.certify_all(
            self.model,
            self.images.values,
            self.labels,
            asked.threat,
            exact_margin=asked.exact_margin,
            settings=asked.settings,
            engines=asked.engines,
            rest=rest,
            listener=hear,
        )
        for position, outcome in settled:
            yield position, self.shaped(outcome)

    def _answers_of_processes(self, rest: bool, hear: Hear | None) -> Iterator[tuple[int, Outcome]]:
        asked, network = self.asked, self.model.network
        common = (str(self.model.path), network.sha256, asked.threat)
        requests = [
            Request(
                "distance" if self.command == "distance" else "certify",
                *common,
                image,
                label,
                exact_margin=asked.exact_margin,
                settings=asked.settings,
                engines=asked.engines,
            )
            for image, label in zip(self.images.values, self.labels, strict=True)
        ]
        found = answers_to_many(requests, asked.jobs, hear) if rest else answer_all(requests, rest=False)
        for position, outcome in found:
            yield position, self.shaped(outcome)

    def shaped(self, outcome: Outcome) -> Outcome:
        """The outcome with the shape of the image."""
        return replace(outcome, shape=self.images.shape)

    def unanswered(self, position: int) -> Outcome:
        """What is said of an image whose turn did not come."""
        far = self.command == "distance"
        bracket, reason = Bracket(0.0 if far else -np.inf, np.inf), "interrupted before its turn"
        labels = {"label": self.labels[position], **self.asked.threat.to_dict()} | (
            {"objective": Objective.MIN_DISTORTION.value} if far else {}
        )
        return Outcome(Verdict.UNKNOWN, bracket, Trust.SOLVER, "", 0.0, (), reason, labels, shape=self.images.shape)


def read_model_and_images(
    model: ModelLike, x: ImageLike, y: Any, bytes_as: BytesAs | None = None, folder: Path | None = None
) -> tuple[Model, Images]:
    """A model and the images that it is asked about; a module is exported for their shape and compared on them.

    Raises:
        InvalidInput: as `open_model` and `read_images`; InvalidModel likewise.
    """
    if not isinstance(model, nn.Module):
        opened = open_model(model, None, folder)
        shape = opened.network.input_shape
        return opened, read_images(x, y, takes_shape(shape), bytes_as, shape)
    module = model

    def takes(batch: np.ndarray) -> str:
        try:
            outputs_of(module, batch)
        except InvalidInput as error:
            return str(error)
        return ""

    images = read_images(x, y, takes, bytes_as)
    return open_model(module, images.values, folder), images


def read_question(
    command: Command, model: ModelLike, x: ImageLike, y: Any, threat: Threat | None, options: dict[str, Any]
) -> Question:
    """Everything that a call was given, checked and read; options first, since that costs nothing.

    Raises:
        InvalidInput: as `certify`; InvalidModel and SolverUnavailable likewise.
    """
    asked = read_options(command, options, threat)
    opened, images = read_model_and_images(model, x, y, asked.bytes_as, asked.settings.proofs)
    if not images.single:
        images.check_range(asked.threat.valid_range)
    if asked.listener is not None and not images.single:
        raise InvalidInput("listener hears the bracket of one image, and x is a batch: give progress, or one image")
    if asked.jobs > 1 and images.single:
        raise InvalidInput("jobs is of a batch, and x is one image: give threads, or leave jobs out")
    if asked.jobs > 1 and opened.path is None:
        raise InvalidInput("jobs needs a model that has a file, and this network was built in memory: leave jobs out")
    if asked.progress and images.single:
        raise InvalidInput("progress is of a batch, and x is one image: give listener, or leave progress out")
    return Question(command, opened, images, images.labelled(opened.predict), asked)
