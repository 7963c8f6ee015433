"""The command: every network, image, formulation and solver in turn; what is kept already is not asked again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from advverify.verifier.errors import InvalidInput, SolverUnavailable
from advverify.verifier.solvers import SOLVERS

from .kept import QUESTION, SOLVE, Kept
from .questions import JOINT, LOWEST, Question, Subject
from .tables import tables
from .variants import VARIANTS, Limits, Prepared

_DIGITS = (("digits-mlp", "digits"), ("digits-conv", "digits"), ("digits-deep", "digits"))


@click.command("ablation")
@click.option(
    "--network",
    "networks",
    nargs=2,
    multiple=True,
    metavar="MODEL DATA",
    help="A network of the zoo or an ONNX file, and its data: digits, mnist:DIR, ...; several [default: the three of digits].",
)
@click.option("--images", default=30, show_default=True, help="First test images that are classified correctly.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds of a variant and a solver, a question.")
@click.option(
    "--targets", type=click.Choice([LOWEST, JOINT]), default=LOWEST, show_default=True, help="Classes asked for."
)
@click.option("--variants", default=",".join(VARIANTS), help="Formulations, with commas between them [default: all].")
@click.option("--solvers", default="highs", show_default=True, help="With commas between them.")
@click.option("--threads", default=1, show_default=True, help="Of solvers that take several.")
@click.option("--seed", default=0, show_default=True, help="Of attack and solvers.")
@click.option(
    "--nonzeros",
    default=1_000_000,
    show_default=True,
    help="Programs with more entries count as open; no solver gets them.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/ablation.jsonl"), show_default=True)
@click.option("--show", is_flag=True, help="Only print the tables of --out.")
def command(
    networks: tuple[tuple[str, str], ...],
    images: int,
    timeout: float,
    targets: str,
    variants: str,
    solvers: str,
    threads: int,
    seed: int,
    nonzeros: int,
    out: Path,
    show: bool,
) -> None:
    """Write the same questions by every formulation and hand them to solvers; rows are kept in --out, a cut run goes on."""
    kept = Kept(out)
    if not show:
        if images < 1 or not timeout > 0 or threads < 1:
            raise click.ClickException("--images and --threads are at least 1, --timeout is above 0")
        chosen = _chosen(variants, list(VARIANTS), "formulation")
        able = _chosen(solvers, list(SOLVERS), "solver")
        limits = Limits(timeout, threads, seed, nonzeros)
        for network, data in networks or _DIGITS:
            try:
                subject = Subject.load(network, data)
            except InvalidInput as error:
                click.echo(f"skipped {network}: {error}", err=True)
                continue
            for index in subject.correct(images):
                _image(kept, subject, index, targets, chosen, able, limits)
    click.echo(tables(kept.solves()))


def _chosen(words: str, known: Sequence[str], what: str) -> list[str]:
    """Names of a list with commas, of which some hold commas themselves."""
    left, found = words.strip(), list[str]()
    while left:
        name = max((name for name in known if left == name or left.startswith(f"{name},")), key=len, default=None)
        if name is None:
            raise click.ClickException(f"there is no {what} '{left.partition(',')[0]}': choose {'; '.join(known)}")
        found.append(name)
        left = left[len(name) :].lstrip(", ")
    if not found:
        raise click.ClickException(f"name a {what}: {'; '.join(known)}")
    return found


def _image(
    kept: Kept,
    subject: Subject,
    index: int,
    targets: str,
    variants: Sequence[str],
    solvers: list[str],
    limits: Limits,
) -> None:
    """Whatever an image has no row of yet; a solver that turns out not to be installed is taken off the list."""
    about: dict[str, Any] = {
        "network": subject.name,
        "sha256": subject.network.sha256,
        "data": subject.data,
        "index": index,
        "asked": targets,
        "seed": limits.seed,
    }
    row = kept.find({"kind": QUESTION, **about})
    if row is None:
        question = Question.ask(subject, index, targets, limits.seed)
        kept.add({"kind": QUESTION, **about, **question.record})
    else:
        question = Question.kept(subject, row)
    about |= {"kind": SOLVE, **question.record, "limit": limits.seconds, "threads": limits.threads}
    for variant in variants:
        missing = [s for s in solvers if kept.find({**about, "variant": variant, "solver": s}) is None]
        if not missing:
            continue
        prepared = Prepared(question, VARIANTS[variant], limits)
        for solver in missing:
            try:
                result = prepared.solve(solver)
            except SolverUnavailable as error:
                click.echo(f"skipped {solver}: {error}", err=True)
                solvers.remove(solver)
                continue
            kept.add({**about, "variant": variant, "solver": solver, **result})
            said = f"{result['seconds']:.2f} s, {result['status']}"
            click.echo(f"{subject.name}, image {index}, {variant}, {solver}: {said}", err=True)
