"""Distances of many images, in processes, kept in a file where there is one: what comparisons and studies are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from advverify.models.datasets import Dataset
from advverify.verifier.answers import answers
from advverify.verifier.engines import Settings
from advverify.verifier.outcome import Outcome
from advverify.verifier.request import Request, model_of
from advverify.verifier.specification import Threat

from .progress import Progress
from .results import ResultFile
from .subjects import Subject

Hear = Callable[[int, Outcome], None]


@dataclass(frozen=True)
class Work:
    """How brackets of several networks are found.

    Attributes:
        threat: norm, and the largest radius of interest.
        settings: limits of each.
        jobs: so many at once, each in a process of its own.
        kept: a file of JSON lines that is gone on with, or None.
        progress: whether a terminal shows it.
        hear: called with place and outcome as they come; a place counts through the images of the first network, then of the
            second.
        say: hears what was found in the file.
    """

    threat: Threat
    settings: Settings
    jobs: int = 1
    kept: Path | None = None
    progress: bool = False
    hear: Hear | None = None
    say: Callable[[str], None] = lambda text: None

    def of(self, subjects: Sequence[Subject], data: Dataset, images: Sequence[Sequence[int]]) -> list[list[Outcome]]:
        """Brackets of every network on its images, in the order of the networks.

        Raises:
            InvalidInput: a file that cannot be written, or a network that has none.
            Interrupted: by Ctrl-C in this process; what was kept is there.
        """
        pairs = [(subject, i) for subject, own in zip(subjects, images, strict=True) for i in own]
        requests = [
            Request(
                "distance",
                s.path,
                s.model.network.sha256,
                self.threat,
                data.images[i],
                int(data.labels[i]),
                settings=self.settings,
            )
            for s, i in pairs
        ]
        keys = [request.key for request in requests]
        sink = None if self.kept is None else ResultFile(self.kept)
        done = {} if sink is None else sink.known(keys, self.settings)
        if done and self.kept is not None:
            self.say(f"{len(done)} of {len(requests)} brackets are in {self.kept.parent} already")
        todo = [k for k in range(len(requests)) if k not in done]

        def name(k: int) -> str:
            subject, image = pairs[todo[k]]
            return f"{subject.name}, image {image}"

        shown = Progress(
            len(todo), "brackets", name, limit=self.settings.timeout, jobs=self.jobs, quiet=not self.progress
        )
        try:
            with shown:
                for k, outcome in answers([requests[i] for i in todo], self.jobs, shown.hear):
                    subject, image = pairs[todo[k]]
                    labels = {"model": subject.name, "data": data.name, "index": image, "key": keys[todo[k]]}
                    found = outcome.labelled(**labels, timeout=self.settings.timeout, gap=self.settings.gap)
                    done[todo[k]] = found
                    if sink is not None:
                        sink.write(found)
                    shown.settle(k, found)
                    if self.hear is not None:
                        self.hear(todo[k], found)
        finally:
            if sink is not None:
                sink.close()
        return _split([done[k] for k in range(len(pairs))], images)


def _split(outcomes: Sequence[Outcome], images: Sequence[Sequence[int]]) -> list[list[Outcome]]:
    """One list a network."""
    left = iter(outcomes)
    return [[next(left) for _ in own] for own in images]


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
    """The outcome of each image on one network: those that the file has already, and the others asked now and written to it.

    Args:
        path: of the network.
        data: test set.
        images: of it.
        norm: of the distance.
        settings: limits.
        sink: file of results, which stays open: other networks may follow.
        engines: names; all where none are given.
        jobs: images at a time.
        listener: hears of every new one.
    """
    model = model_of(str(path))
    requests = [
        Request(
            "distance",
            str(path),
            model.network.sha256,
            Threat(norm),
            data.images[i],
            int(data.labels[i]),
            settings=settings,
            engines=engines,
        )
        for i in images
    ]
    keys = [request.key for request in requests]
    found = sink.known(keys, settings)
    todo = [k for k in range(len(keys)) if k not in found]
    for place, outcome in answers([requests[k] for k in todo], jobs):
        k = todo[place]
        labels = {"model": path.stem, "data": data.name, "index": images[k], "key": keys[k]}
        found[k] = outcome.labelled(**labels, timeout=settings.timeout, gap=settings.gap)
        sink.write(found[k])
        sink.done[keys[k]] = found[k]
        if listener is not None:
            listener(found[k])
    return [found[k] for k in range(len(keys))]
