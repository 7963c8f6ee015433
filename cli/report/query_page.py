"""The page of `advverify show`: one query, from its answer to its proof."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from advverify.verifier.convergence.trajectory import Trajectory
from advverify.verifier.mip_record import SOLVE

from .gap_figures import bounds_over_time
from .page import render
from .query_facts import Facts
from .thumbnails import difference, is_picture, thumbnail

_LEFT_OUT = {"key", "witness", "notes", "model_sha256", "engines"}  # of the labels, on the page


def page(facts: Facts, folder: Path) -> str:
    """The page as text; its figure is written to a folder."""
    outcome = facts.outcome
    quantity = f"distance, norm {facts.labels.get('norm')}" if facts.kind == "distance" else "margin"
    solves = [record for record in outcome.mips if record.role == SOLVE]
    figure = None
    if any(np.isfinite([e.lower, e.upper]).any() for e in outcome.trace):
        steps = [("", Trajectory.of(outcome))]
        figure = bounds_over_time(steps, solves, folder / "bracket.svg", quantity=quantity)
    return render(
        "query.html",
        title=facts.name,
        facts=facts,
        outcome=outcome,
        quantity=quantity,
        figure=figure,
        pictures=_pictures(facts),
        asked={k.replace("_", " "): _shown(v) for k, v in facts.labels.items() if k not in _LEFT_OUT and v is not None},
        mips=outcome.mips,
    )


def _pictures(facts: Facts) -> dict[str, Any] | None:
    """The image, the adversarial example and their difference, with the class that the file computes on it."""
    if facts.image is None or not is_picture(facts.shape):
        return None
    valid = facts.labels.get("valid_range", (0.0, 1.0))
    found: dict[str, Any] = {"image": thumbnail(facts.image, facts.shape, valid), "adversarial": None}
    witness = facts.witness
    if witness is not None and witness.size == facts.image.size and not np.array_equal(witness, facts.image):
        change, largest = difference(witness - facts.image, facts.shape)
        found |= {"adversarial": thumbnail(witness, facts.shape, valid), "difference": change, "largest": largest}
        found |= {"changed": int(np.count_nonzero(witness != facts.image)), "inputs": witness.size}
    return found


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return ", ".join(map(_shown, value)) if isinstance(value, list | tuple) else str(value)
