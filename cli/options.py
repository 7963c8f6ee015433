"""Options that several commands share, and how their values are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from advverify.verifier.errors import InvalidInput

from .completion import Listed
from .help import Seed

if TYPE_CHECKING:
    from advverify.models.datasets import Dataset
    from advverify.verifier.api import Model
    from advverify.verifier.specification import Threat

F = TypeVar("F", bound=Callable[..., Any])

SEED = Seed(0, 2**63 - 1)
COUNT = click.IntRange(1, 1024)  # of threads or processes
DATA = Listed("[digits|mnist:DIR|fashion-mnist:DIR|cifar10:DIR|npz:FILE]")


def norm_option(
    default: str | None = "inf", text: str = "Norm of perturbations.", choices: str = "0|1|2|inf"
) -> Callable[[F], F]:
    """The norm, in any usual spelling."""
    shown = default is not None
    return click.option(
        "--norm", callback=_norm_name, type=Listed(f"[{choices}]"), default=default, show_default=shown, help=text
    )


def _norm_name(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """The norm's own name; nothing is imported for `--help`, or while a shell completes words."""
    if value is None or context.resilient_parsing:
        return value
    from advverify.verifier.norms import get_norm

    return get_norm(value).name


def apply(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Several decorators as one, the first outermost."""

    def decorate(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def output_options(save: bool = False, rows: str = "an image") -> Callable[[F], F]:
    """How results reach the reader: in tables, as JSON, as one line, and as adversarial examples in a folder."""
    folder = click.option(
        "--save",
        type=click.Path(path_type=Path),
        default=None,
        metavar="DIR",
        help="Write adversarial inputs to this folder: arrays (.npz), pictures, an index.",
    )
    return apply(
        *([folder] if save else []),
        click.option("--json", "as_json", is_flag=True, help=f"Print one JSON line {rows}, and nothing else."),
        click.option("-q", "--quiet", is_flag=True, help="No notes, no progress, no tables."),
    )


def note(text: str, quiet: bool = False) -> None:
    """Say something that was decided and not asked, on stderr."""
    if not quiet:
        click.echo(f"note: {text}", err=True)


def threat_options() -> Callable[[F], F]:
    """What counts as adversarial, apart from norm and radius."""
    return apply(
        click.option("--target", type=int, default=None, help="Only this class counts as adversarial."),
        click.option(
            "--margin",
            type=float,
            default=0.0,
            show_default=True,
            help="By how much an adversarial class must be above the label, in logits.",
        ),
        click.option(
            "--valid-range",
            nargs=2,
            type=float,
            metavar="LOW HIGH",
            default=(0.0, 1.0),
            show_default="0 1",
            help="Range of inputs.",
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


def model_path(name: str) -> Path:
    """A path, or the file of `zoo:NAME`.

    Raises:
        InvalidInput: there is no such file.
    """
    from advverify.models import zoo

    return zoo.locate(name)


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
    model: Model,
    name: str | None,
    valid: tuple[float, float] = (0.0, 1.0),
    bytes_as: str | None = None,
    split: str = "test",
    say: Callable[[str], None] = note,
) -> Dataset:
    """The data set asked for, or the one that the model's metadata names, in the order and the units of its inputs.

    `say` hears what was decided and not stated.

    Raises:
        InvalidInput: neither is there, the images do not fit the network, or their units are not clear.
    """
    from advverify.models.datasets import CHOICES, load_dataset

    chosen = name or dict(model.network.metadata).get("data")
    if chosen is None:
        raise InvalidInput(f"the model names no data set; give --data: {CHOICES}")
    shape = model.network.input_shape
    data = load_dataset(chosen, split, valid=valid, bytes_as=bytes_as).fitted(shape)
    if data.note:
        say(data.note)
    if data.channels_last and sum(n != 1 for n in shape) < 2 and data.images.shape[1] > 1:
        say(f"the images of {data.name} are channels last; the network's flat input gets channels first")
    return data


def images_from(text: str, count: int, option: str = "--images") -> range:
    """7, 0:100 or 0:100:5, checked against the number of images; `option` is named where it is none of these.

    Raises:
        InvalidInput: not of that form, or nothing there.
    """
    parts = text.split(":")
    try:
        numbers = [int(p) if p else None for p in parts]
    except ValueError:
        raise InvalidInput(f"{option} takes 7, 0:100 or 0:100:5, got '{text}'") from None
    if len(numbers) > 3 or numbers == [None] or (len(numbers) == 3 and numbers[2] == 0):
        raise InvalidInput(f"{option} takes 7, 0:100 or 0:100:5, got '{text}'")
    if len(numbers) == 1:
        first = numbers[0]
        assert first is not None
        indices = range(first, first + 1)
    else:
        indices = range(*slice(*numbers).indices(count))
        last = numbers[1]
        if last is not None and last > count:
            raise InvalidInput(f"{option} {text}: the data set has {count} images, 0 to {count - 1}")
    if not indices and len(numbers) > 1:
        raise InvalidInput(f"{option} {text} names no image: the end is not part of it (3:4 is image 3)")
    if not indices or indices[0] < 0 or indices[-1] >= count:
        raise InvalidInput(f"{option} {text}: the data set has {count} images, 0 to {count - 1}")
    return indices
