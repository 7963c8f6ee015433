"""What the pages say is so: links, commands, tables of operators, entries, fields and messages. HTML is not built here."""

import ast
import importlib.util
import inspect
import json
import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, fields
from functools import cache
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import torch
from command_line import run
from torch import nn

from advverify import read_onnx
from advverify.cli.main import COMMANDS, cli
from advverify.models.architectures import ARCHITECTURES, _find
from advverify.models.architectures.residual import Shape
from advverify.models.defences import DEFENCES, defence_type
from advverify.models.defences.adversary import Adversary
from advverify.models.defences.certified import Certified
from advverify.models.multilevel import Multilevel
from advverify.models.recipe import Card, Data, Recipe, Training, read_recipe
from advverify.verifier.attacks import ATTACKS, OWN
from advverify.verifier.batch import entries, images, job, properties
from advverify.verifier.checker.check import FORMAT, VERSION, Case
from advverify.verifier.checker.statement import Statement
from advverify.verifier.engines import ENGINES, PROFILES
from advverify.verifier.errors import UnsupportedOperator
from advverify.verifier.mip_record import MipRecord
from advverify.verifier.network.onnx_ops import READERS
from advverify.verifier.outcome import Bracket, Outcome, Trust, Verdict
from advverify.verifier.proof.file import ProofFile

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```|^    .*?$", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def tables(page: str) -> list[list[list[str]]]:
    """The tables of a page: rows of cells, the head first."""
    found: list[list[list[str]]] = []
    inside = False
    for line in (DOCS / page).read_text().splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            found.append([])
        inside = True
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not all(re.fullmatch("-+", cell) for cell in cells):
            found[-1].append(cells)
    return found


def table(page: str, head: str) -> list[list[str]]:
    """Rows of the table of a page whose first head this is."""
    (rows,) = [rows for rows in tables(page) if rows[0][0] == head]
    return rows[1:]


def names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# Links


def slug(heading: str) -> str:
    """The anchor of a heading, as GitHub and MyST make it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_slugs() -> None:
    assert slug("`[defences.NAME]`") == "defencesname" and slug("Big-M, and more") == "big-m-and-more"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if link.startswith("http"):
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", prose(target), flags=re.MULTILINE)
            assert anchor in map(slug, headings), link


def test_every_page_is_in_one_list_of_contents() -> None:
    index = (DOCS / "index.md").read_text()
    listed = [
        line
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```", index, flags=re.DOTALL | re.MULTILINE)
        for line in block.splitlines()
        if line and not line.startswith(":")
    ]
    pages = [page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.rglob("*.md")]
    assert sorted(listed) == sorted(set(pages) - {"index"})


# Commands


def shown_commands() -> list[tuple[str, str]]:
    """(page, line) of the command lines in code blocks, and of those in running text that are more than a name."""
    found: list[tuple[str, str]] = []
    for page in PAGES:
        text = page.read_text()
        blocks = re.findall(r"^    (?:\$ )?advverify (.*)$", text, flags=re.MULTILINE)
        running = [line for line in re.findall(r"`advverify ([^`]+)`", prose(page)) if "..." not in line]
        found += [(name_of(page), line.split("  #")[0].strip()) for line in [*blocks, *running]]
    return [(page, line) for page, line in found if line.split()[0].islower()]


def parse(words: list[str]) -> None:
    """Read a command line as click does, as far as that needs no files.

    Raises:
        click.UsageError: there is no such command, option or choice, or too many or too few arguments.
    """
    command: click.Command = cli
    context = click.Context(command)
    while isinstance(command, click.Group):
        if not words:
            return
        name, inner, words = command.resolve_command(context, words)
        assert inner is not None
        command, context = inner, click.Context(inner, info_name=name, parent=context)
    given, left, _ = command.make_parser(context).parse_args(list(words))
    assert not left, left
    for parameter in command.params:
        value = given.get(parameter.name or "")
        if isinstance(parameter, click.Argument) and parameter.required and words:
            assert value, f"{parameter.name} is missing"
        if isinstance(parameter.type, click.Choice) and isinstance(value, str):
            parameter.type.convert(value, parameter, context)


LINES = shown_commands()


@pytest.mark.parametrize(("page", "line"), LINES, ids=[f"{page}: {line}" for page, line in LINES])
def test_commands_parse(page: str, line: str) -> None:
    words = shlex.split(line)
    parse(words)
    for option, known in (("--engines", {*ENGINES, *PROFILES}), ("--norm", {"0", "1", "2", "inf", "N"})):
        if option in words:
            value = words[words.index(option) + 1]
            assert set(value.split(",")) <= known, value


def test_commands_that_do_not_exist_do_not_parse() -> None:
    for line in ("distanse m", "distance m --norms 2", "distance m --tighten much", "batch start job.toml", "info a b"):
        with pytest.raises((click.UsageError, AssertionError)):
            parse(shlex.split(line))


def test_every_command_is_shown() -> None:
    assert {line.split()[0] for _, line in LINES} == set(COMMANDS)


def test_the_reference_has_every_command_and_option() -> None:
    spec = importlib.util.spec_from_file_location("command_pages", DOCS / "command_pages.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sections = dict(re.findall(r"^#+ advverify (.*?)\n(.*?)(?=^#|\Z)", module.command_line(), re.DOTALL | re.MULTILINE))
    assert {name.split()[0] for name in sections} == set(COMMANDS) and "batch run" in sections
    for path, command in module.commands(cli):
        for option in command.params:
            if isinstance(option, click.Option):
                assert f"`{option.opts[0]}" in sections[" ".join(path[1:])]


# Networks


def test_the_table_of_operators() -> None:
    assert sorted(names(row[0])[0] for row in table("how-to/refused.md", "operator")) == sorted([*READERS, "Constant"])


def on_vectors(layer: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(8, 8), layer, nn.Linear(8, 3))


def on_images(layer: nn.Module, channels: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, channels, 3, padding=1), layer, nn.Flatten())


class First(nn.Module):
    """What a recurrent layer puts out, without its state."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)[0]
        return out


VECTOR, IMAGE = (1, 8), (1, 1, 8, 8)
LAYERS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    **{
        name: (on_vectors(getattr(nn, name)()), VECTOR)
        for name in "ReLU LeakyReLU PReLU ReLU6 Hardtanh Hardsigmoid Dropout GELU SiLU Tanh ELU Softplus Mish Softsign "
        "Hardswish".split()
    },
    "Linear": (nn.Linear(8, 3), VECTOR),
    "Softmax": (nn.Sequential(nn.Linear(8, 3), nn.Softmax(-1)), VECTOR),
    "LogSoftmax": (nn.Sequential(nn.Linear(8, 3), nn.LogSoftmax(-1)), VECTOR),
    "Sigmoid": (nn.Sequential(nn.Linear(8, 1), nn.Sigmoid()), VECTOR),
    "Flatten": (on_images(nn.Flatten()), IMAGE),
    "Unflatten": (nn.Sequential(nn.Linear(8, 8), nn.Unflatten(1, (2, 4)), nn.Flatten()), VECTOR),
    "LayerNorm": (on_vectors(nn.LayerNorm(8)), VECTOR),
    "Conv1d": (nn.Sequential(nn.Conv1d(2, 3, 3), nn.Flatten()), (1, 2, 8)),
    "Conv2d": (on_images(nn.Identity()), IMAGE),
    "Conv3d": (nn.Sequential(nn.Conv3d(1, 1, 3), nn.Flatten()), (1, 1, 8, 8, 8)),
    "ConvTranspose2d": (on_images(nn.ConvTranspose2d(4, 2, 2, stride=2)), IMAGE),
    "MaxPool2d": (on_images(nn.MaxPool2d(2)), IMAGE),
    "AvgPool2d": (on_images(nn.AvgPool2d(2)), IMAGE),
    "LPPool2d": (on_images(nn.LPPool2d(2, 2)), IMAGE),
    "BatchNorm2d": (on_images(nn.BatchNorm2d(4)), IMAGE),
    "GroupNorm": (on_images(nn.GroupNorm(2, 4)), IMAGE),
    "InstanceNorm2d": (on_images(nn.InstanceNorm2d(4)), IMAGE),
    "AdaptiveAvgPool2d": (on_images(nn.AdaptiveAvgPool2d(2)), IMAGE),
    "AdaptiveMaxPool2d": (on_images(nn.AdaptiveMaxPool2d(1)), IMAGE),
    "Upsample": (on_images(nn.Upsample(scale_factor=2)), IMAGE),
    "PixelShuffle": (on_images(nn.PixelShuffle(2)), IMAGE),
    "ReflectionPad2d": (on_images(nn.ReflectionPad2d(1)), IMAGE),
    "LSTM": (First(nn.LSTM(8, 3, batch_first=True)), (1, 2, 8)),
}
TOLD = {name: row[1] for row in table("how-to/refused.md", "layer") for name in names(row[0])}


@pytest.mark.filterwarnings("ignore")  # the exporter has many
@pytest.mark.parametrize("name", TOLD)
def test_layers_are_read_or_refused_as_the_table_says(name: str, tmp_path: Path) -> None:
    module, shape = LAYERS[name]
    path = tmp_path / "layer.onnx"
    torch.onnx.export(module.eval(), (torch.zeros(*shape),), path, dynamo=False, opset_version=17)
    if TOLD[name] == "refused":
        with pytest.raises(UnsupportedOperator):
            read_onnx(path)
    else:
        assert TOLD[name] in ("read", "rewritten") and read_onnx(path).output_size >= 1


def test_the_table_of_attacks() -> None:
    rows = [(names(row[0])[0], *row[1:4]) for row in table("concepts/threat-models.md", "attack")]
    assert rows == [(name, ATTACKS[name].kind, ATTACKS[name].knowledge, ATTACKS[name].paper) for name in OWN]


# Messages


@cache
def messages() -> tuple[str, ...]:
    """All texts of the sources, with NUL for what is put in."""
    found: list[str] = []
    for folder in ("verifier", "models", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    parts = [str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values]
                    found.append("".join(parts))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return tuple(found)


def shown_messages() -> Iterator[str]:
    for page in ("reference/errors.md", "how-to/refused.md"):
        for rows in tables(page):
            if rows[0][0] == "message":
                yield from (row[0].strip().strip("`") for row in rows[1:])


MESSAGES = list(shown_messages())


def said(message: str) -> bool:
    """Whether one text of the sources has all parts of a message, in order."""
    return any(holds_in_order(text, message.split("...")) for text in messages())


def holds_in_order(text: str, parts: list[str]) -> bool:
    place = 0
    for part in parts:
        place = text.find(part, place)
        if place < 0:
            return False
        place += len(part)
    return True


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_are_those_of_the_sources(message: str) -> None:
    assert said(message)


def test_messages_that_nobody_says_are_not_found() -> None:
    assert not said("timeout must be a number of hours above 0, got ...")


# Formats


def test_fields_of_json_lines(tmp_path: Path) -> None:
    formats, answer, question, programs = tables("reference/json-lines.md")
    schema = json.loads((ROOT / "cli/schema.json").read_text())
    assert [name for row in formats[1:] for name in names(row[0])] == [n for n in schema["$defs"] if n != "program"]
    outcome = Outcome(Verdict.UNKNOWN, Bracket(0.0, 1.0), Trust.SOLVER, "crown", 1.0)
    assert [name for row in answer[1:] for name in names(row[0])] == list(json.loads(outcome.to_json()))
    assert {name for row in programs[1:] for name in names(row[0])} == {field.name for field in fields(MipRecord)}
    out = tmp_path / "one.jsonl"
    assert run("distance", "zoo:digits-mlp", "--images", "3", "--out", str(out)).returncode == 0
    line = json.loads(out.read_text())
    assert {name for row in question[1:] for name in names(row[0])} == set(line) - set(json.loads(outcome.to_json()))
    assert line["mips"] and set(line["mips"][0]) == {field.name for field in fields(MipRecord)}


def test_entries_of_jobs() -> None:
    top, *sections, common = tables("reference/job.md")
    assert {name for row in top[1:] for name in names(row[0])} == set(job._TOP) - set(job._SECTIONS)
    shared = {name for row in common[1:] for name in names(row[0])}
    assert shared == set(entries.SEARCH)
    known = {"queries": images._ENTRIES, "properties": properties._PROPERTIES, "vnncomp": properties._VNNCOMP}
    assert len(sections) == len(known)
    for rows in sections:
        (kind,) = re.findall(r"\[\[(\w+)\]\]", rows[0][0])
        assert {name for row in rows[1:] for name in names(row[0])} == set(known[kind]) - shared


def heading_table(page: str, heading: str) -> list[list[str]]:
    """Rows of the first table below a heading."""
    (part,) = re.findall(
        rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", (DOCS / page).read_text(), re.DOTALL | re.MULTILINE
    )
    rows = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows[2:]]


def shown_default(value: Any) -> str:
    if value is MISSING:
        return "required"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'`"{value}"`'
    return str(list(value)) if isinstance(value, tuple) else str(value)


@pytest.mark.parametrize(
    ("section", "kind"),
    [
        ("data", Data),
        ("training", Training),
        ("adversary", Adversary),
        ("certified", Certified),
        ("multilevel", Multilevel),
        ("card", Card),
    ],
)
def test_entries_of_recipes(section: str, kind: Any) -> None:
    rows = heading_table("reference/recipe.md", f"`[{section}]`")
    assert [(names(row[0])[0], row[1]) for row in rows] == [(f.name, shown_default(f.default)) for f in fields(kind)]


def test_sections_of_recipes() -> None:
    text = (DOCS / "reference/recipe.md").read_text()
    shown = set(re.findall(r"^## `\[(\w+)", text, flags=re.MULTILINE))
    assert shown | {"name"} == {field.name for field in fields(Recipe)}


def test_architectures_and_defences() -> None:
    rows = heading_table("reference/recipe.md", "`[architecture]`")
    assert [names(row[0])[0] for row in rows] == list(ARCHITECTURES)
    for row in rows:
        parameters = dict(inspect.signature(_find(names(row[0])[0])[1]).parameters)
        if parameters.pop("shape", None) is not None:
            parameters = {"image": inspect.signature(Shape.of).parameters["image"], **parameters}
        required = [p.name for p in parameters.values() if p.default is p.empty]
        assert names(row[1]) == required
        assert names(row[2]) == [name for name in parameters if name not in required]
    rows = heading_table("reference/recipe.md", "`[defences.NAME]`")
    terms: dict[str, Any] = {name: defence_type(name) for name in DEFENCES}
    assert {names(row[0])[0]: names(row[1]) for row in rows} == {
        name: [field.name for field in fields(term) if field.name != "weight"] for name, term in terms.items()
    }


def test_the_format_of_proofs() -> None:
    header, case, steps = tables("proofs.md")
    proof = ProofFile("0" * 64, {})
    box = np.zeros(2), np.ones(2)
    entry = proof.add_case(Statement(*box, None, None, np.inf, 1, ((np.ones((1, 2)), np.zeros(1)),)))
    assert [name for row in header[1:] for name in names(row[0])] == list(proof.header)
    assert {name for row in case[1:] for name in names(row[0])} == set(entry)
    kinds = re.findall(r'^ +case "(\w+)":', inspect.getsource(Case.step), flags=re.MULTILINE)
    assert [names(row[0])[0] for row in steps[1:]] == kinds
    assert (
        header[1][1] == f'`"{FORMAT}"`, {VERSION}' and f"this one reads {VERSION}" in (DOCS / "proofs.md").read_text()
    )


# What tutorials show


def test_the_tutorial_of_proofs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line that it shows of a command is printed by it, but for seconds."""
    monkeypatch.chdir(tmp_path)
    text = (DOCS / "tutorials/proof.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    exec(compile(program, "proof.md", "exec"), {})
    wide = program.replace("0.03", "0.09").replace("four.vnnlib", "wide.vnnlib")
    exec(compile(wide, "proof.md", "exec"), {})
    shown = re.findall(r"^    \$ advverify (.*)\n((?:    [^$\n].*\n)+)", text, flags=re.MULTILINE)
    codes = []
    for line, printed in shown:
        done = run(*shlex.split(line))
        codes.append(done.returncode)
        untimed = [
            re.sub(r"\b\d+\.\d\d s\b", "some s", each) for each in (done.stdout + done.stderr, textwrap.dedent(printed))
        ]
        assert untimed[0] == untimed[1]
    assert codes == [0, 0, 1, 1, 0]
    assert (tmp_path / "result.txt").read_text() == "unsat\n" and (tmp_path / "wide.txt").read_text().startswith(
        "sat\n(("
    )


def test_the_job_of_the_tutorial(tmp_path: Path) -> None:
    text = (DOCS / "tutorials/cluster.md").read_text()
    (job_file,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "job.toml").write_text(job_file)
    done = run("batch", "run", str(tmp_path / "job.toml"), "--dry-run", "--store", str(tmp_path / "runs.sqlite"))
    said_there = re.findall(r"^    (job radii: \d+ queries), at most", text, flags=re.MULTILINE)
    assert len(said_there) == 1 and done.stdout.startswith(said_there[0])


def test_the_recipe_of_the_reference(tmp_path: Path) -> None:
    (recipe,) = re.findall(r"```toml\n(.*?)```", (DOCS / "reference/recipe.md").read_text(), flags=re.DOTALL)
    (tmp_path / "recipe.toml").write_text(recipe)
    assert read_recipe(tmp_path / "recipe.toml").adversary == Adversary(0.1, "pgd", steps=5, step=0.35, ramp=0.3)
