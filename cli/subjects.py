"""Several networks on one set of images: how `compare`, `geometry` and `study` name, open and feed them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from torch import nn

from advverify.models.datasets import Dataset
from advverify.verifier.api import Model
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import predict
from advverify.verifier.network.nodes import Network
from advverify.verifier.request import model_of

from .options import data_for, images_from, model_path, several_outputs
from .python.images import BytesAs, ImageLike, LabelsLike, read_images, takes_shape
from .python.opening import ModelLike, open_model

ModelsLike: TypeAlias = ModelLike | Sequence[ModelLike] | Mapping[str, ModelLike]


@dataclass(frozen=True)
class Subject:
    """One network that is looked at beside others."""

    name: str
    model: Model
    right: np.ndarray  # (images of the data set,) Boolean

    @property
    def path(self) -> str:
        """Its file.

        Raises:
            InvalidInput: it was built in memory.
        """
        if self.model.path is None:
            raise InvalidInput(
                f"{self.name} was built in memory and has no file: give a module, an ONNX model or a path"
            )
        return str(self.model.path)

    @property
    def recipe(self) -> str:
        """The recipe without its seed; networks without a recipe stand for themselves."""
        card = dict(self.model.network.metadata)
        if "recipe" not in card:
            return self.name
        recipe = json.loads(card["recipe"])
        recipe.get("training", {}).pop("seed", None)
        return json.dumps(recipe, sort_keys=True)

    def group(self, others: Sequence[Subject]) -> str:
        """The recipe's name, with a number where another recipe has the same name."""
        own = dict(self.model.network.metadata).get("name") or self.name
        same = dict.fromkeys(s.recipe for s in others if (dict(s.model.network.metadata).get("name") or s.name) == own)
        return own if len(same) < 2 else f"{own} ({list(same).index(self.recipe) + 1})"


@dataclass(frozen=True)
class Given:
    """What a study of several networks is given, as it stands in the call.

    Attributes:
        models: networks; a mapping gives them names.
        x: images, or None for those of a data set.
        y: their labels.
        data: name of a data set; None for the one that the first network's card names.
        images: which of the data set, as on the command line.
        bytes_as: what images of uint8 become.
    """

    models: ModelsLike
    x: ImageLike | None = None
    y: LabelsLike | None = None
    data: str | None = None
    images: str | None = None
    bytes_as: BytesAs | None = None


def named(models: ModelsLike) -> dict[str, ModelLike]:
    """Networks by name: a mapping's own, paths and `zoo:NAME` as they are written, modules by their class.

    Raises:
        InvalidInput: none, or one twice.
    """
    if isinstance(models, Mapping):
        known: dict[str, ModelLike] = {str(name): model for name, model in models.items()}
    else:
        alone = isinstance(models, str | Path | Network | Model | nn.Module | onnx.ModelProto)
        several: list[Any] = [models] if alone else list(models)  # type: ignore[arg-type]
        known = {}
        for model in several:
            name, written = _name(model)
            if name in known and written:
                raise InvalidInput(f"{name}: the same network is named twice")
            number, first = 2, name
            while name in known:
                name, number = f"{first} {number}", number + 1
            known[name] = model
    if not known:
        raise InvalidInput("models holds no network")
    return known


def subjects_of(
    given: Given, command: str, usual: str, say: Callable[[str], None]
) -> tuple[list[Subject], Dataset, Sequence[int]]:
    """The networks, opened, on one data set, and the indices of the images asked about.

    Args:
        given: what the call was given.
        command: that asks, for messages.
        usual: images of a data set where none are named.
        say: hears what was decided and not stated.

    Raises:
        InvalidInput: data that do not fit one of the networks, images without labels, or both images and a data set.
    """
    models = named(given.models)
    _check_data(given, command)
    if given.x is not None:
        return _on_arrays(models, given, command)
    subjects: list[Subject] = []
    data: Dataset | None = None
    for name, model in models.items():
        opened = _opened(model, command)
        several_outputs(opened, name, command)
        data = data or data_for(opened, given.data, bytes_as=given.bytes_as, say=say)
        subjects.append(_subject(name, opened, data))
    assert data is not None
    indices = images_from(given.images or usual, len(data))
    data.check_range(indices)
    return subjects, data, indices


def _check_data(given: Given, command: str) -> None:
    if given.x is None:
        if given.y is not None or given.bytes_as is not None:
            raise InvalidInput("y and bytes_as belong to x: give images too, or the name of a data set alone")
        return
    if given.y is None:
        raise InvalidInput(f"{command} looks at images that are classified rightly, and needs their labels: give y")
    for name in ("data", "images"):
        if getattr(given, name) is not None:
            raise InvalidInput(f"x and {name} are both given: {name} is of a data set, and x holds the images")


def _on_arrays(
    models: Mapping[str, ModelLike], given: Given, command: str
) -> tuple[list[Subject], Dataset, Sequence[int]]:
    """Modules are compared with their exports on these images."""
    assert given.x is not None and given.y is not None
    images = read_images(given.x, given.y, lambda batch: "", given.bytes_as)
    if images.single or images.labels is None:
        raise InvalidInput(f"{command} takes a batch of images (N, ...) and a sequence of labels")
    data = Dataset("x", images.values, np.array(images.labels, dtype=np.int64))
    data.check_range(range(len(data)))
    subjects = []
    for name, model in models.items():
        opened = open_model(model, images.values if isinstance(model, nn.Module) else None)
        several_outputs(opened, name, command)
        if why := takes_shape(opened.network.input_shape)(images.values[:1]):
            raise InvalidInput(f"{name}: {why}")
        subjects.append(_subject(name, opened, data))
    return subjects, data, range(len(data))


def _opened(model: ModelLike, command: str) -> Model:
    if isinstance(model, str):
        return model_of(str(model_path(model)))
    if isinstance(model, nn.Module):
        raise InvalidInput(f"{command} exports a module for the images that it is given: give x and y")
    return open_model(model)


def _subject(name: str, model: Model, data: Dataset) -> Subject:
    if data.images[0].size != model.network.input_size:
        raise InvalidInput(
            f"{name} takes {model.network.input_size} values, images of {data.name} have {data.images[0].size}"
        )
    if data.fitted(model.network.input_shape) is not data:
        raise InvalidInput(f"{name} takes its inputs in another order (shape {list(model.network.input_shape)})")
    predicted = predict(model.network, torch.from_numpy(data.images.reshape(len(data), -1)))
    return Subject(name, model, predicted.numpy() == data.labels)


def _name(model: Any) -> tuple[str, bool]:
    """A name, and whether the user wrote it."""
    if isinstance(model, str | Path):
        return str(model), True
    if isinstance(model, Model) and model.path is not None:
        return model.path.stem, False
    return type(model).__name__, False
