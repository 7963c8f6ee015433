"""Several networks beside each other: `compare` and `study` their radii, and the `geometry` of their boundaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from advverify.models.comparison.compare import Comparison
from advverify.verifier.errors import InvalidInput
from advverify.verifier.specification import Threat

from .. import boundaries, comparing, studying
from ..boundaries import Geometry
from ..studying import Study
from ..subjects import Given, ModelsLike
from .images import BytesAs, ImageLike, LabelsLike
from .options import Progress
from .outcomes import Outcomes
from .words import speaks_of_arguments, warn


@speaks_of_arguments
def compare(
    models: ModelsLike,
    x: ImageLike | None = None,
    y: LabelsLike | None = None,
    *,
    norm: str | float = "inf",
    data: str | None = None,
    images: str | None = None,
    eps_grid: Sequence[float] = (),
    gap: float = 0.01,
    timeout: float = 60.0,
    jobs: int | None = None,
    seed: int = 0,
    bytes_as: BytesAs | None = None,
    out: str | Path | None = None,
    progress: Progress = False,
) -> Comparison:
    """Which of several networks is more robust? Certified radii on the images that all of them classify rightly.

    Example:
        >>> result = compare(["zoo:digits-mlp", "zoo:digits-resnet-cpl"], images="0:3", gap=0.05, jobs=1)
        >>> [row["network"] for row in result.rows()]
        ['zoo:digits-mlp', 'zoo:digits-resnet-cpl']
        >>> len(result.pairs), result.asked
        (1, 3)

    Args:
        models: networks as in `certify`; a mapping gives them names. Networks of one recipe that differ in their seed alone
            are compared as groups.
        x: images (N, ...) in [0, 1], as in `certify`; None for those of a data set.
        y: their labels.
        norm: 1, 2 or "inf".
        data: a data set of the command line, such as "digits" or "mnist:DIR"; the models' own where None.
        images: of the data set, such as "0:100", which is the default.
        eps_grid: radii at which accuracies are listed; three from the data where there are none.
        gap: relative gap at which a bracket counts as closed.
        timeout: seconds for each image.
        jobs: so many images at once, each in a process of its own; one a core where None.
        seed: of attacks.
        bytes_as: what images of uint8 become: "unit" or "raw".
        out: folder for page, pictures, JSON and brackets, from which a call that was stopped goes on; or a name that ends in
            .html, for the page alone.
        progress: True shows it on a terminal; a function hears place and `Outcome` of every bracket.

    Returns:
        A `Comparison`: `rows()` of the networks, `pairs` with ranges of p values, `groups` of seeds, `findings` that look wrong,
        `to_json()`.

    Raises:
        InvalidInput: an argument that makes no sense, or networks and images that do not fit.
        InvalidModel: as in `certify`.
    """
    options = comparing.Options(norm, tuple(eps_grid), gap, timeout, jobs, seed, None if out is None else Path(out))
    hear = progress if callable(progress) else None
    return comparing.run(Given(models, x, y, data, images, bytes_as), options, warn, progress is True, hear)


@speaks_of_arguments
def geometry(
    models: ModelsLike,
    x: ImageLike | None = None,
    y: LabelsLike | None = None,
    *,
    data: str | None = None,
    images: str | None = None,
    h: float = 0.5,
    length: float | None = None,
    seed: int = 0,
    bytes_as: BytesAs | None = None,
    out: str | Path | None = None,
    progress: bool = False,
) -> Geometry:
    """How do the decision boundaries of networks run: curvature, normals, cross-sections, distances within subspaces?

    ReLU networks have no curvature at a point; all curvature is that of finite differences at the step `h`.

    Example:
        >>> measured = geometry("zoo:digits-mlp", images="0:8")
        >>> list(measured), measured["zoo:digits-mlp"]["images"]
        (['zoo:digits-mlp'], 8)

    Args:
        models: as in `compare`, like `x`, `y`, `data` and `bytes_as`; at most 1024 inputs.
        x: images.
        y: labels.
        data: a data set.
        images: of the data set, "0:60" where None.
        h: step, as a share of the median distance to the boundary.
        length: l2 length of the perturbations that all images share; twice the median distance of the first network where None.
        seed: of random directions.
        bytes_as: what images of uint8 become.
        out: folder for the page, its figures and their data; or a name that ends in .html, for the page alone.
        progress: True shows it on a terminal.

    Returns:
        A `Geometry`: a mapping from a network's name to what was measured, with `rows()`, `to_json()` and `write(out)`.

    Raises:
        InvalidInput: an argument that makes no sense, or fewer than two images that are classified rightly.
        InvalidModel: as in `certify`.
    """
    options = boundaries.Options(h, length, seed, None if out is None else Path(out))
    return boundaries.run(Given(models, x, y, data, images, bytes_as), options, warn, progress)


@speaks_of_arguments
def study(
    models: ModelsLike | Mapping[str, Outcomes] | Outcomes,
    x: ImageLike | None = None,
    y: LabelsLike | None = None,
    *,
    norm: str | float = "inf",
    eps: float | None = None,
    data: str | None = None,
    images: str | None = None,
    gap: float = 0.01,
    timeout: float = 60.0,
    jobs: int | None = None,
    seed: int = 0,
    bytes_as: BytesAs | None = None,
    out: str | Path | None = None,
    progress: Progress = False,
) -> Study:
    """How are the critical radii of networks distributed? Brackets, quantiles, a test between networks, and a plot.

    It looks at networks that there are; the command `study` trains those of a sweep.

    Where a binary search over verdicts leaves an interval, an exact distance closes it; what stays open counts as the bracket
    that it is.

    Example:
        >>> found = study(["zoo:digits-mlp", "zoo:digits-resnet-cpl"], images="0:6", gap=0.05, jobs=1)
        >>> low, high = found.quantiles(0.5)["zoo:digits-mlp"]
        >>> 0.05 < low <= high < 0.15
        True
        >>> [test["first"] for test in found.kolmogorov_smirnov()]
        ['zoo:digits-mlp']

    Args:
        models: as in `compare`, like `x`, `y`, `data`, `images` and `bytes_as`; or the `Outcomes` of `distance`, by names.
        x: images.
        y: labels.
        norm: 0, 1, 2 or "inf".
        eps: largest radius of interest; beyond it a radius is known to be larger. No limit where None.
        data: a data set.
        images: of the data set, "0:100" where None.
        gap: relative gap at which a bracket counts as closed.
        timeout: seconds for each image.
        jobs: so many images at once, each in a process of its own; one a core where None.
        seed: of attacks.
        bytes_as: what images of uint8 become.
        out: folder for brackets, numbers and the plot; a call that was stopped goes on from the brackets in it.
        progress: True shows it on a terminal; a function hears place and `Outcome` of every bracket.

    Returns:
        A `Study`: `rows()`, `quantiles(share)`, `robust(eps)`, `kolmogorov_smirnov()`, `plot(path)`, `to_json()`.

    Raises:
        InvalidInput: an argument that makes no sense, or networks and images that do not fit.
        InvalidModel: as in `certify`.
    """
    if isinstance(models, Outcomes):
        return Study({"network": models})
    if isinstance(models, Mapping) and models and all(isinstance(each, Outcomes) for each in models.values()):
        return Study(models)
    options = comparing.Options("inf", (), gap, timeout, jobs, seed, None if out is None else Path(out))
    if options.out != options.folder:
        raise InvalidInput(f"out {out}: study writes a folder; `plot(path)` of what it returns draws the figure alone")
    return studying.run(
        Given(models, x, y, data, images, bytes_as),
        Threat(norm, eps),
        options.settings,
        options.count,
        warn,
        options.out,
        progress is True,
        progress if callable(progress) else None,
    )
