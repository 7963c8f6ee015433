"""Groups of tasks that a worker may settle together: images under one threat of one network, asked for their verdicts alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from .task import Task

_LEAST, _MOST = 8, 64  # tasks of a group: fewer are not worth a batch, more would be lost or waited for at once
_GROUPS = 2  # for each worker, at least, so that none waits long for another


def grouped(tasks: Sequence[Task], jobs: int) -> list[list[Task]]:
    """Tasks in groups, in the order of each group's first task; what cannot be settled together is a group of one.

    Args:
        tasks: in the order of work.
        jobs: workers that the groups have to do for.
    """
    alike: dict[Hashable, list[Task]] = {}
    for task in tasks:
        alike.setdefault(_question(task), []).append(task)
    groups = []
    for members in alike.values():
        size = min(_MOST, max(_LEAST, -(-len(members) // (_GROUPS * max(jobs, 1)))))
        groups += [members[begin : begin + size] for begin in range(0, len(members), size)]
    return groups


def _question(task: Task) -> Hashable:
    """What tasks of a group have in common; a task's own key where it is on its own."""
    request = task.request
    settings, threat = request.settings, request.threat
    if request.command != "certify" or request.exact_margin or threat.float32 or settings.proofs is not None:
        return task.stored.key
    return request.path, request.sha256, threat, settings, request.engines
