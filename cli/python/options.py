"""Keywords of the calls: those of `Threat`, of `Settings` and of what belongs to single methods, flat and by the same names."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar

from advverify.verifier.engines import (
    MilpOptions,
    ReluSplitOptions,
    Settings,
    check_milp_options,
    choose_engines,
    split_names,
)
from advverify.verifier.engines.settings import check_gpu
from advverify.verifier.errors import InvalidInput, no_such
from advverify.verifier.outcome import Outcome, TraceEvent
from advverify.verifier.specification import Threat
from advverify.verifier.specification.threat import whole_number

from ..effects import missed_options, why_missed
from .images import BytesAs

Listener = Callable[[TraceEvent], None]
Progress = bool | Callable[[int, Outcome], None]
Command = Literal["certify", "distance", "verify"]
F = TypeVar("F", bound=Callable[..., Any])


class SearchOptions(TypedDict, total=False):
    """Keywords of a search; see `Settings`, `MilpOptions` and `ReluSplitOptions`, whose fields most of them are."""

    timeout: float
    gap: float
    engines: str | Sequence[str]
    threads: int
    seed: int
    device: str
    proofs: str | Path | None
    proof_seconds: float | None
    solver: str
    formulation: str
    fix_stable: bool
    substitute: bool
    tighten: Literal["none", "lp", "mip"]
    targets: Literal["joint", "separate"]
    cuts: Literal["none", "root"]
    branching: str
    fsb_candidates: int
    beta_steps: int
    intermediate_bounds: bool
    settings: Settings | None
    listener: Listener | None


class VerifyOptions(SearchOptions, total=False):
    """Keywords of `verify`."""

    float32: bool


class DistanceOptions(SearchOptions, total=False):
    """Keywords of `distance`: those of a search, of a `Threat`, and of a batch of images."""

    norm: str | float
    eps: float | None
    target: int | None
    margin: float
    valid_range: tuple[float, float]
    channels: int
    float32: bool
    bytes_as: BytesAs | None
    jobs: int
    progress: Progress


class CertifyOptions(DistanceOptions, total=False):
    """Keywords of `certify`."""

    exact_margin: bool


_KEYWORDS: dict[str, type] = {"certify": CertifyOptions, "distance": DistanceOptions, "verify": VerifyOptions}
_THREAT = ("norm", "eps", "target", "margin", "valid_range", "channels", "float32")
_MILP, _RELU_SPLIT = (tuple(field.name for field in fields(cls)) for cls in (MilpOptions, ReluSplitOptions))
_PLAIN = ("timeout", "gap", "threads", "seed", "device", "proofs", "proof_seconds")


@dataclass(frozen=True)
class Asked:
    """What the keywords of a call ask for, checked; `programs` names the options of programs that were stated."""

    threat: Threat
    settings: Settings
    engines: tuple[str, ...]
    listener: Listener | None
    progress: Progress
    bytes_as: BytesAs | None
    jobs: int
    exact_margin: bool
    programs: tuple[str, ...] = ()


def read_options(command: Command, given: dict[str, Any], threat: Threat | None = None) -> Asked:
    """Check the keywords of a call.

    Raises:
        InvalidInput: an unknown keyword, a value that makes no sense, one thing said twice, or a radius that is missing.
        SolverUnavailable: the solver asked for is not installed.
    """
    known = list(parameters(command))
    for name in given:
        if name not in known:
            raise no_such(f"keyword of {command}", name, known)
    chosen = {name: given[name] for name in _THREAT if name in given}
    if threat is not None and not isinstance(threat, Threat):
        raise InvalidInput(
            f"threat must be a Threat, got {threat!r}; a norm and a radius are keywords: norm='inf', eps=0.05"
        )
    if threat is not None and chosen:
        raise InvalidInput(f"{_listed(chosen)} and a Threat are both given: say it in one of the two")
    threat = Threat(**chosen) if threat is None else threat
    if command == "certify" and threat.eps is None:
        raise InvalidInput(
            "certify needs a radius: eps=0.05 in the model's units, or math.inf for the whole valid range"
        )
    engines = _engines(given.get("engines", ()))
    settings = _settings(given)
    check_gpu(settings.device)
    default = MilpOptions()  # `Settings` do not say which of their values were stated
    stated = [name for name in _MILP if name in given or getattr(settings.milp, name) != getattr(default, name)]
    check_milp_options(settings.milp, engines, stated)
    for name in ("exact_margin", "progress"):
        if not isinstance(given.get(name, False), bool) and not (name == "progress" and callable(given[name])):
            raise InvalidInput(f"{name} must be True or False, got {given[name]!r}")
    jobs = whole_number("jobs", given.get("jobs", 1))
    if jobs < 1:
        raise InvalidInput(f"jobs must be a whole number from 1, got {jobs}")
    if given.get("listener") is not None and not callable(given["listener"]):
        raise InvalidInput(f"listener must be a function of a TraceEvent, got {given['listener']!r}")
    return Asked(
        threat,
        settings,
        engines,
        given.get("listener"),
        given.get("progress", False),
        given.get("bytes_as"),
        jobs,
        given.get("exact_margin", False),
        tuple(stated),
    )


def warn_of_no_effect(asked: Asked, outcomes: Sequence[Outcome]) -> None:
    """Warn of options of programs that were stated and that no query came to, as the command line does below its table."""
    names = missed_options(outcomes, asked.settings.milp, asked.programs)
    if not names:
        return
    shown = ", ".join(f"{name}={getattr(asked.settings.milp, name)!r}" for name in names)
    why = why_missed(outcomes, asked.settings.milp, "engines='milp'")
    here = str(Path(__file__).parent)
    level = next((k for k, frame in enumerate(inspect.stack(0)) if not frame.filename.startswith(here)), 1)
    warnings.warn(f"{shown} had no effect: {why}", stacklevel=level + 1)


def parameters(command: Command) -> dict[str, Any]:
    """The keywords of a call, in the order in which they are documented, with their defaults."""
    defaults: dict[str, Any] = {
        "engines": (),
        "settings": None,
        "listener": None,
        "bytes_as": None,
        "jobs": 1,
        "progress": False,
    }
    for options in (Threat(), MilpOptions(), ReluSplitOptions(), Settings()):
        defaults |= {field.name: getattr(options, field.name) for field in fields(options)}
    defaults["exact_margin"] = False
    names = _KEYWORDS[command].__annotations__
    first = [name for name in ("norm", "eps", "timeout") if name in names]
    return {name: defaults[name] for name in dict.fromkeys((*first, *names))}


def spelled_out(command: Command) -> Callable[[F], F]:
    """A decorator that shows every keyword in a call's signature, for `help` and for completion."""

    def spell(function: F) -> F:
        own = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in parameters(command).items()
        ]
        function.__signature__ = inspect.Signature([*own, *keywords])  # type: ignore[attr-defined]
        return function

    return spell


def _engines(given: Any) -> tuple[str, ...]:
    if isinstance(given, str):
        names = split_names(given)
    else:
        try:
            names = tuple(given)
        except TypeError:
            raise InvalidInput(f"engines must be names of engines, got {given!r}") from None
    choose_engines(names)
    return names


def _settings(given: dict[str, Any]) -> Settings:
    names = [name for name in (*_PLAIN, *_MILP, *_RELU_SPLIT) if name in given]
    settings = given.get("settings")
    if settings is not None:
        if not isinstance(settings, Settings):
            raise InvalidInput(f"settings must be Settings, got {settings!r}")
        if names:
            raise InvalidInput(f"{_listed(names)} and settings are both given: say it in one of the two")
        return settings
    values = {name: given[name] for name in _PLAIN if name in given}
    if values.get("proofs") is not None:
        values["proofs"] = _folder(values["proofs"])
    milp = MilpOptions(**{name: given[name] for name in _MILP if name in given})
    relu_split = ReluSplitOptions(**{name: given[name] for name in _RELU_SPLIT if name in given})
    return Settings(**values, milp=milp, relu_split=relu_split)


def _folder(given: Any) -> Path:
    if not isinstance(given, str | Path):
        raise InvalidInput(f"proofs must be a folder, got {given!r}")
    path = Path(given).absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"proofs {given}: not a folder that can be written to ({error.strerror})") from error
    return path


def _listed(names: Any) -> str:
    return " and ".join([", ".join(list(names)[:-1]), list(names)[-1]]) if len(names) > 1 else next(iter(names))
