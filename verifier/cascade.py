"""Runs engines by cost until the bracket closes or time is out, and writes down the outcome."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from .allocator import keep_freed_memory
from .deadline import OutOfTime, until
from .denormals import denormals_kept
from .engines import Settings, check_milp_options, choose_engines, get_engine
from .engines.executor import Executor, NetworkExecutor
from .engines.propagate import batch_size
from .engines.protocol import Batched, Resumable
from .engines.state import SearchState
from .errors import AdvverifyError
from .outcome import Bracket, Outcome, TraceEvent, Trust, Verdict
from .query import Objective, Query

# Out of memory, or numbers that a solver or a factorisation cannot cope with; anything else is a bug and shows as one.
_FAILURES = (MemoryError, RuntimeError, ArithmeticError)

_SMALL = 100  # ReLUs up to which a second thread costs more than it brings

_WORTHWHILE = 4  # so many regions, at least, have to fit into a batch on a CPU for batched work to be faster

# So many have to fit there for a tree over many queries to be faster than trees one after another: on two convolutional networks
# of 4,804 ReLUs, 12 of which fit, it took twenty times as long for hard queries, which `lp-split` settles in half a second.
_ROOMY = 32

_LEAST_TURN = 5.0  # seconds between two looks at an engine's progress


@denormals_kept()
def solve(
    query: Query,
    settings: Settings | None = None,
    engines: tuple[str, ...] = (),
    executor: Executor | None = None,
    listener: Callable[[TraceEvent], None] | None = None,
) -> Outcome:
    """Answer a query.

    Args:
        query: what is asked.
        settings: limits and options.
        engines: names of the engines to use; all of them where none are given.
        executor: executes the network; by default its own float64 forward pass.
        listener: hears every move of the bracket.

    Raises:
        InvalidInput: there is no such engine, or none that reads an option of `settings.milp`.
        SolverUnavailable: the solver that the engines may need is not installed.
    """
    settings = settings or Settings()
    check_milp_options(settings.milp, engines)
    state = SearchState.open(query, settings, executor or NetworkExecutor(query.network))
    if state.is_min_distortion and not state.is_l0 and state.limit == 0:
        try:
            return _at_the_center(solve(replace(query, objective=Objective.FEASIBILITY), settings, engines, executor))
        except Interrupted as stop:
            raise Interrupted(_at_the_center(stop.outcome)) from stop
    state.listener = listener
    return _run(state, choose_engines(engines))


def _at_the_center(found: Outcome) -> Outcome:
    """The outcome of a distance that is of interest up to 0 alone, from the verdict about the center.

    Every distance is at least 0 without a proof, so that a search would end before it began. Of counts 0 says that the center is
    unsafe, and 1 that it is not.
    """
    upper = 0.0 if found.verdict is Verdict.ADVERSARIAL else math.inf
    event = TraceEvent(found.seconds, 0.0, upper, found.engine)
    return replace(found, bracket=Bracket(0.0, upper, found.bracket.witness), trace=(event,))


def solve_all(
    queries: Sequence[Query],
    executor: Executor,
    settings: Settings | None = None,
    engines: tuple[str, ...] = (),
    rest: bool = True,
    listener: Callable[[int, TraceEvent], None] | None = None,
) -> Iterator[tuple[int, Outcome]]:
    """Answer certification queries about one network, batched as far as that pays, then sequentially.

    An answer's seconds are its fraction of the batched work and its own. Networks too large for several regions at once are
    worked on sequentially, unless they lie on a GPU.

    Args:
        queries: of one network (the very same object), without `float32`, with balls of one norm or boxes.
        executor: executes the network.
        settings: limits and options.
        engines: names of the engines that may be used; all where none are given.
        rest: whether queries that are still open after the batched work are gone on with; not for networks on a GPU.
        listener: hears the index of a query that is gone on with, and every move of its bracket.

    Yields:
        Index of a query in `queries`, and its outcome. Queries are worked on batch by batch; of each batch those come first
        that the batched engines settled, then the others, in order.

    Raises:
        InvalidInput: as in `solve`; SolverUnavailable likewise.
    """
    if not queries:
        return
    settings, names, network = settings or Settings(), choose_engines(engines), queries[0].network
    check_milp_options(settings.milp, engines)
    pays = network.device.type != "cpu" or min(batch_size(network), len(queries)) >= _WORTHWHILE
    done: set[str] = set()  # engines that have done in batches all that they can
    numbers = itertools.count()
    for states in _batches(queries, executor, settings, names if pays else [], done):
        left: list[tuple[int, SearchState]] = []
        for state, number in zip(states, numbers, strict=False):  # the list first: it ends
            if state.done:
                yield number, conclude(state)
            else:
                left.append((number, state))
        for number, state in left if rest else ():
            state.clock.divide_among(1)
            if listener is not None:
                state.listener = partial(listener, number)
                for event in state.trace[-1:]:  # what the batched engines have come to
                    state.listener(event)
            yield number, _run(state, [name for name in names if name not in done])


def _batches(
    queries: Sequence[Query], executor: Executor, settings: Settings, names: Sequence[str], done: set[str]
) -> Iterator[list[SearchState]]:
    """States of the queries, batch by batch, once the engines that work on batches have; their clocks stand still.

    The names of engines that need not see the states again are put into `done`.
    """
    keep_freed_memory()
    count = batch_size(queries[0].network)
    roomy = count >= _ROOMY or queries[0].network.device.type != "cpu"
    chosen = [
        name for name in names if isinstance(engine := get_engine(name), Batched) and (roomy or not engine.repeats)
    ]
    for begin in range(0, len(queries), count):
        yield _batch(queries[begin : begin + count], executor, settings, chosen, done)


@denormals_kept()
def _batch(
    queries: Sequence[Query], executor: Executor, settings: Settings, names: Sequence[str], done: set[str]
) -> list[SearchState]:
    """States of one batch, as `_batches` gives them; `names` are those of batched engines."""
    torch.set_num_threads(settings.threads)
    states: list[SearchState] = []
    for query in queries:
        states.append(SearchState.open(query, settings, executor))
        states[-1].clock.divide_among(math.inf)
    for name in names:
        open_ = [state for state in states if not state.done]
        for state in states:
            state.clock.divide_among(math.inf if state.done else len(open_))
        if not open_:
            break
        engine = get_engine(name)
        assert isinstance(engine, Batched)
        if not engine.repeats:
            done.add(name)
        for state in open_:
            state.enter(name)
        try:
            with until(lambda first=open_[0]: first.time_left <= 0):  # type: ignore[misc]
                engine.run_all(open_, settings.timeout)
        except OutOfTime:
            break
        except _FAILURES as error:  # what was proved so far stands
            warnings.warn(f"{name} failed on a batch ({type(error).__name__}: {error})", stacklevel=2)
    for state in states:
        state.clock.divide_among(math.inf)
    return states


@denormals_kept()
def _run(state: SearchState, names: list[str]) -> Outcome:
    """Run engines and conclude.

    Raises:
        Interrupted: by Ctrl-C, with the outcome so far.
    """
    keep_freed_memory()
    torch.set_num_threads(1 if state.network.relu_count <= _SMALL else state.settings.threads)
    interrupted = ""
    try:
        if state.query.float32:
            _exclude_roundings(state)
        run_engines(state, names)
    except KeyboardInterrupt:
        interrupted = "interrupted"
    outcome = conclude(state, interrupted)
    if interrupted:
        raise Interrupted(outcome)
    return outcome


def _exclude_roundings(state: SearchState) -> None:
    """Prove for any execution of the file: widen the unsafe sets, for distances no farther out than an attack reaches."""
    from .specification.float32 import widen

    specification = state.query.specification
    if state.is_min_distortion:
        get_engine("falsify").run(state, 0.5 * state.time_left)
        specification = specification.with_radius(min(state.limit, state.upper))
    excluded, error = widen(specification, state.query.model, state.network.sha256)
    state.exclude(excluded)
    state.statistics["execution_error"] = error
    state.notes.append(f"executions may be off by up to {error:.2g}, which counts against the proof")


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, with what was proved until then."""

    def __init__(self, outcome: Outcome) -> None:
        """Carry the outcome."""
        super().__init__("interrupted")
        self.outcome = outcome


def run_engines(state: SearchState, names: list[str]) -> None:
    """Each engine in turn, until the state is done."""
    for position, name in enumerate(names):
        if state.done or state.time_left <= 0:
            return
        last = position == len(names) - 1
        engine = get_engine(name)
        fraction = 1.0 if last else engine.fraction
        state.enter(name)
        try:
            with until(lambda: state.time_left <= 0):
                engine.run(state, state.elapsed + fraction * state.time_left)
                if not last and isinstance(engine, Resumable):
                    left = [name for name in names[position + 1 :] if name != "exact-more"] or names[-1:]
                    _go_on(state, engine, left[0])
        except OutOfTime:
            return
        except AdvverifyError:
            raise
        except _FAILURES as error:  # what was proved so far stands, and the other engines go on
            state.count("failures")
            state.notes.append(f"{name} failed ({type(error).__name__}: {error})")


def _go_on(state: SearchState, engine: Resumable, following: str) -> None:
    """Leave an engine the time of those that wait behind it while its own progress says that it will arrive."""
    while engine.under_way and not state.done and state.time_left > 0:
        if not engine.arrives(state):
            state.statistics["handed_over"] = round(state.elapsed, 2)
            state.notes.append(f"{engine.name} handed over to {following} after {state.elapsed:.1f} s")
            return
        engine.resume(state, state.elapsed + min(state.time_left, max(_LEAST_TURN, state.time_left / 4)))


def conclude(state: SearchState, reason: str = "") -> Outcome:
    """The outcome of a state as it stands."""
    bracket = state.bracket
    engine = state.trace[-1].engine if state.trace else ""
    trust = Trust.SOLVER
    excluded = state.query.objective is Objective.FEASIBILITY and not state.open_subproblems
    if state.is_min_distortion:
        closed = state.done
        if math.isinf(bracket.upper) and closed:
            verdict = Verdict.ROBUST
        elif closed and bracket.witness is not None:
            verdict = Verdict.ADVERSARIAL
        else:
            verdict = Verdict.UNKNOWN
    elif state.witness is not None:
        verdict, trust = Verdict.ADVERSARIAL, Trust.CHECKED
    elif bracket.lower > 0 or (excluded and state.lower <= state.upper):
        verdict = Verdict.ROBUST
    else:
        verdict = Verdict.UNKNOWN
    if verdict is Verdict.UNKNOWN and not state.is_min_distortion and state.lower > 0:
        reason = f"robust in exact arithmetic, but an execution of the file comes to a margin of {bracket.upper:.3g}"
    elif verdict is Verdict.UNKNOWN:
        left = len(state.open_subproblems)
        reason = "; ".join(
            [f"{reason or _end(state)}: {left} of {len(state.subproblems)} targets open", *dict.fromkeys(state.notes)]
        )
    elif state.query.objective is Objective.MAX_MARGIN and not state.done:  # the verdict is known, its margin is not
        reason = f"the margin's bracket is open ({reason or _end(state)})"
    else:
        reason = ""
    return Outcome(
        verdict,
        Bracket(bracket.lower, bracket.upper, bracket.witness),
        trust,
        engine,
        state.elapsed,
        tuple(state.trace),
        reason,
        {},
        dict(state.statistics),
        mips=tuple(state.mips),
    )


def _end(state: SearchState) -> str:
    """Why a search that left something open went no further."""
    return f"time limit of {state.settings.timeout:g} s" if state.time_left <= 0 else "no engine knows more to try"
