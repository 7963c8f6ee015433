"""`advverify gap`: how the bounds of kept answers converged, and where runs differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..help import Command
from ..options import note, output_options
from ..places import writable_file, writable_folder
from ..table import Column, console, number, share, show

if TYPE_CHECKING:
    from rich.console import Console

    from advverify.verifier.convergence.answers import Source
    from advverify.verifier.convergence.runs import Comparison, Run
    from advverify.verifier.convergence.solve import Solve


_SHOWN = 8  # hard questions on the terminal


@click.command("gap", cls=Command)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), default=None, metavar="FILE.html", help="Write a page.")
@click.option(
    "--figures", type=click.Path(path_type=Path), default=None, help="Write the figures to this folder, as SVG."
)
@click.option(
    "--by",
    multiple=True,
    metavar="WHAT",
    help="What makes a run: file, solver, solver-version, formulation, or a label of the lines such as engines, version, norm, "
    "model; several together: --by engines,model [default: file].",
)
@click.option("--limit", type=float, default=None, help="Seconds at which gaps are taken [default: the time limit].")
@click.option("--shift", type=float, default=1.0, show_default=True, help="Seconds, of the shifted geometric mean.")
@click.option(
    "--query", "names", multiple=True, metavar="NAME", help="Show the bounds of this image, property or key alone."
)
@click.option("--job", default=None, metavar="NAME", help="Only this job of a store.")
@output_options(rows="with the numbers of all runs")
def command(
    files: tuple[Path, ...],
    out: Path | None,
    figures: Path | None,
    by: tuple[str, ...],
    limit: float | None,
    shift: float,
    names: tuple[str, ...],
    job: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Report how primal and dual bounds converged in FILES: JSON lines of --out, or stores of `batch run`.

    Each file is a run, unless --by says what is. Gaps are those of distances, of exact margins, or of verdicts (open or
    closed). Traces and records are read, no models: it needs nothing but the files.
    """
    if out is not None or figures is not None:
        from ..report.figures import require_report

        require_report()
    if out is not None:
        writable_file(out, "--out")
    if figures is not None:
        figures = writable_folder(figures, "--figures")
    from ..gaps import Options, read

    gaps = read(files, Options(by, limit, shift, names, job))
    for each in gaps.notes:
        note(each, quiet)
    screen = console()
    if as_json:
        click.echo(json.dumps(gaps.to_dict(), allow_nan=False))
    elif not quiet and not gaps.asked:
        _print(screen, gaps.comparison)
    for question in gaps.asked if not as_json else ():
        _print_bounds(screen, gaps.comparison, gaps.sources, question)
    if out is not None or figures is not None:
        gaps.write(out, figures)
    for what, where in (("figures written", figures), ("written", out)):
        if where is not None and not quiet:
            click.echo(f"{what} to {where}", err=as_json)
    return 0


def _table(
    screen: Console, title: str, names: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str] = ("run",)
) -> None:
    """Print a table whose columns of words are named; all others are numbers."""
    show(screen, [Column(name, text=name in words) for name in names], rows, title)


def _print(screen: Console, comparison: Comparison) -> None:
    """Tables that fit into 80 columns."""
    from ..report.gap_words import answer, plural

    runs, profile = comparison.runs, comparison.profile
    wrong = comparison.misclassified
    left = f", {wrong} misclassified image{plural(wrong)} left out" if wrong else ""
    common = "" if comparison.compared == comparison.questions else f" ({comparison.compared} in every run)"
    screen.print(
        f"{comparison.questions} question{plural(comparison.questions)}{common}, {len(runs)} run{plural(len(runs))}, limit {comparison.limit:g} s{left}",
        markup=False,
    )
    screen.print(answer(comparison), style="bold", markup=False)
    names = ["run", "queries", "closed", "<= 1 %", "<= 5 %", "<= 10 %", "primal ∫", "dual ∫"]
    rows = []
    for run in runs:
        shares = [share(value) for value in (run.closed, *run.below)]
        integrals = [number(value, 3) for value in (run.primal_integral, run.dual_integral)]
        rows.append([run.name, str(run.queries), *shares, *integrals])
    _table(screen, "Gap at the limit", names, rows)
    within = [] if profile is None else [profile.within(factor) for factor in (1.0, 2.0, 10.0)]
    ratios = ["fastest", "within 2x", "within 10x"] if len(runs) > 1 and within else []
    rows = []
    for k, run in enumerate(runs):
        shares = [share(float(each[k])) for each in within] if ratios else []
        rows.append([run.name, number(run.mean_seconds, 3), number(run.par2, 3), *shares])
    _table(screen, "Seconds", ["run", "geom. mean", "PAR2", *ratios], rows)
    _print_programs(screen, runs)
    _print_hardest(screen, comparison)


def _print_programs(screen: Console, runs: Sequence[Run]) -> None:
    """What programs were solved for, what they took, how much of the root gap their steps closed, and who needed none."""
    from advverify.verifier.mip_record import CONFIRMATION, RELAXATION, SOLVE

    from ..report.gap_words import without_program, without_root

    names = [
        "run",
        "MIPs",
        "MIP seconds",
        "MIP nodes",
        "confirmations",
        "their seconds",
        "their nodes",
        "settled by LP",
    ]
    rows = []
    for run in runs:
        mips, confirmations = run.effort[SOLVE], run.effort[CONFIRMATION]
        efforts = [[str(e.programs), number(e.seconds, 3), str(e.nodes)] for e in (mips, confirmations)]
        rows.append([run.name, *efforts[0], *efforts[1], str(run.effort[RELAXATION].programs)])
    if any(effort.programs for run in runs for effort in run.effort.values()):
        _table(screen, "Programs", names, rows)
    for run in runs:
        if run.without:
            screen.print(without_program(run), markup=False)
    with_mips = [run for run in runs if run.mips]
    if with_mips:
        _print_roots(screen, with_mips)
    for line in filter(None, map(without_root, runs)):
        screen.print(line, markup=False)


def _print_roots(screen: Console, with_mips: Sequence[Run]) -> None:
    from advverify.verifier.convergence.statistics import ordered

    steps = [step for step in ordered(step for run in with_mips for step in run.root) if step != "lp"]
    rows = []
    for run in with_mips:
        closed = [share(float(run.root[step][1])) if step in run.root else "-" for step in steps]
        rows.append([run.name, str(run.mips), *closed])
    _table(screen, "Root gap closed by step, median over MIPs", ["run", "MIPs", *steps], rows)


def _print_hardest(screen: Console, comparison: Comparison) -> None:
    """One row a question; its hardest target is a second line of it."""
    from ..report.gap_words import hardest_title, in_words

    several = len(comparison.runs) > 1
    open_ = any(gap for _, _, gap in comparison.hardest)
    names, rows = ["question", *(["run"] if several else []), *(["gap"] if open_ else []), "seconds"], []
    for name, solve, gap in comparison.hardest[:_SHOWN]:
        question = solve.name if solve.hardest is None else f"{solve.name}\n  {in_words(solve.hardest)}"
        left = [share(gap)] if open_ else []
        rows.append([question, *([name] if several else []), *left, number(solve.seconds, 3)])
    _table(screen, hardest_title(comparison), names, rows, words=("question", "run"))


def _print_bounds(screen: Console, comparison: Comparison, sources: Sequence[Source], question: bytes) -> None:
    """Every step of a question's bounds and every program solved for it, run by run."""
    from rich.markup import escape

    from advverify.verifier.mip_record import RELAXATION

    for name, solves in comparison.solves.items():
        solve: Solve | None = solves.get(question)
        if solve is None:
            continue
        outcome = sources[solve.source].outcome(solve.place)
        screen.print(f"[bold]{escape(solve.name)}[/], run {escape(name)}")
        names = ["seconds", "dual bound", "primal bound", "engine"]
        events = [[f"{e.seconds:.3f}", number(e.lower), number(e.upper), e.engine] for e in outcome.trace]
        _table(screen, "", names, events, words=("engine",))
        if not outcome.mips:
            screen.print("no program was solved for it")
            continue
        names, rows = ["program", "binaries", "from", "seconds", "nodes", "proved", "primal"], []
        for record in outcome.mips:
            times = f"{record.began:.2f}", f"{record.seconds:.2f}"
            bounds = (number(value, 4) for value in (record.proved, record.primal))
            nodes = "-" if record.nodes is None else str(record.nodes)
            settled = record.role == RELAXATION
            what = record.target if settled else f"{record.target}, {record.role}"
            what += f"\n  {record.status}" if settled else f"\n  {record.solver}: {record.status}"
            rows.append([what, str(record.binaries), *times, nodes, *bounds])
        _table(screen, "", names, rows, words=("program",))
