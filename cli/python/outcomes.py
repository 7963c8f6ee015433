"""Outcomes of a batch, in its order: looked at, summed up, and handed on as tables and arrays."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np

from advverify.verifier.api import Model
from advverify.verifier.errors import InvalidInput, how_to_install
from advverify.verifier.outcome import Outcome, Verdict, html_table

from ..outcomes import summary
from ..saving import Gallery
from .words import translated

_SHOWN = 20  # rows of a notebook's table


class Outcomes(Sequence[Outcome]):
    """The outcomes of a batch, one an image, in order; a slice of them is one again.

    Example:
        >>> from advverify import certify
        >>> import numpy as np
        >>> outcomes = certify("zoo:digits-mlp", np.zeros((2, 1, 8, 8)), eps=0.2)
        >>> outcomes
        <Outcomes of 2 images: 2 adversarial>
        >>> outcomes.lower.shape
        (2,)

    Attributes:
        images: (N, ...) what was asked about, float64 in the model's units.
    """

    def __init__(self, outcomes: Sequence[Outcome], images: np.ndarray, model: Model | None = None) -> None:
        """Keep outcomes, their images, and the model that says what class adversarial examples are of."""
        self._outcomes, self.images, self._model = tuple(outcomes), images, model

    def __len__(self) -> int:
        """Number of images."""
        return len(self._outcomes)

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self._outcomes)

    @overload
    def __getitem__(self, index: int) -> Outcome: ...
    @overload
    def __getitem__(self, index: slice) -> Outcomes: ...
    def __getitem__(self, index: int | slice) -> Outcome | Outcomes:
        if isinstance(index, slice):
            return Outcomes(self._outcomes[index], self.images[index], self._model)
        return self._outcomes[index]

    @property
    def lower(self) -> np.ndarray:
        """Proved sides (N,) of the brackets."""
        return np.array([outcome.lower for outcome in self])

    @property
    def upper(self) -> np.ndarray:
        """Found sides (N,) of the brackets; inf where nothing was found."""
        return np.array([outcome.upper for outcome in self])

    @property
    def verdicts(self) -> list[Verdict]:
        """Verdicts, in order."""
        return [outcome.verdict for outcome in self]

    def __contains__(self, value: object) -> bool:
        """Whether an outcome has a verdict, a `Verdict` or its word; or, as in any sequence, is this outcome."""
        return self.count(value) > 0

    def count(self, value: Any) -> int:
        """How many outcomes have a verdict, a `Verdict` or its word; or, as in any sequence, are this outcome."""
        if isinstance(value, str):
            return sum(outcome.verdict == value for outcome in self)
        return self._outcomes.count(value)

    @property
    def is_distance(self) -> bool:
        """Whether the brackets are of distances; else they are of margins."""
        return any(outcome.is_distance for outcome in self)

    @property
    def adversarial(self) -> np.ndarray:
        """Adversarial examples (N, ...), NaN where none is known."""
        found = np.full(self.images.shape, np.nan)
        for k, outcome in enumerate(self):
            if outcome.adversarial is not None:
                found[k] = outcome.adversarial
        return found

    def summary(self, gap: float | None = None) -> str:
        """One line: verdicts, accuracies or distances as far as they are known, and seconds.

        Accuracies count images of every kind, misclassified ones included: attacked is what no adversarial example is known
        of, certified what is proved. Distances of misclassified images are 0, and count as such.

        Args:
            gap: relative gap at which a bracket counts as closed; None says nothing of it.
        """
        return summary(self, self.is_distance, gap)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary of plain values an image, in order: what tables are made of."""
        return [{"image": k, **outcome.row()} for k, outcome in enumerate(self)]

    def to_pandas(self) -> Any:
        """A `pandas.DataFrame` with one row an image.

        Raises:
            InvalidInput: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise InvalidInput(
                "to_pandas needs pandas, which is not installed: pip install pandas, or take rows()"
            ) from None
        return pandas.DataFrame(self.rows())

    def to_parquet(self, path: str | Path) -> Path:
        """Write `rows()` as a Parquet file; what a row does not have is null there. Returns the path.

        Raises:
            InvalidInput: pyarrow is not installed, or the file cannot be written.
        """
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise InvalidInput(f"to_parquet needs pyarrow: {how_to_install('batch')}") from None
        path = Path(path)
        try:
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(self.rows()), path)
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be written ({error.strerror or error})") from error
        return path

    def to_npz(self, path: str | Path) -> Path:
        """Write arrays of N entries: images, adversarial (NaN where none), lower, upper, verdict, label, prediction, seconds.

        A label or a prediction that is not known is -1. Returns the path.

        Raises:
            InvalidInput: the file cannot be written.
        """
        path = Path(path)
        try:
            with path.open("wb") as stream:
                np.savez_compressed(
                    stream,
                    images=self.images,
                    adversarial=self.adversarial,
                    lower=self.lower,
                    upper=self.upper,
                    verdict=np.array([verdict.value for verdict in self.verdicts]),
                    label=np.array([int(outcome.labels.get("label", -1)) for outcome in self]),
                    prediction=np.array([int(outcome.labels.get("prediction", -1)) for outcome in self]),
                    seconds=np.array([outcome.seconds for outcome in self]),
                )
        except OSError as error:
            raise InvalidInput(f"{path}: cannot be written ({error.strerror or error})") from error
        return path

    def save(self, folder: str | Path, title: str = "") -> Path:
        """Write adversarial examples to a folder: an archive and a picture each, `index.json` and `index.html`.

        A picture has the image, the example, and their difference with its scale; inputs that are no images have archives
        alone. Misclassified images are left out: they are adversarial themselves.

        Returns:
            The path of the page.

        Raises:
            InvalidInput: the folder cannot be written to.
        """
        about = {} if self._model is None else {"model_sha256": self._model.network.sha256}
        with translated():
            gallery = Gallery(Path(folder), title or f"Adversarial examples of {len(self)} images", about)
            for k, outcome in enumerate(self):
                example = outcome.bracket.witness
                prediction = None if example is None or self._model is None else self._model.predict(example)
                gallery.add_outcome(outcome, self.images[k], k, prediction)
            gallery.close()
        return gallery.folder / "index.html"

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw distances as the share of images robust beyond each radius, margins as a count of verdicts.

        Args:
            path: of a picture to write (.png, .svg, .pdf).

        Returns:
            The `matplotlib.figure.Figure`.

        Raises:
            InvalidInput: matplotlib is not installed, or the file cannot be written.
        """
        from .figures import radii, verdicts, written

        return written(radii(self) if self.is_distance else verdicts(self), path)

    def plot_images(self, path: str | Path | None = None, count: int = 8) -> Any:
        """Draw the first images that have an adversarial example, that example, and the scaled difference of the two.

        Args:
            path: of a picture to write.
            count: how many, at most.

        Returns:
            The `matplotlib.figure.Figure`.

        Raises:
            InvalidInput: matplotlib is not installed, there is no adversarial example, or the images are no pictures.
        """
        from .figures import pictures, written

        return written(pictures(self, count), path)

    def _counted(self) -> str:
        counts = Counter(self.verdicts)
        return ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in Verdict if counts[verdict])

    def __repr__(self) -> str:
        """Return the number of images and of each verdict."""
        return f"<Outcomes of {len(self)} image{'s' if len(self) != 1 else ''}: {self._counted() or 'none'}>"

    def _repr_html_(self) -> str:
        """Return the summary and the first rows, for notebooks."""
        more = f"<p>and {len(self) - _SHOWN} more</p>" if len(self) > _SHOWN else ""
        return f"<p>{html.escape(self.summary())}</p>{html_table(self.rows()[:_SHOWN])}{more}"


class BatchInterrupted(KeyboardInterrupt):
    """Ctrl-C among the images of a batch, with what was proved until then.

    Attributes:
        outcomes: of all images, in order; `unknown` where their turn did not come.
    """

    def __init__(self, outcomes: Outcomes) -> None:
        """Carry the outcomes."""
        super().__init__("interrupted")
        self.outcomes = outcomes
