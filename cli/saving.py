"""Adversarial examples in a folder: arrays for programs, pictures for people, and an index for both."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from advverify.verifier.errors import InvalidInput

from .places import writable_folder

if TYPE_CHECKING:
    import numpy as np

    from advverify.verifier.outcome import Outcome

SCHEMA = 1
_STYLE = """body { font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 60rem; padding: 0 1rem }
:root { color-scheme: light dark } figure { margin: 0 0 1.5rem } img { max-width: 100%; height: auto; border-radius: 4px }
figcaption { margin-bottom: .3rem }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; overflow-wrap: anywhere }
th { white-space: nowrap } h1 { font-size: 1.5rem; overflow-wrap: anywhere }"""


@dataclass
class Gallery:
    """A folder of adversarial examples of one model.

    Attributes:
        folder: made where it is missing.
        title: of the page.
        about: what is true of all of them, by name: model, norm and so on.
        entries: of the index, in order.
    """

    folder: Path
    title: str
    about: dict[str, Any]
    entries: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the folder.

        Raises:
            InvalidInput: it cannot be.
        """
        self.folder = writable_folder(self.folder, "--save")

    def add(
        self,
        name: str,
        adversarial: np.ndarray,
        image: np.ndarray | None = None,
        valid: tuple[float, float] = (0.0, 1.0),
        **facts: Any,
    ) -> None:
        """Write an example as `NAME.npz`, and as `NAME.png` where it is a picture.

        Args:
            name: of its files.
            adversarial: the example, in the shape of the image, float64 in the model's units.
            image: what it is an example of; a property has none.
            valid: range of inputs.
            facts: what is known of it: index, label, prediction, distance and so on.

        Raises:
            InvalidInput: a file cannot be written.
        """
        import numpy as np

        from .report.pictures import side_by_side

        words = (_of_class(facts.get("label")), _of_class(facts.get("prediction"), facts.get("distance")))
        picture = side_by_side(image, adversarial, _shown_range(valid, image, adversarial), words)
        arrays: dict[str, Any] = {"adversarial": adversarial} | ({} if image is None else {"image": image})
        arrays |= {key: np.array(value) for key, value in facts.items() if value is not None}
        place = self.folder / f"{name}.npz"
        try:
            with place.open("wb") as stream:
                np.savez_compressed(stream, **arrays)
            if picture is not None:
                picture.save(self.folder / f"{name}.png")
        except OSError as error:
            raise InvalidInput(f"--save {place}: cannot be written ({error.strerror or error})") from error
        shown = None if picture is None else f"{name}.png"
        self.entries.append({**facts, "arrays": f"{name}.npz", "picture": shown})

    def add_outcome(self, outcome: Outcome, image: np.ndarray, index: int, prediction: int | None) -> None:
        """Write the adversarial example of an answer about an image; nothing where none is known, or the image is one itself."""
        example = outcome.bracket.witness
        if example is None or outcome.verdict.value == "misclassified":
            return
        example = example.reshape(image.shape)
        norm = str(outcome.labels["norm"])
        valid = outcome.labels.get("valid_range", (0.0, 1.0))
        self.add(
            f"image-{index}",
            example,
            image,
            (float(valid[0]), float(valid[1])),
            index=index,
            label=outcome.labels.get("label"),
            prediction=prediction,
            verdict=outcome.verdict.value,
            norm=norm,
            distance=outcome.upper if outcome.is_distance else _length(example - image, outcome.labels),
            proved=outcome.lower if outcome.is_distance else None,
        )

    def close(self) -> None:
        """Write `index.json` and `index.html`.

        Raises:
            InvalidInput: one of them cannot be written.
        """
        from advverify.verifier.outcome import finite

        record = {"schema": SCHEMA, "title": self.title, **self.about, "examples": self.entries}
        try:
            (self.folder / "index.json").write_text(json.dumps(finite(record), indent=1, allow_nan=False) + "\n")
            (self.folder / "index.html").write_text(self._page(), encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"--save {self.folder}: cannot be written ({error.strerror or error})") from error

    def __str__(self) -> str:
        """Return how many there are, and where."""
        count = len(self.entries)
        return f"{count} adversarial example{'' if count == 1 else 's'} in {self.folder / 'index.html'}"

    def _page(self) -> str:
        title = html.escape(self.title)
        facts = "".join(
            f"<tr><th>{html.escape(name.replace('_', ' '))}</th><td>{html.escape(_word(value))}</td></tr>"
            for name, value in self.about.items()
            if value is not None
        )
        body = "".join(map(_figure, self.entries)) or "<p>No adversarial example is known of these inputs.</p>"
        return (
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
            f"<title>{title}</title><style>{_STYLE}</style></head>\n<body><h1>{title}</h1>\n<p>{self._answer()}</p>\n{body}"
            f"<table>{facts}</table>\n<p>Arrays are numpy archives with <code>image</code> and <code>adversarial</code> in the "
            "model's units; <code>index.json</code> lists them.</p></body></html>\n"
        )

    def _answer(self) -> str:
        """What there is, in one sentence."""
        count = len(self.entries)
        text = f"{count} adversarial example{'' if count == 1 else 's'}"
        known = [entry["distance"] for entry in self.entries if entry.get("distance") is not None]
        norms = {str(entry["norm"]) for entry in self.entries if "norm" in entry}
        if known and len(norms) == 1:
            ends = " to ".join(dict.fromkeys(f"{end:.4g}" for end in (min(known), max(known))))
            text += f", {ends} away in norm {norms.pop()}"
        return f"{text}."


def _figure(entry: dict[str, Any]) -> str:
    """One example of the page."""
    known = {name: value for name, value in entry.items() if value is not None}
    parts = [f"image {known['index']}"] if "index" in known else []
    if "label" in known:
        parts.append(f"class {known['label']}" + (f" becomes {known['prediction']}" if "prediction" in known else ""))
    if "attack" in known:
        parts.append(f"by {known['attack']}")
    if "distance" in known:
        parts.append(f"{known['distance']:.6g} away in norm {known['norm']}")
    if "proved" in known:
        parts.append(f"none nearer than {known['proved']:.6g}")
    if "outputs" in known:
        parts.append(f"outputs {', '.join(f'{value:.4g}' for value in known['outputs'])}")
    text = html.escape(", ".join(parts) or "adversarial")
    link = f'<a href="{html.escape(entry["arrays"])}">{html.escape(entry["arrays"])}</a>'
    shown = "" if entry["picture"] is None else f'<img src="{html.escape(entry["picture"])}" alt="{text}">'
    return f"<figure><figcaption>{text} ({link})</figcaption>{shown}</figure>\n"


def _word(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _of_class(label: Any, distance: float | None = None) -> str:
    parts = [] if label is None else [f"class {label}"]
    return ", ".join([*parts, *([] if distance is None else [f"distance {distance:.4g}"])])


def _length(change: np.ndarray, labels: Mapping[str, Any]) -> float:
    import torch

    from advverify.verifier.norms import get_norm

    norm = get_norm(str(labels["norm"]), int(labels.get("channels", 1)))
    return float(norm.length(torch.from_numpy(change.reshape(1, -1)))[0])


def _shown_range(valid: tuple[float, float], *values: np.ndarray | None) -> tuple[float, float]:
    """Values that are black and white: the valid range, or where it has no end what occurs."""
    known = [array for array in values if array is not None]
    low, high = valid
    if not math.isfinite(low):
        low = min(float(array.min()) for array in known)
    if not math.isfinite(high):
        high = max(float(array.max()) for array in known)
    return low, max(high, low + 1e-12)
