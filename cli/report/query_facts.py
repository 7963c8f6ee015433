"""What is known of one kept answer, gathered for the terminal and the page of `advverify show`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from advverify.verifier.errors import AdvverifyError

from ..table import number, share
from .summary import settled_distance

if TYPE_CHECKING:
    from advverify.verifier.api import Model
    from advverify.verifier.convergence.answers import Answer
    from advverify.verifier.outcome import Outcome

# Statistics of a search in words; others are shown by their own names.
WORDS = {
    "engines_run": "engines, in order",
    "unstable_relus": "ReLUs whose phase the bounds leave open",
    "nodes": "nodes of search trees",
    "tree_nodes": "nodes of LP trees",
    "polish": "points improved by LPs over their cells",
    "boxes": "boxes of inputs",
    "lower_rests_on": "the proved side rests on",
    "milp_solves": "mixed-integer programs solved",
    "leaf_solves": "programs solved at leaves",
    "failed_solves": "programs that a solver failed at",
    "exact_bounds": "bounds decided in exact arithmetic",
    "proof_seconds": "seconds to write the proof",
    "check_seconds": "seconds to check it",
    "proof_leaves": "leaves of the proof",
    "no_proof": "no proof, because",
    "excluded": "excluded",
}


@dataclass(eq=False)
class Facts:
    """One answer.

    Attributes:
        name: of the question.
        kind: "distance", "margin" or "verdict".
        outcome: the answer.
        labels: of the question and how it was asked.
        sentence: the answer in words.
        is_open: whether more time might say more.
        statistics: of the search, by their names in words.
        proof: what the proof states, line by line, as it was checked just now; what stands in the way otherwise; or nothing.
        image: the image (flat), None where its data set is not here.
        shape: of the image.
        classes: what the file computes on the adversarial example: classes with their outputs, largest first.
        notes: what could not be looked up, and why.
    """

    name: str
    kind: str
    outcome: Outcome
    labels: Mapping[str, Any]
    sentence: str
    is_open: bool
    statistics: dict[str, str]
    proof: list[str] = field(default_factory=list)
    image: np.ndarray | None = None
    shape: tuple[int, ...] = ()
    classes: list[tuple[int, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def witness(self) -> np.ndarray | None:
        """An input that is adversarial; None where the one that is kept is not, or is the image itself."""
        fools = self.outcome.verdict.value == "adversarial"
        open_distance = self.kind == "distance" and self.outcome.verdict.value == "unknown"
        return self.outcome.bracket.witness if fools or open_distance else None


def facts_of(answer: Answer, outcome: Outcome) -> Facts:
    """Everything about an answer that can still be looked up; the model's file is read where it is what it was."""
    labels = answer.labels
    sentence, is_open = in_words(answer.kind, outcome, labels)
    facts = Facts(answer.name, answer.kind, outcome, labels, sentence, is_open, _statistics(outcome))
    _image(facts)
    model = _model(facts)
    if model is not None and facts.witness is not None:
        outputs = model.executor.run(facts.witness[None])[0]
        facts.classes = [(int(k), float(outputs[k])) for k in np.argsort(-outputs)[:3]]
    if outcome.proof is not None:
        facts.proof = _proof(outcome.proof, None if model is None else model.path)
    return facts


def in_words(kind: str, outcome: Outcome, labels: Mapping[str, Any]) -> tuple[str, bool]:
    """The answer in a sentence, and whether it is open."""
    verdict, (low, high) = outcome.verdict.value, (outcome.bracket.lower, outcome.bracket.upper)
    by = f" ({outcome.trust.value}, {outcome.engine})" if outcome.engine else ""
    why = f": {outcome.reason}" if outcome.reason else ""
    if verdict == "misclassified":
        predicted = labels.get("prediction")
        seen = "" if predicted is None else f" as class {predicted}"
        return f"Misclassified{seen} without any change, so there is nothing to prove.", False
    if kind == "distance":
        if verdict == "robust":
            return f"Robust: there is no adversarial example within the valid range{by}.", False
        proved = (
            "nothing is proved of the distance"
            if not low > 0
            else f"no adversarial example is nearer than {number(low)}"
        )
        found = "none has been found" if math.isinf(high) else f"one is known at {number(high)}"
        closed = verdict != "unknown" and settled_distance(low, high, labels.get("gap", 1e-4))
        if closed:
            return f"The nearest adversarial example is between {number(low)} and {number(high)} away{by}.", False
        gap = "" if math.isinf(high) else f", a gap of {share(outcome.bracket.relative_gap)}"
        return f"Open{why}. In norm {labels.get('norm')}, {proved}, and {found}{gap}.", True
    margin = f"the margin lies between {number(low)} and {number(high)}"
    said = {"robust": "Robust", "adversarial": "Not robust: an adversarial example is known", "unknown": "Unknown"}[
        verdict
    ]
    return f"{said}{by}{why}; {margin}.", verdict == "unknown"


def _statistics(outcome: Outcome) -> dict[str, str]:
    """Statistics of the search by their names in words."""
    found = {}
    for name, value in outcome.statistics.items():
        shown = number(value, 4) if isinstance(value, float) else str(value)
        found[WORDS.get(name, name.replace("_", " "))] = shown
    return found


def _image(facts: Facts) -> None:
    """The image of the data set, where it is here."""
    from advverify.models.datasets import load_dataset

    data, index = facts.labels.get("data"), str(facts.labels.get("index", ""))
    if data is None or not index.isdigit() or facts.kind == "verdict" and "norm" not in facts.labels:
        return
    try:
        loaded = load_dataset(str(data))
        facts.image, facts.shape = loaded.images[int(index)].ravel(), tuple(loaded.images.shape[1:])
    except (AdvverifyError, IndexError) as error:
        facts.notes.append(f"no picture of the image: {error}")


def _model(facts: Facts) -> Model | None:
    """The model, where its file is what it was."""
    from advverify.verifier.api import Model

    from ..options import model_path

    name = facts.labels.get("model")
    if name is None:
        return None
    try:
        model = Model(model_path(str(name)))
    except AdvverifyError as error:
        facts.notes.append(f"the model cannot be read any more: {error}")
        return None
    if model.network.sha256 != facts.labels.get("model_sha256"):
        facts.notes.append(f"{name} has changed since, so that nothing is executed")
        return None
    return model


def _proof(proof: str, model: Path | None) -> list[str]:
    """What the checker makes of the proof, just now."""
    from advverify.verifier.checker import Rejected, check

    if model is None:
        return [f"proof: {proof}; without the model's file it cannot be checked"]
    if not Path(proof).is_file():
        return [f"proof: {proof} is not there any more"]
    try:
        report = check(proof, model)
    except Rejected as error:
        return [f"proof: {proof} is not valid: {error}"]
    return [f"proof: {proof}, checked just now, valid: {report.statement}", *report.lines()]
