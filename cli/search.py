"""Options of a search: limits, engines, and how its mixed-integer programs are written and solved."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from advverify.verifier.errors import InvalidInput

from .completion import MODEL, Listed, Names
from .effects import missed_options, why_missed
from .options import COUNT, DATA, SEED, F, apply, device_from, norm_option, output_options, threat_options
from .places import writable_folder

if TYPE_CHECKING:
    from advverify.verifier.engines import MilpOptions, Settings
    from advverify.verifier.outcome import Outcome

_ENGINES = Names(
    "crown falsify propagate bisect falsify-more row-split exact support-split input-split lp-split relu-split exact-more milp",
    "mip",
)
_MILP = {  # names in `MilpOptions`, and how each is given here
    "solver": "--solver",
    "formulation": "--formulation",
    "fix_stable": "--fix-stable/--no-fix-stable",
    "substitute": "--substitute/--no-substitute",
    "tighten": "--tighten",
    "targets": "--targets",
    "cuts": "--cuts",
}


def query_options(function: F) -> F:
    """MODEL, norm, data, images and what limits a search."""
    return apply(
        click.argument("model", type=MODEL),
        norm_option(),
        click.option("--data", default=None, type=DATA, help="Data set [default: the model's own]."),
        click.option(
            "--images",
            default="0:20",
            show_default=True,
            metavar="RANGE",
            help="Images of the test set: 7, 0:100 or 0:100:5.",
        ),
        threat_options(),
        click.option("--gap", type=float, default=1e-4, show_default=True, help="Relative gap of a closed bracket."),
        search_options(60.0),
        click.option("--jobs", type=COUNT, default=1, show_default=True, help="Images worked on at the same time."),
        click.option(
            "-o",
            "--out",
            type=click.Path(path_type=Path),
            default=None,
            metavar="FILE",
            help="Append one JSON line an image.",
        ),
        output_options(save=True),
    )(function)


def search_options(timeout: float) -> Callable[[F], F]:
    """Time limit, engines, solver and form of MILPs, threads, device."""
    return apply(
        click.option("--timeout", type=float, default=timeout, show_default=True, help="Seconds a query."),
        click.option(
            "--engines",
            default="",
            type=_ENGINES,
            metavar="NAME,...",
            help=f"Engines to use, separated by commas, of {_ENGINES}; or the profile mip [default: all].",
        ),
        click.option(
            "--solver",
            default="highs",
            show_default=True,
            type=Listed("[highs|scip|cbc|glpk|gurobi|cplex|xpress|copt|mosek]"),
            help="Whom the engine milp asks for what attacks, bounds and trees leave; `advverify solvers` lists them.",
        ),
        formulation_options(),
        tighten_option("lp"),
        click.option(
            "--targets",
            type=click.Choice(["joint", "separate"]),
            default="separate",
            show_default=True,
            help="One MILP over all targets, or one a target.",
        ),
        cuts_option("root"),
        click.option("--threads", type=COUNT, default=None, help="Threads a query [default: 2, fewer with --jobs]."),
        click.option(
            "--device",
            type=click.Choice(["auto", "cpu", "cuda"]),
            default="auto",
            show_default=True,
            help="Where attacks and bound propagation look at images or a property first; auto: certify on a GPU, if any.",
        ),
        click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of attacks and solvers."),
        click.option(
            "--float32",
            is_flag=True,
            help="Robust also under the rounding of any execution in the file's own precision.",
        ),
        click.option(
            "--proofs",
            type=click.Path(path_type=Path),
            default=None,
            metavar="DIR",
            help="Write a proof of each verdict to this folder.",
        ),
    )


def formulation_options() -> Callable[[F], F]:
    """How a MILP writes ReLUs."""
    return apply(
        click.option(
            "--formulation",
            default="asymmetric",
            show_default=True,
            type=Listed("[symmetric|asymmetric|partition-N|extended]"),
            help="ReLUs of MILPs: symmetric (one big M a layer), asymmetric (each neuron's own bounds), partition-N "
            "(inputs in at most N groups), extended (convex hull).",
        ),
        click.option(
            "--fix-stable/--no-fix-stable",
            default=True,
            show_default=True,
            help="Leave out the binaries of ReLUs whose phase the bounds settle.",
        ),
        click.option(
            "--substitute/--no-substitute",
            default=True,
            show_default=True,
            help="Leave out their columns and rows as well, where that keeps the program small.",
        ),
    )


def tighten_option(default: str) -> Callable[[F], F]:
    """Bounds of neurons from solves."""
    return click.option(
        "--tighten",
        type=click.Choice(["none", "lp", "mip"]),
        default=default,
        show_default=True,
        help="Bounds of neurons from solves over what is unsafe, before a MILP.",
    )


def cuts_option(default: str) -> Callable[[F], F]:
    """Rows of ideal formulations."""
    return click.option(
        "--cuts",
        type=click.Choice(["none", "root"]),
        default=default,
        show_default=True,
        help="Rows of ideal ReLU formulations that the LP relaxation violates, added at the root of a MILP.",
    )


def milp_from(options: dict[str, Any]) -> MilpOptions:
    """Validated options of the MILP engine.

    Raises:
        InvalidInput: a name that there is not.
    """
    from advverify.verifier.engines import MilpOptions

    return MilpOptions(**{name: options[name] for name in _MILP})


def stated(names: Sequence[str]) -> list[str]:
    """Those of some options of the running command that the user wrote, even where it is the default."""
    context = click.get_current_context()
    return [name for name in names if context.get_parameter_source(name) is ParameterSource.COMMANDLINE]


def settings_from(options: dict[str, Any], gpu: bool = True, many: bool = False) -> Settings:
    """Validated settings.

    Args:
        options: of the command line.
        gpu: whether what is asked for can use one.
        many: whether it has so much to do that it should where it finds one.

    Raises:
        InvalidInput: a limit that makes no sense.
    """
    from advverify.verifier.engines import Settings
    from advverify.verifier.parallel.fork import hide_gpus

    timeout = float(options["timeout"])
    if math.isnan(timeout) or timeout <= 0:
        raise InvalidInput(f"--timeout must be a number of seconds above 0, got {timeout:g}")
    gap = float(options.get("gap", 1e-4))
    if not 0 < gap < 1:
        raise InvalidInput(f"--gap must be above 0 and below 1, got {gap:g}")
    threads = options["threads"]
    if threads is None:  # all jobs together get no more than the machine has
        threads = max(1, min(2, (os.cpu_count() or 1) // max(int(options.get("jobs", 1)), 1)))
    milp = milp_from(options)
    if options["device"] == "cuda" and not gpu:
        raise InvalidInput("--device cuda is for verdicts of certify and verify alone; leave it out")
    device = "cpu" if options["device"] == "auto" and not many else device_from(options["device"])
    if device == "cpu":  # trees in several processes need it
        hide_gpus()
    proofs = None if options["proofs"] is None else writable_folder(options["proofs"], "--proofs")
    return Settings(
        timeout=timeout,
        gap=gap,
        threads=threads,
        seed=int(options["seed"]),
        milp=milp,
        device=device,
        proofs=proofs,
    )


def engines_from(text: str, milp: MilpOptions) -> tuple[str, ...]:
    """Engine names; unknown ones are refused, and so are options of programs that were stated and none of them reads.

    Raises:
        InvalidInput: no such engine, or an option without effect.
        SolverUnavailable: the solver is not installed.
    """
    from advverify.verifier.engines import READERS, check_milp_options, split_names, unread_options

    names = split_names(text)
    for unread in unread_options(stated(list(_MILP)), names):
        readers = " and ".join(READERS[unread])
        raise InvalidInput(
            f"{_MILP[unread]} has no effect with --engines {text}: only {readers} read{'' if ' and ' in readers else 's'} it; "
            "add milp to --engines, or leave the option out"
        )
    check_milp_options(milp, names)
    return names


def without_effect(outcomes: Sequence[Outcome], milp: MilpOptions) -> str:
    """A line that names the options of programs which were stated and that no query came to; "" where there are none."""
    names = missed_options(outcomes, milp, stated(list(_MILP)))
    if not names:
        return ""
    shown = []
    for name in names:
        value = getattr(milp, name)
        shown.append(f"{_MILP[name]} {value}" if isinstance(value, str) else _MILP[name].split("/")[not value])
    return f"{', '.join(shown)} had no effect: {why_missed(outcomes, milp, '--engines milp')}"
