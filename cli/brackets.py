"""Distances of many images on one network, kept as they come: what comparisons and studies are made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from .results import ResultFile

if TYPE_CHECKING:
    from advverify.models.datasets import Dataset
    from advverify.verifier.engines import Settings
    from advverify.verifier.outcome import Outcome


def brackets_of(
    path: Path,
    data: Dataset,
    images: range,
    norm: str,
    settings: Settings,
    sink: ResultFile,
    *,
    engines: tuple[str, ...] = (),
    jobs: int = 1,
    listener: Callable[[Outcome], None] | None = None,
) -> list[Outcome]:
    """The outcome of each image: those that the file has already, and the others asked now and written to it.

    Args:
        path: of the network.
        data: test set.
        images: of it.
        norm: of the distance.
        settings: limits.
        sink: file of results.
        engines: names; all where none are given.
        jobs: images at a time.
        listener: hears of every new one.
    """
    from advverify.verifier.answers import answers
    from advverify.verifier.request import Request, model_of
    from advverify.verifier.specification import Threat

    model = model_of(str(path))
    requests = [
        Request(
            *("distance", str(path), model.network.sha256, Threat(norm), data.images[i], int(data.labels[i])),
            settings=settings,
            engines=engines,
        )
        for i in images
    ]
    keys = [request.key for request in requests]
    found = sink.known(keys, None)
    todo = [k for k in range(len(keys)) if k not in found]
    for place, outcome in answers([requests[k] for k in todo], jobs):
        k = todo[place]
        found[k] = outcome.labelled(model=path.stem, data=data.name, index=images[k], key=keys[k])
        sink.write(found[k])
        sink.done[keys[k]] = found[k]
        if listener is not None:
            listener(found[k])
    return [found[k] for k in range(len(keys))]
