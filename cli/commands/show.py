"""`advverify show`: one kept answer, as text and as a page."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advverify.verifier.errors import InvalidInput

from ..help import Command
from ..options import note, output_options
from ..places import writable_file, write_text
from ..table import Column, console, number, show

if TYPE_CHECKING:
    from advverify.verifier.convergence.answers import Answer

    from ..report.query_facts import Facts

_LISTED = 8  # answers that are named where it is not clear which is meant


@click.command("show", cls=Command)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("query", required=False)
@click.option("--job", default=None, metavar="NAME", help="Only this job of a store.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    default=None,
    metavar="FILE.html",
    help="Write a page, with figures and pictures.",
)
@output_options(rows="with the answer")
def command(file: Path, query: str | None, job: str | None, out: Path | None, as_json: bool, quiet: bool) -> int:
    """Show the answer to QUERY in FILE: JSON lines of --out, or a store of `batch run`.

    QUERY is an image's index, a property's file, a key or its beginning, or any part of the question's name such as
    'norm 2, distance, 7'. It may be left out where FILE holds one answer. A proof is checked afresh, and the adversarial
    example executed, where the model's file is still what it was.
    """
    from advverify.verifier.convergence.answers import Source

    if out is not None:
        from ..report.figures import require_report

        require_report()
        writable_file(out, "--out")
    source = Source(file, job=job)
    answer = _chosen(list(source), query, file)
    from ..report.query_facts import facts_of

    facts = facts_of(answer, source.outcome(answer.place))
    if out is not None:  # before the text: whoever reads it may go away
        from ..report.query_page import page

        with tempfile.TemporaryDirectory() as folder:
            write_text(out, page(facts, Path(folder)), "--out")
    if as_json:
        record = {"schema": 1, "name": facts.name, "sentence": facts.sentence, "proof": list(facts.proof)}
        record |= {"notes": list(facts.notes), "outcome": json.loads(facts.outcome.to_json())}
        click.echo(json.dumps(record, allow_nan=False))
    else:
        _print(facts, quiet)
    for each in facts.notes:
        note(each, quiet)
    if out is not None and not quiet:
        click.echo(f"written to {out}", err=as_json)
    return 0


def _print(facts: Facts, quiet: bool) -> None:
    """What is known in words, then how it came to be known."""
    screen = console()
    screen.print(facts.name, style="bold", markup=False)
    for line in (facts.sentence, *facts.proof):
        screen.print(line, markup=False)
    if quiet:
        return
    events = [[f"{e.seconds:.3f}", number(e.lower), number(e.upper), e.engine] for e in facts.outcome.trace]
    show(screen, [Column("seconds"), Column("proved"), Column("found"), Column("engine", word=True)], events)
    for name, value in facts.statistics.items():
        screen.print(f"{name}: {value}", markup=False)


def _chosen(answers: list[Answer], query: str | None, file: Path) -> Answer:
    """The one answer that is meant.

    Raises:
        InvalidInput: none is, or several are; some of them are named.
    """
    if query is None:
        found = answers
    else:
        keys = [str(a.labels.get("key", a.place)) for a in answers]
        found = next(
            filter(
                None,
                (
                    [a for a, key in zip(answers, keys, strict=True) if query in (key, str(a.labels.get("index")))],
                    [a for a in answers if f", {a.name}".endswith(f", {query}")],
                    [a for a, key in zip(answers, keys, strict=True) if query in a.name or key.startswith(query)],
                ),
            ),
            [],
        )
    if len({answer.question for answer in found}) == 1:
        return found[-1]  # the last answer to a question counts
    if not found:
        wanted = f"no answer to '{query}'" if answers else "no answers"
        raise InvalidInput(
            f"{file}: holds {wanted}; give an image's index, a property's file, a key or a part of a name"
        )
    names = list(dict.fromkeys(answer.name for answer in found))
    listed = "; ".join(names[:_LISTED]) + (f"; and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    raise InvalidInput(f"{file}: holds {len(found)} answers that this may mean; say which: {listed}")
