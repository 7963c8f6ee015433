"""How commands explain themselves: what is required first, options by what they are about, two examples, words defined."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from textwrap import wrap
from typing import Any

import click

from .places import refuse_overwriting

# Headings of the help, and the parameters under each; whatever stands nowhere comes under the last.
GROUPS: dict[str, tuple[str, ...]] = {
    "Question": (
        "norm",
        "eps",
        "objective",
        "target",
        "margin",
        "exact_margin",
        "valid_range",
        "bytes_as",
        "tie_channels",
        "float32",
        "spec",
        "image",
        "networks",
        "job",
        "by",
        "against",
        "limit",
        "names",
        "clip",
    ),
    "Images": ("data", "images", "eps_grid"),
    "Attacks": ("loss", "source", "exact", "fit", "learned", "atoms", "controls", "length", "h"),
    "Limits": (
        "timeout",
        "minutes",
        "gap",
        "jobs",
        "threads",
        "memory",
        "device",
        "seed",
        "retry",
        "scheduler",
        "shift",
    ),
    "Search": ("engines", "solver"),
    "Mixed-integer programs": ("formulation", "fix_stable", "substitute", "tighten", "targets", "cuts"),
    "Output": (
        "store_path",
        "out",
        "outs",
        "kept",
        "figures",
        "format_name",
        "proofs",
        "proof",
        "result",
        "serialise_assignments",
        "save",
        "work",
        "text",
        "values",
        "json",
        "as_json",
        "quiet",
        "verbose",
        "dry_run",
    ),
    "Other": (),
}
_OTHER = "Other"
_WRITTEN = {"out", "outs", "result", "proof"}  # options that name files which are written
_WRITTEN_ARGUMENTS = {"output"}
_AFTER = re.compile(r"[:=]")  # a file's name follows in npz:FILE and NAME=FILE
_WIDTH = 30  # characters of the column of names, at most

EXAMPLES: dict[str, tuple[str, ...]] = {
    "certify": (
        "advverify certify zoo:digits-mlp --eps 0.03 --images 0:100",
        "advverify certify model.onnx --norm 2 --eps 0.5 --data mnist:DIR --proofs proofs/",
    ),
    "distance": (
        "advverify distance zoo:digits-mlp --images 0:20 -o results.jsonl",
        "advverify distance model.onnx --norm 2 --gap 0.01 --timeout 300 --data npz:images.npz",
    ),
    "verify": (
        "advverify verify model.onnx property.vnnlib --timeout 60 --result result.txt",
        "advverify verify property.vnnlib --network N=model.onnx",
    ),
    "train": (
        "advverify train zoo:digits-mlp -o model.onnx",
        "advverify train recipe.toml -o model.onnx --data mnist:DIR --seed 3",
    ),
    "attack": (
        "advverify attack zoo:digits-mlp --attack pgd,deepfool-2 --images 0:20",
        "advverify attack zoo:digits-mlp --exact results.jsonl -o attacks.html -o attacks.jsonl",
    ),
    "serve": (
        "advverify serve",
        "advverify serve --socket server.sock --idle 600",
    ),
    "geometry": (
        "advverify geometry zoo:digits-mlp -o geometry.html",
        "advverify geometry zoo:digits-resnet-plain zoo:digits-resnet-cpl --images 0:40 -o geometry/",
    ),
    "compare": (
        "advverify compare zoo:digits-resnet-plain zoo:digits-resnet-cpl --images 0:50 -o comparison/",
        "advverify compare plain-0.onnx plain-1.onnx stable-0.onnx stable-1.onnx --norm 2 -o comparison.html",
    ),
    "subspace": (
        "advverify subspace zoo:digits-mlp random:8 --norm 2",
        "advverify subspace zoo:digits-mlp learned/adil-2.npz --images 0:20 -o span.jsonl",
    ),
    "study": (
        "advverify study sweep.toml -o study/ --minutes 110",
        "advverify study sweep.toml -o study/ --data mnist:DIR --jobs 2",
    ),
    "report": (
        "advverify report runs.sqlite -o report.html",
        "advverify report runs.sqlite --against before.sqlite --text",
    ),
    "show": (
        "advverify show results.jsonl 7 -o image-7.html",
        "advverify show runs.sqlite 'norm 2, distance, 7'",
    ),
    "gap": (
        "advverify gap fast.jsonl slow.jsonl -o gap.html",
        "advverify gap runs.sqlite --by solver --query 7",
    ),
    "check": (
        "advverify check proofs/3f0c.proof zoo:digits-mlp",
        "advverify check proofs/3f0c.proof zoo:digits-mlp --image 7 --eps 0.03",
    ),
    "info": ("advverify info zoo:digits-resnet-cpl", "advverify info model.onnx"),
    "export-mip": (
        "advverify export-mip zoo:digits-mlp query.mps --eps 0.1",
        "advverify export-mip zoo:digits-mlp query.lp --eps 0.05 --objective feasibility --images 7",
    ),
    "solvers": ("advverify solvers", "advverify solvers --json"),
    "capabilities": ("advverify capabilities", "advverify capabilities > capabilities.json"),
    "run": (
        "advverify batch run job.toml --jobs 8",
        "advverify batch run job.toml --store runs.sqlite --retry unknown",
    ),
    "resume": ("advverify batch resume", "advverify batch resume digits --store runs.sqlite"),
    "status": ("advverify batch status", "advverify batch status --store runs.sqlite"),
    "export": (
        "advverify batch export -o runs.csv",
        "advverify batch export --store runs.sqlite --format parquet -o runs.parquet",
    ),
}

WORDS = {
    "adversarial": "an input of the ball that is classified otherwise than the label says, found and executed",
    "ball": "all inputs within a radius (eps) of an image, in the norm that is asked about, inside the valid range",
    "bracket": "lower and upper side of a distance or margin: the lower is proved, the upper is that of an input that was executed",
    "distance": "how far the nearest adversarial input is, in units of the model's inputs",
    "exact distance": "the distance of the nearest adversarial input there is, as `distance` proves it",
    "gap": "(upper - lower) / upper of a distance: 0.01 is one per cent",
    "gap of a query": "|upper - lower| / max(|upper|, |lower|), 0 once the query is closed to what was asked for",
    "margin": "the least of the label's output less another's, over the ball: above 0 the image is robust",
    "primal and dual": "the side that was found and the side that is proved",
    "radius": "the distance of an image's nearest adversarial input: its ball is robust up to there",
    "robust": "proved: no input of the ball is classified otherwise",
    "trust": "checked: anyone can check it, by the file or a proof; solver: an engine says so, in floating-point arithmetic",
    "success": "the share of the images that an attack fools (within --eps, if that is given), with its 95 % interval",
    "l0, l1, l2, linf": "medians, over the images that were fooled, of the perturbation's size in each norm",
    "rMSE": "mean over these of |perturbation|^2 / |image|^2, both in norm 2",
    "kind, box": "ball: fills a ball of the radius; minimal: seeks a small perturbation; universal, learned: fool many images; spatial: moves pixels; a white box is seen with its gradients, a black one is not",
    "subspace law": "distance of the boundary in a random subspace of dimension m, over sqrt(n / m) times the nearest point found: 1 is a flat boundary",
    "random line": "distance of the boundary along random directions, over that of the nearest point found",
    "curvature": "of the boundary at the points found, by differences at the step h: along random directions, and along the normals of other images",
    "largest in profile": "the largest eigenvalue of Hessians at boundary points, by differences at the step h, in the mean, over the median gradient",
    "unstable ReLU": "one whose phase the bounds leave open",
    "MILP": "mixed-integer linear program: a linear one with a 0-1 variable for each unstable ReLU",
}

DEFINED: dict[str, tuple[str, ...]] = {
    "certify": ("ball", "robust", "adversarial", "margin", "trust", "MILP", "unstable ReLU"),
    "distance": ("distance", "bracket", "gap", "trust", "MILP", "unstable ReLU"),
    "verify": ("MILP", "unstable ReLU"),
    "compare": ("radius", "bracket"),
    "attack": ("adversarial", "exact distance", "success", "l0, l1, l2, linf", "rMSE", "kind, box"),
    "geometry": ("subspace law", "random line", "curvature", "largest in profile"),
    "subspace": ("distance", "bracket", "gap"),
    "study": ("radius", "bracket"),
    "report": ("bracket", "gap"),
    "show": ("bracket", "trust"),
    "gap": ("bracket", "gap of a query", "primal and dual", "MILP"),
    "export-mip": ("MILP", "unstable ReLU"),
}


def _definitions(formatter: click.HelpFormatter, rows: list[tuple[str, str]]) -> None:
    """Names and what they mean, as click writes them, but with no name cut at its hyphens: names are to be copied."""
    first = min(max(len(name) for name, _ in rows), _WIDTH)
    indent = " " * formatter.current_indent
    room = max(formatter.width - len(indent) - first - 2, 20)
    for name, text in rows:
        lines = wrap(text, room, break_on_hyphens=False, break_long_words=False) or [""]
        if len(name) > first:
            formatter.write(f"{indent}{name}\n")
        else:
            formatter.write(f"{indent}{name.ljust(first)}  {lines.pop(0)}".rstrip() + "\n")
        for line in lines:
            formatter.write(f"{indent}{' ' * first}  {line}\n")


class Command(click.Command):
    """A command whose help begins with what is required and ends with examples."""

    @property
    def examples(self) -> tuple[str, ...]:
        """Command lines that can be typed as they are, but for the files that they name."""
        return EXAMPLES.get(self.name or "", ())

    @property
    def words(self) -> dict[str, str]:
        """Words of the help and of the answers, with what they mean."""
        return {word: WORDS[word] for word in DEFINED.get(self.name or "", ())}

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, unless a place for its results is one of the files that it reads.

        Raises:
            InvalidInput: it is one.
        """
        written, read = list[Any](), list[Any]()
        for parameter in self.get_params(ctx):
            value = ctx.params.get(parameter.name or "")
            is_place = parameter.name in (_WRITTEN if isinstance(parameter, click.Option) else _WRITTEN_ARGUMENTS)
            if not isinstance(parameter.type, click.Choice):
                (written if is_place else read).extend(value if isinstance(value, tuple) else (value,))
        named = [_AFTER.split(value, maxsplit=1)[-1] for value in read if isinstance(value, str)]
        for place in written:
            if isinstance(place, str | Path):
                refuse_overwriting(place, *read, *named)
        return super().invoke(ctx)

    def sections(self, context: click.Context) -> Iterator[tuple[str, list[click.Parameter]]]:
        """Options by what they are about, those that are required before all others."""
        options = [parameter for parameter in self.get_params(context) if isinstance(parameter, click.Option)]
        heading = {name: title for title, names in GROUPS.items() for name in names}
        found: dict[str, list[click.Parameter]] = {title: [] for title in ("Required", *GROUPS)}
        for option in options:
            found["Required" if option.required else heading.get(option.name or "", _OTHER)].append(option)
        named = [(title, members) for title, members in found.items() if members]
        if sum(len(members) for _, members in named) <= 6:  # too few to be sorted into drawers
            yield from [("Required", found["Required"])] if found["Required"] else []
            yield "Options", [option for option in options if not option.required]
            return
        order = {name: k for names in GROUPS.values() for k, name in enumerate(names)}
        for title, members in named:
            yield title, sorted(members, key=lambda option: order.get(option.name or "", 0))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options, group by group."""
        for title, options in self.sections(ctx):
            records = [record for option in options if (record := option.get_help_record(ctx)) is not None]
            with formatter.section(title):
                _definitions(formatter, records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Words, then examples, whose lines are never broken: they are to be copied."""
        if self.words:
            with formatter.section("Words"):
                _definitions(formatter, list(self.words.items()))
        if self.examples:
            formatter.write("\nExamples:\n")
            for line in self.examples:
                formatter.write(f"  {line}\n")


class Group(click.Group):
    """A group of such commands."""

    command_class = Command


class Seed(click.IntRange):
    """A seed: an integer from 0 on, whose largest value is nobody's concern."""

    def _describe_range(self) -> str:
        return "x>=0"
