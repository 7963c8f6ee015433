"""What the studies share: train recipes, attack what comes out, print a table, lint it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from advverify.models.build import build_model
from advverify.models.comparison.attacks import attacked
from advverify.models.comparison.sanity import Evaluation, lint
from advverify.models.datasets import Dataset
from advverify.models.recipe import Recipe, read_recipe
from advverify.models.train import accuracy
from advverify.verifier.network.onnx_reader import read_onnx

HERE = Path(__file__).parent
RECIPES, RESULTS = HERE / "recipes", HERE / "results"


@dataclass(frozen=True)
class Studied:
    """A trained network with its accuracies."""

    name: str
    network: nn.Sequential
    seconds: float
    clean: float
    robust: dict[tuple[str, float], float]


def study(
    name: str, recipe: Recipe, data: Dataset, test: Dataset, eps: Sequence[float], work: Path, device: str = "cpu"
) -> Studied:
    """Train a recipe, export it, and attack the exported network on the whole test set (norm inf).

    Args:
        name: for the table.
        recipe: what to train.
        data: training part.
        test: test part.
        eps: radii of FGSM and PGD.
        work: folder of the ONNX files.
        device: of the training.
    """
    path = work / f"{recipe.name}.onnx"
    made = build_model(recipe, data, test, path, device=device)
    network = read_onnx(path)
    robust = {
        (attack, radius): attacked(network, test.images, test.labels, "inf", radius, attack).accuracy
        for attack in ("fgsm", "pgd")
        for radius in eps
    }
    return Studied(name, made.network, made.seconds, accuracy(made.network, test), robust)


class Rows:
    """Numbers of a study in a JSONL file, each kept as soon as it is known: a study that was stopped goes on where it was."""

    def __init__(self, path: Path) -> None:
        """Read what is there; a last line that a kill cut short does not count."""
        self.path, self.known = path, dict[str, Any]()
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_bytes() if path.is_file() else b""
        whole = content.rfind(b"\n") + 1
        for line in content[:whole].splitlines():
            row = json.loads(line)
            self.known[row["key"]] = row["value"]
        if whole < len(content):
            path.write_bytes(content[:whole])

    def has(self, key: Sequence[Any]) -> bool:
        """Whether the value of a key is known."""
        return json.dumps(list(key)) in self.known

    def get(self, key: Sequence[Any], make: Callable[[], Any]) -> Any:
        """The value of a key, made and kept where it is not there yet; plain values only."""
        name = json.dumps(list(key))
        if name not in self.known:
            value = make()
            with self.path.open("a") as stream:
                stream.write(json.dumps({"key": name, "value": value}) + "\n")
            self.known[name] = json.loads(json.dumps(value))
            print(name, flush=True)
        return self.known[name]


def recipe(name: str) -> Recipe:
    """A recipe of this folder."""
    return read_recipe(RECIPES / f"{name}.toml")


def evaluations(studied: Sequence[Studied], count: int) -> list[Evaluation]:
    """For the sanity linter."""
    return [
        Evaluation(s.name, attack, "inf", eps, share, s.clean, count)
        for s in studied
        for (attack, eps), share in s.robust.items()
    ]


def verdict(title: str, found: Sequence[Evaluation]) -> list[str]:
    """The linter's verdict as lines of Markdown."""
    lines = lint(found)
    return [
        f"Sanity checks, {title}: " + ("nothing is off." if not lines else ""),
        *(f"- {line}" for line in lines),
        "",
    ]


def markdown(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A table as lines of Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return [*lines, *("| " + " | ".join(map(str, row)) + " |" for row in rows), ""]


def percent(share: float) -> str:
    """Two decimals, as the published tables have them."""
    return "–" if np.isnan(share) else f"{100 * share:.2f} %"


def keep(folder: str, text: Sequence[str], record: Any) -> Path:
    """Write a study's text and numbers, and show the text."""
    place = RESULTS / folder
    place.mkdir(parents=True, exist_ok=True)
    (place / "README.md").write_text("\n".join(text).rstrip() + "\n", encoding="utf-8")
    (place / "numbers.json").write_text(json.dumps(record, indent=1) + "\n")
    print("\n".join(text))
    return place
