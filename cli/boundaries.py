"""The work of `geometry`: how the decision boundaries of several networks run, as numbers and figures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from advverify.models.datasets import Dataset
from advverify.models.geometry.study import Options as Measured
from advverify.models.geometry.study import study
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.outcome import finite, html_table
from advverify.verifier.specification.threat import whole_number

from .places import is_page, writable_page_or_folder
from .progress import Progress
from .report.figures import require_report
from .report.geometry_page import numbers, write_folder, write_page
from .subjects import Given, named, subjects_of

_MOST_INPUTS, _USUAL = 1024, "0:60"


@dataclass(frozen=True)
class Options:
    """Options of `geometry`, by the names that they have on the command line and in Python.

    Attributes:
        h: step of finite differences, as a share of the median distance.
        length: l2 length of the perturbations that all images share; twice the median distance of the first network where None.
        seed: of random directions.
        out: folder for the page, its figures and their data; or a name that ends in .html, for the page alone.
    """

    h: float = 0.5
    length: float | None = None
    seed: int = 0
    out: Path | None = None

    def __post_init__(self) -> None:
        """Check the options, and make the folder.

        Raises:
            InvalidInput: names the option.
        """
        for name, value in (("h", self.h), ("length", 1.0 if self.length is None else self.length)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
                raise InvalidInput(f"{name} must be a number above 0, got {value!r}")
        if whole_number("seed", self.seed) < 0:
            raise InvalidInput(f"seed must be a whole number from 0, got {self.seed}")
        if self.out is not None:
            require_report()
            object.__setattr__(self, "out", writable_page_or_folder(self.out, "out"))


class Geometry(Mapping[str, dict[str, Any]]):
    """What was measured of each network's boundary, by its name.

    A study holds `images`, `median_distance`, `subspace`, `noise_ratio`, `curvature`, `profile`, `singular`, `fooling` and
    `sections`; `rows` has what is quoted of them.
    """

    def __init__(self, studies: Mapping[str, dict[str, Any]], asked: Mapping[str, str]) -> None:
        """Keep the studies, and what was asked for, by the names that readers of a page are shown."""
        self._studies, self._asked = dict(studies), dict(asked)

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self._studies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._studies)

    def __len__(self) -> int:
        """Number of networks."""
        return len(self._studies)

    def rows(self) -> list[dict[str, Any]]:
        """One row a network: the numbers of the table; None for what is not known."""
        return numbers(self._studies)

    def to_json(self) -> str:
        """One line of JSON with all of the studies; what is not known is null."""
        return json.dumps(finite(self._studies), allow_nan=False)

    def write(self, out: str | Path) -> Path:
        """Write page, figures and data to a folder, or the page alone to a name that ends in .html. Returns the page's file.

        Raises:
            InvalidInput: matplotlib is not installed, or it cannot be written.
        """
        require_report()
        path = writable_page_or_folder(Path(out), "out")
        write = write_page if is_page(path) else write_folder
        return write(self._studies, path, self._asked)

    def __repr__(self) -> str:
        """Return the networks and their median distances."""
        known = ", ".join(f"{name}, median l2 distance {each['median_distance']:.4g}" for name, each in self.items())
        return f"<Geometry of {known}>"

    def _repr_html_(self) -> str:
        """Return the table, for notebooks."""
        return html_table(self.rows())


def run(given: Given, options: Options, say: Callable[[str], None], progress: bool = False) -> Geometry:
    """Measure the boundaries from the images that each network classifies rightly.

    Args:
        given: networks and images.
        options: what to measure.
        say: hears what was decided and not stated.
        progress: whether a terminal shows how far it is.

    Raises:
        InvalidInput: networks or images that do not fit, or fewer than two images that are classified rightly.
    """
    torch.set_num_threads(1)  # for small matrices a second one costs more than it brings, much more on a busy machine
    opened = [
        subjects_of(replace(given, models={name: model}), "geometry", _USUAL, say)
        for name, model in named(given.models).items()
    ]  # each on data of its own, where its card names them
    for (subject,), _, indices in opened:
        size = subject.model.network.input_size
        if size > _MOST_INPUTS:
            raise InvalidInput(f"{subject.name}: Hessians of {size} inputs are too large; at most {_MOST_INPUTS}")
        if int(subject.right[list(indices)].sum()) < 2:
            raise InvalidInput(f"{subject.name}: fewer than two of these images are classified rightly")
    studies: dict[str, dict[str, Any]] = {}
    length = options.length
    with Progress(len(opened), "networks", quiet=not progress) as shown:
        for (subject,), data, indices in opened:
            shown.doing(subject.name)
            right = [i for i in indices if subject.right[i]]
            found = study(
                lambda p, network=subject.model.network: evaluate(network, p),  # type: ignore[misc]
                torch.from_numpy(data.images[right].reshape(len(right), -1)),
                torch.from_numpy(data.labels[right]),
                Measured(h=options.h, seed=options.seed, length=length),
            )
            length = found["xi"]  # perturbations of one length, or networks could not be compared
            for section in found["sections"]:
                section["image"] = right[section["image"]]
            studies[subject.name] = found
            shown.settle(subject.name)
    result = Geometry(studies, _asked(given, options, opened[-1][1]))
    if options.out is not None:
        result.write(options.out)
    return result


def _asked(given: Given, options: Options, data: Dataset) -> dict[str, str]:
    """Options of the call, by the names that readers are shown."""
    images = f"{given.images or _USUAL} of {data.name}" if given.x is None else f"{len(data)} images given"
    return {
        "images": f"{images}, those that a network classifies rightly",
        "norm": "2 (l2)",
        "step h": f"{options.h:g} of the median distance",
        "seed": str(options.seed),
    }
