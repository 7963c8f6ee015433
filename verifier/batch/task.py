"""A query of a job, as workers get it and as the store knows it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from advverify import __version__

from ..request import Request
from ..specification import Threat
from ..store import StoredQuery

_USUAL = Threat().to_dict()
_COLUMNS = ("norm", "eps")  # of the threat, which rows of the store hold apart


@dataclass(frozen=True, eq=False)
class Task:
    """A query as a worker gets it.

    Attributes:
        stored: its row.
        request: what is asked.
        expected: rough seconds, for the order of work.
    """

    stored: StoredQuery
    request: Request
    expected: float = 1.0


def task_of(request: Request, model: str, data: str, item: str, expected: float, units: str = "") -> Task:
    """A task with its row of the store.

    Args:
        request: what is asked.
        model: as the job names it.
        data: data set, or the folder of a property.
        item: index of the image, or name of the property.
        expected: rough seconds.
        units: what the numbers of the images are, where that had to be decided.
    """
    settings, threat = request.settings, request.threat
    options = {"timeout": settings.timeout, "gap": settings.gap, "engines": request.engines, "seed": settings.seed}
    options |= vars(settings.milp)
    options |= {k: v for k, v in threat.to_dict().items() if k not in _COLUMNS and v != _USUAL[k]}
    if request.exact_margin:
        options["exact_margin"] = True
    if request.command == "attack":
        options |= {"attack": request.attack, "loss": request.loss}
    if units:
        options["units"] = units
    norm, eps = (None, None) if request.command == "verify" else (str(threat.norm), threat.eps)
    text = json.dumps(options, sort_keys=True)
    row = StoredQuery(request.key, request.command, model, request.sha256, data, item, norm, eps, text, __version__)
    return Task(row, request, expected)
