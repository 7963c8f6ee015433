"""One run's answer to one question, as far as statistics need it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import NamedTuple, Self

from ..mip_record import RELAXATION, ROLES, SOLVE, MipRecord
from ..outcome import Verdict
from .answers import MARGIN, VERDICT, Answer
from .spool import Kept, Spool
from .statistics import root_gap_closed
from .trajectory import Trajectory, gap

_NEAR_ZERO = 1e-6  # margins are closed relatively to no less than this, as searches do it


class HardestTarget(NamedTuple):
    """Of the targets that took MIPs, the one that is farthest from its value, or took longest.

    Attributes:
        target: which unsafe sets it is about.
        left: gap between what was proved of it and its value.
        seconds: of its MIPs and their confirmations.
        nodes: of its MIPs' trees; None where no solver says.
    """

    target: str
    left: float
    seconds: float
    nodes: int | None


class Effort(NamedTuple):
    """What programs of one role took: how many they were, their seconds, and the nodes of their trees."""

    programs: int = 0
    seconds: float = 0.0
    nodes: int = 0

    def plus(self, programs: int, seconds: float, nodes: int) -> Effort:
        """Both together."""
        return Effort(self.programs + programs, self.seconds + seconds, self.nodes + nodes)


@dataclass(frozen=True, eq=False, slots=True)
class Solve:
    """A solve is one run's answer to one question, without what no statistic needs.

    Attributes:
        question: digest, the same in every run.
        name: of the question.
        kind: "distance", "margin" or "verdict".
        kept: the bracket over time, in memory or in a file.
        closed: seconds until it was answered: a bracket as narrow as was asked for, or a verdict; infinite where it is open.
        seconds: of the whole query.
        timeout: seconds that it was allowed, None where the file does not say.
        engine: the one that moved the bracket last.
        roots: of its MIPs, the share of the root gap closed by step.
        hardest: of its targets; None where no MIP was solved.
        effort: of its programs, by role.
        source: position of its file.
        place: where in the file its outcome is.
    """

    question: bytes
    name: str
    kind: str
    kept: Kept
    closed: float
    seconds: float
    timeout: float | None
    engine: str
    roots: tuple[Mapping[str, float], ...]
    hardest: HardestTarget | None
    effort: Mapping[str, Effort]
    source: int
    place: int | str

    @classmethod
    def of(cls, answer: Answer, source: int, spool: Spool) -> Self:
        """Take from an answer what the statistics need.

        Raises:
            ValueError: a trace, a time limit or a gap that makes no sense.
        """
        outcome, labels = answer.outcome, answer.labels
        trajectory = Trajectory.of(outcome)
        lower, upper = trajectory.end
        asked = _from_zero("gap", labels.get("gap", 1e-4))
        if answer.kind == MARGIN:
            closed = trajectory.closing_time(asked, asked * _NEAR_ZERO)
        elif outcome.verdict is Verdict.UNKNOWN:
            closed = math.inf
        elif answer.kind == VERDICT or math.isinf(upper):
            closed = float(trajectory.times[-1])
        else:  # a line that does not say which gap was asked for is closed to the gap that it ended with
            closed = trajectory.closing_time(max(asked, outcome.bracket.relative_gap))
        sought = min(upper, 0.0) if answer.kind == VERDICT else upper
        pairs = [(record, min(record.primal, sought)) for record in outcome.mips if record.role == SOLVE]
        roots = [root_gap_closed({**record.root, "tree": record.proved}, value) for record, value in pairs]
        return cls(
            answer.question,
            answer.name,
            answer.kind,
            spool.keep(trajectory),
            closed,
            float(trajectory.times[-1]),
            None if labels.get("timeout") is None else _from_zero("timeout", labels["timeout"]),
            intern(outcome.engine),
            tuple(shares for shares in roots if shares is not None),
            _hardest(outcome.mips, sought),
            _efforts(outcome.mips),
            source,
            answer.place,
        )

    @property
    def trajectory(self) -> Trajectory:
        """The bracket over time."""
        return self.kept.load()

    def end(self, limit: float = math.inf) -> tuple[float, float]:
        """The bracket at a time limit."""
        return self.kept.end if limit >= self.seconds else self.trajectory.until(limit).end


def _from_zero(name: str, value: object) -> float:
    """A number of a line that is finite and not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"its {name} is {value!r}, which is no number from 0 on")
    return float(value)


def _hardest(records: Sequence[MipRecord], sought: float) -> HardestTarget | None:
    """The hardest of the targets that took MIPs: what one of their programs proved is proved of them."""
    found = list[HardestTarget]()
    for target in dict.fromkeys(record.target for record in records if record.role == SOLVE):
        own = [record for record in records if record.target == target]
        value = min(sought, *(record.primal for record in own))
        left = gap(min(value, max(record.proved for record in own)), value)
        nodes = [record.nodes for record in own if record.role == SOLVE and record.nodes is not None]
        seconds = sum(record.seconds for record in own if record.role != RELAXATION)
        found.append(HardestTarget(intern(target), float(left), seconds, sum(nodes) if nodes else None))
    return max(found, key=lambda each: (each.left, each.seconds), default=None)


def _efforts(records: Sequence[MipRecord]) -> dict[str, Effort]:
    efforts = dict[str, Effort]()
    for role in ROLES:
        for record in records:
            if record.role == role:
                efforts[role] = efforts.get(role, Effort()).plus(1, record.seconds, record.nodes or 0)
    return efforts
