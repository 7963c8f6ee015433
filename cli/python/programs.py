"""The mixed-integer program of one image, written for any solver."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from advverify.verifier.engines import MilpOptions
from advverify.verifier.engines.settings import Cuts, Tighten
from advverify.verifier.errors import InvalidInput, no_such
from advverify.verifier.query import Objective
from advverify.verifier.specification import Threat

from ..places import writable_file
from ..program_file import WrittenProgram, check_file, printable, write_program
from .images import BytesAs, ImageLike
from .opening import ModelLike
from .question import read_model_and_images


def export_mip(
    model: ModelLike,
    x: ImageLike,
    y: int | np.integer | None,
    path: str | Path,
    threat: Threat | None = None,
    *,
    norm: str | float | None = None,
    eps: float | None = None,
    objective: str = "min_distortion",
    formulation: str = "asymmetric",
    fix_stable: bool = True,
    substitute: bool = True,
    tighten: Tighten = "none",
    cuts: Cuts = "none",
    timeout: float = 60.0,
    bytes_as: BytesAs | None = None,
) -> WrittenProgram:
    """Write the mixed-integer program of one image to a .lp or .mps file; `advverify export-mip` writes the same.

    Example:
        >>> import tempfile
        >>> from advverify.models.datasets import load_dataset
        >>> digits = load_dataset("digits")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     written = export_mip("zoo:digits-mlp", digits.images[0], 7, f"{folder}/query.lp", norm="inf", eps=0.1)
        ...     written.path.name, written.binaries > 0
        ('query.lp', True)

    Args:
        model: as in `certify`, like `x` and `bytes_as`.
        x: one image.
        y: its class; None for what the model itself predicts.
        path: of the file, which must end in .lp or .mps.
        threat: a `Threat`, in the place of `norm` and `eps`, for targets, margins or another valid range.
        norm: 0, 1, 2 or "inf"; "inf" where neither it nor a threat is given.
        eps: radius of the ball that the program is about.
        objective: "feasibility", "min_distortion" or "max_margin".
        formulation: of the ReLUs, like `fix_stable`, `substitute`, `tighten` and `cuts` one of `MilpOptions`.
        fix_stable: likewise.
        substitute: likewise.
        tighten: likewise; bounds from solves, none by default.
        cuts: likewise; none by default.
        timeout: seconds for bounds, and for cuts.

    Returns:
        Its sizes, and what is odd about it: an image that is misclassified, or a formulation that is another one here.

    Raises:
        InvalidInput: an argument that makes no sense, a radius that is missing or 0, or a file that cannot be written.
        InvalidModel: as in `certify`.
    """
    path = Path(path)
    check_file(path)
    if threat is not None and (norm, eps) != (None, None):
        raise InvalidInput("a norm or a radius and a Threat are both given: say it in one of the two")
    threat = Threat("inf" if norm is None else norm, eps) if threat is None else threat
    if threat.eps is None or threat.eps == 0:
        raise InvalidInput("export_mip needs a radius above 0: eps=0.05 in the model's units, or math.inf")
    objectives = [each.value for each in Objective]
    if objective not in objectives:
        raise no_such("objective", objective, objectives)
    if isinstance(timeout, bool) or not timeout > 0:
        raise InvalidInput(f"timeout must be a number of seconds above 0, got {timeout!r}")
    options = MilpOptions(
        formulation=formulation, fix_stable=fix_stable, substitute=substitute, tighten=tighten, cuts=cuts
    )
    opened, images = read_model_and_images(model, x, y, bytes_as)
    if not images.single:
        raise InvalidInput("a program is of one image, and x is a batch: give x[0] and its label")
    images.check_range(threat.valid_range)
    writable_file(path, "path")
    (label,) = images.labelled(opened.predict)
    name = "network" if opened.path is None else printable(str(opened.path))
    about = f"{name}, an image"
    return write_program(opened, images.values[0], label, threat, Objective(objective), options, timeout, path, about)
