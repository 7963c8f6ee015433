"""The work of `geometry`: how the decision boundaries of several networks run, as numbers and figures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from advverify.models.geometry.study import Options as Measured
from advverify.models.geometry.study import study
from advverify.verifier.errors import InvalidInput
from advverify.verifier.network.evaluate import evaluate
from advverify.verifier.outcome import finite, html_table
from advverify.verifier.specification.threat import whole_number

from .options import writable_folder
from .progress import Progress
from .report import geometry_figures
from .report.figures import require_report
from .subjects import Given, named, subjects_of

_MOST_INPUTS = 1024


@dataclass(frozen=True)
class Options:
    """Options of `geometry`, by the names that they have on the command line and in Python.

    Attributes:
        h: step of finite differences, as a share of the median distance.
        seed: of random directions.
        out: folder for the figures and their data.
    """

    h: float = 0.5
    seed: int = 0
    out: Path | None = None

    def __post_init__(self) -> None:
        """Check the options, and make the folder.

        Raises:
            InvalidInput: names the option.
        """
        if isinstance(self.h, bool) or not isinstance(self.h, int | float) or not 0 < self.h < math.inf:
            raise InvalidInput(f"h must be a number above 0, got {self.h!r}")
        if whole_number("seed", self.seed) < 0:
            raise InvalidInput(f"seed must be a whole number from 0, got {self.seed}")
        if self.out is not None:
            require_report()
            object.__setattr__(self, "out", writable_folder(self.out, "out"))


class Geometry(Mapping[str, dict[str, Any]]):
    """What was measured of each network's boundary, by its name.

    A study holds `images`, `median_distance`, `subspace`, `noise_ratio`, `curvature`, `profile`, `singular`, `fooling` and
    `sections`; `rows` has what is quoted of them.
    """

    def __init__(self, studies: Mapping[str, dict[str, Any]]) -> None:
        """Keep the studies."""
        self._studies = dict(studies)

    def __getitem__(self, name: str) -> dict[str, Any]:
        return self._studies[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._studies)

    def __len__(self) -> int:
        """Number of networks."""
        return len(self._studies)

    def rows(self) -> list[dict[str, Any]]:
        """One row a network: the numbers of the table; None for what is not known."""
        rows = []
        for name, each in self.items():
            law = each["subspace"]
            middle = law["median"][law["dimensions"].index(8)] if 8 in law["dimensions"] else law["median"][-1]
            rows.append(
                {
                    "network": name,
                    "images": each["images"],
                    "median l2 distance": each["median_distance"],
                    "subspace law (m = 8)": middle,
                    "random line / distance": each["noise_ratio"],
                    "curvature: random": each["curvature"]["random"],
                    "other normals": each["curvature"]["other normals"],
                    "largest in profile": max(each["profile"]),
                    "h": each["h"],
                }
            )
        return rows

    def to_json(self) -> str:
        """One line of JSON with all of the studies; what is not known is null."""
        return json.dumps(finite(self._studies), allow_nan=False)

    def write(self, out: str | Path) -> Path:
        """Draw the figures into a folder, and put the data beside them. Returns the folder.

        Raises:
            InvalidInput: matplotlib is not installed, or the folder cannot be written to.
        """
        require_report()
        folder = writable_folder(Path(out), "out")
        try:
            geometry_figures.subspace_law(self._studies, folder / "subspaces.png")
            geometry_figures.spectra(self._studies, folder / "spectra.png")
            geometry_figures.fooling(self._studies, folder / "fooling.png")
            for k, (name, each) in enumerate(self.items()):
                geometry_figures.sections(each, name, folder / f"sections-{k}.png")
            (folder / "geometry.json").write_text(self.to_json() + "\n")
        except OSError as error:
            raise InvalidInput(f"out {out}: cannot be written ({error.strerror or error})") from error
        return folder

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
        subjects_of(replace(given, models={name: model}), "geometry", "0:60", say)
        for name, model in named(given.models).items()
    ]  # each on data of its own, where its card names them
    for (subject,), _, indices in opened:
        size = subject.model.network.input_size
        if size > _MOST_INPUTS:
            raise InvalidInput(f"{subject.name}: Hessians of {size} inputs are too large; at most {_MOST_INPUTS}")
        if int(subject.right[list(indices)].sum()) < 2:
            raise InvalidInput(f"{subject.name}: fewer than two of these images are classified rightly")
    studies: dict[str, dict[str, Any]] = {}
    with Progress(len(opened), "networks", quiet=not progress) as shown:
        for (subject,), data, indices in opened:
            shown.doing(subject.name)
            right = [i for i in indices if subject.right[i]]
            studies[subject.name] = study(
                lambda p, network=subject.model.network: evaluate(network, p),  # type: ignore[misc]
                torch.from_numpy(data.images[right].reshape(len(right), -1)),
                torch.from_numpy(data.labels[right]),
                Measured(h=options.h, seed=options.seed),
            )
            shown.settle(subject.name)
    result = Geometry(studies)
    if options.out is not None:
        result.write(options.out)
    return result
