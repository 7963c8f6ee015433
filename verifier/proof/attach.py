"""The proof of an outcome: written, read back by the checker, and named in the outcome; only then is it `checked`."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..checker import Rejected, check, difference
from ..outcome import Outcome, Trust, Verdict
from ..query import Objective, Query
from .file import Unproved
from .prover import prove
from .question import statements

_LEEWAY = 1e-4  # an open distance is proved at so much less, relatively: at the bound itself the worst leaf has no room


FAILED = "an error while proving"  # how the reason begins where it is not that nothing could be proved
NOTHING = "nothing is claimed that a proof could show"


def attach(query: Query, outcome: Outcome, directory: Path, seconds: float, about: dict[str, Any]) -> Outcome:
    """Prove what the outcome claims: that a region is safe, or the lower side of a distance.

    Returns the outcome with `proof`, the file, and trust `checked` where the checker accepted it and found it to be about
    this query; else the same outcome, with the reason in the statistic `no_proof`: no error costs the verdict, whatever it
    is. The lower side of a distance becomes the radius that was proved.
    """
    try:
        return _attach(query, outcome, directory, seconds, about)
    except (Unproved, Rejected) as error:
        return outcome.counted(no_proof=str(error))
    except Exception as error:  # a fault of the prover, a full disk, no memory: the verdict stands without a proof
        words = " ".join(f"{type(error).__name__}: {error}".split())
        return outcome.counted(no_proof=f"{FAILED} ({words[:300]})")


def _attach(query: Query, outcome: Outcome, directory: Path, seconds: float, about: dict[str, Any]) -> Outcome:
    radius = _radius(query, outcome)
    claims = outcome.verdict is Verdict.ROBUST or (radius is not None and radius > 0)
    if not claims:
        return outcome.counted(no_proof=NOTHING)
    model = query.model
    if model is None:
        return outcome.counted(no_proof="the network has no ONNX file that a checker could read")
    began = time.perf_counter()
    if radius is not None:
        query = replace(query, specification=query.specification.with_radius(radius))
    path = directory / f"{query.key[:24]}.proof"
    prove(query, model, seconds, about).save(path)
    proved = time.perf_counter()
    report = check(path, model)
    other = difference(report.cases, statements(query))
    if other is not None:
        raise Unproved(f"the proof is about something else: {other}")
    outcome = outcome.counted(
        proof_seconds=round(proved - began, 4),
        check_seconds=round(time.perf_counter() - proved, 4),
        proof_leaves=report.leaves,
    )
    bracket = outcome.bracket
    if radius is not None and not math.isinf(radius):
        lower = radius + 1 if query.specification.region.is_l0 else radius
        bracket = replace(bracket, lower=min(lower, bracket.lower))
    return replace(outcome, bracket=bracket, trust=Trust.CHECKED, proof=str(path))


def _radius(query: Query, outcome: Outcome) -> float | None:
    """The radius at which a distance's lower side is proved; None where no distance was asked for."""
    if query.objective is not Objective.MIN_DISTORTION or outcome.verdict is Verdict.MISCLASSIFIED:
        return None
    lower, closed = outcome.bracket.lower, outcome.verdict is not Verdict.UNKNOWN
    if query.specification.region.is_l0 and math.isfinite(lower):
        return max(math.ceil(lower) - 1, 0)
    return lower if closed else lower * (1 - _LEEWAY)
