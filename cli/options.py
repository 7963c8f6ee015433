"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from advverify.verifier.errors import InvalidInput, no_file

if TYPE_CHECKING:
    from advverify.models.datasets import Dataset
    from advverify.verifier.api import Model
    from advverify.verifier.engines import MilpOptions, Settings
    from advverify.verifier.specification import Threat

F = TypeVar("F", bound=Callable[..., Any])

SEED = click.IntRange(0, 2**63 - 1)
COUNT = click.IntRange(1, 1024)  # of threads or processes


def norm_option(default: str | None = "inf", text: str = "Norm of perturbations: 0, 1, 2 or inf.") -> Callable[[F], F]:
    """The norm, in any usual spelling."""
    shown = default is not None
    return click.option(
        "--norm", callback=_norm_name, metavar="0|1|2|inf", default=default, show_default=shown, help=text
    )


def _norm_name(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The norm's own name; nothing is imported for `--help`."""
    from advverify.verifier.norms import get_norm

    return None if value is None else get_norm(value).name


def apply(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several decorators as one, the first outermost."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def query_options(function: F) -> F:
    """MODEL, norm, data, images and what limits a search."""
    return apply(
        click.argument("model"),
        norm_option(),
        click.option(
            "--data", default=None, help="digits, mnist:DIR, cifar10:DIR or npz:FILE [default: the model's own]."
        ),
        click.option(
            "--images", default="0:20", show_default=True, help="Images of the test set: 7, 0:100 or 0:100:5."
        ),
        threat_options(),
        click.option("--gap", type=float, default=1e-4, show_default=True, help="Relative gap of a closed bracket."),
        search_options(60.0),
        click.option("--jobs", type=COUNT, default=1, show_default=True, help="Images worked on at the same time."),
        click.option("--out", type=click.Path(path_type=Path), default=None, help="Append one JSON line an image."),
    )(function)


def threat_options() -> Callable[[F], F]:
    """What counts as adversarial, apart from norm and radius."""
    return apply(
        click.option("--target", type=int, default=None, help="Only this class counts as adversarial."),
        click.option("--margin", type=float, default=0.0, help="Confidence by which an adversarial example must win."),
        click.option(
            "--valid-range", nargs=2, type=float, default=(0.0, 1.0), show_default=True, help="Range of inputs."
        ),
        bytes_option(),
        click.option("--tie-channels", is_flag=True, help="Norm 0 counts pixels instead of single values."),
    )


def bytes_option() -> Callable[[F], F]:
    """What images are that are bytes."""
    return click.option(
        "--bytes",
        "bytes_as",
        type=click.Choice(["raw", "unit"]),
        default=None,
        help="Images that are bytes: raw as they are, unit divided by 255 "
        "[default: unit for the valid range 0 1, raw for 0 255].",
    )


def search_options(timeout: float) -> Callable[[F], F]:
    """Time limit, engines, solver and form of MILPs, threads, device."""
    return apply(
        click.option("--timeout", type=float, default=timeout, show_default=True, help="Seconds a query."),
        click.option(
            "--engines", default="", help="Comma-separated engines to use, or the profile mip [default: all]."
        ),
        click.option(
            "--solver",
            default="highs",
            show_default=True,
            help="Solver of the MILP engine; `advverify solvers` lists them.",
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
            metavar="NAME",
            help="ReLUs of MILPs: symmetric (one big M a layer), asymmetric (each neuron's own bounds), partition-N "
            "(N groups of inputs), extended (convex hull).",
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
        help="Rows of ideal ReLU formulations that the LP relaxation violates, at the root of a MILP.",
    )


def milp_from(options: dict[str, Any]) -> MilpOptions:
    """Validated options of the MILP engine.

    Raises:
        InvalidInput: there is no such formulation, or the solver cannot do what is asked.
    """
    from advverify.verifier.engines import MilpOptions
    from advverify.verifier.solvers import get_solver

    if options["solver"] != "highs":
        get_solver(options["solver"])
    names = ("solver", "formulation", "fix_stable", "substitute", "tighten", "targets", "cuts")
    return MilpOptions(**{name: options[name] for name in names})


def threat_from(options: dict[str, Any]) -> Threat:
    """The threat of the options, with pixels still counted value by value.

    Raises:
        InvalidInput: a value that makes no sense.
    """
    from advverify.verifier.specification import Threat

    return Threat(
        options["norm"],
        options["eps"],
        target=options["target"],
        margin=options["margin"],
        valid_range=options["valid_range"],
        float32=options["float32"],
    )


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

    timeout = float(options["timeout"])
    if math.isnan(timeout) or timeout <= 0:
        raise InvalidInput(f"--timeout must be a number of seconds above 0, got {timeout:g}")
    gap = float(options.get("gap", 1e-4))
    if not 0 < gap < 1:
        raise InvalidInput(f"--gap must lie between 0 and 1, got {gap:g}")
    threads = options["threads"]
    if threads is None:  # all jobs together get no more than the machine has
        threads = max(1, min(2, (os.cpu_count() or 1) // max(int(options.get("jobs", 1)), 1)))
    milp = milp_from(options)
    if options["device"] == "cuda" and not gpu:
        raise InvalidInput("--device cuda is for verdicts of certify and verify alone; leave it out")
    device = "cpu" if options["device"] == "auto" and not many else device_from(options["device"])
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


def device_from(name: str) -> str:
    """cpu or cuda, from auto, cpu or cuda.

    Raises:
        InvalidInput: there is no GPU.
    """
    import torch

    found = name != "cpu" and torch.cuda.is_available()
    if name == "cuda" and not found:
        raise InvalidInput("--device cuda: torch finds no GPU here; use --device cpu")
    return "cuda" if found else "cpu"


def writable_folder(path: Path, option: str) -> Path:
    """The folder of an option, made where it is missing.

    Raises:
        InvalidInput: it cannot be.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidInput(f"{option} {path}: not a folder that can be written to ({error.strerror})") from error
    return path.absolute()


def writable_file(path: Path, option: str) -> None:
    """Check that the file of an option can be written, before the work whose result it is for.

    Raises:
        InvalidInput: it cannot be.
    """
    there = path.exists()
    try:
        with path.open("a"):
            pass
    except OSError as error:
        raise InvalidInput(f"{option} {path}: cannot be written ({error.strerror})") from error
    if not there:
        path.unlink()


def write_text(path: Path, text: str, option: str) -> None:
    """Write the file of an option.

    Raises:
        InvalidInput: it cannot be written any more: a full disk, a folder that is gone.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{option} {path}: cannot be written ({error.strerror})") from error


def engines_from(text: str) -> tuple[str, ...]:
    """Engine names; unknown ones are refused."""
    from advverify.verifier.engines import choose_engines

    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if text and not names:
        raise InvalidInput(f"'{text}' names no engine: leave --engines out for all of them")
    choose_engines(names)
    return names


def model_path(name: str) -> Path:
    """A path, or the file of `zoo:NAME`.

    Raises:
        InvalidInput: there is no such file.
    """
    from advverify.models import zoo

    if name.startswith("zoo:"):
        return zoo.path_of(name.removeprefix("zoo:"))
    path = Path(name)
    if not path.is_file():
        hint = (
            f"did you mean zoo:{name}?"
            if name in zoo.names()
            else "give an ONNX file, or zoo:NAME for a shipped network"
        )
        raise InvalidInput(f"{name}: {no_file(path)}; {hint}")
    return path


def several_outputs(model: Model, name: str, command: str) -> None:
    """Refuse a network whose classes are the two sides of a threshold, where a command compares outputs with each other.

    Raises:
        InvalidInput: the network has one output.
    """
    if model.network.output_size == 1:
        raise InvalidInput(
            f"{name} has one output, and {command} takes networks with an output for each class: certify and distance "
            "work on it, or export it with two outputs (0 and the logit)"
        )


def data_for(
    model: Model, name: str | None, valid: tuple[float, float] = (0.0, 1.0), bytes_as: str | None = None
) -> Dataset:
    """The data set asked for, or the one that the model's metadata names, in the order and the units of its inputs.

    What was decided and not stated is said on stderr.

    Raises:
        InvalidInput: neither is there, the images do not fit the network, or their units are not clear.
    """
    from advverify.models.datasets import CHOICES, load_dataset

    chosen = name or dict(model.network.metadata).get("data")
    if chosen is None:
        raise InvalidInput(f"the model names no data set; give --data: {CHOICES}")
    shape = model.network.input_shape
    data = load_dataset(chosen, valid=valid, bytes_as=bytes_as).fitted(shape)
    if data.note:
        click.echo(f"note: {data.note}", err=True)
    if data.channels_last and sum(n != 1 for n in shape) < 2 and data.images.shape[1] > 1:
        click.echo(
            f"note: the images of {data.name} are channels last; the network's flat input gets channels first", err=True
        )
    return data


def images_from(text: str, count: int) -> range:
    """7, 0:100 or 0:100:5, checked against the number of images.

    Raises:
        InvalidInput: not of that form, or nothing there.
    """
    parts = text.split(":")
    try:
        numbers = [int(p) if p else None for p in parts]
    except ValueError:
        raise InvalidInput(f"--images takes 7, 0:100 or 0:100:5, got '{text}'") from None
    if len(numbers) > 3 or numbers == [None] or (len(numbers) == 3 and numbers[2] == 0):
        raise InvalidInput(f"--images takes 7, 0:100 or 0:100:5, got '{text}'")
    if len(numbers) == 1:
        first = numbers[0]
        assert first is not None
        indices = range(first, first + 1)
    else:
        indices = range(*slice(*numbers).indices(count))
        last = numbers[1]
        if last is not None and last > count:
            raise InvalidInput(f"--images {text}: the data set has {count} images, 0 to {count - 1}")
    if not indices and len(numbers) > 1:
        raise InvalidInput(f"--images {text} names no image: the end is not part of it (3:4 is image 3)")
    if not indices or indices[0] < 0 or indices[-1] >= count:
        raise InvalidInput(f"--images {text}: the data set has {count} images, 0 to {count - 1}")
    return indices
