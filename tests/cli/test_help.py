"""Help texts: what is required first, groups, examples that parse, choices that are those of the tables; and near misses."""

import importlib.util
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from command_line import run

from advverify.cli.completion import Listed
from advverify.cli.help import DEFINED, EXAMPLES, GROUPS, WORDS, Command
from advverify.cli.main import cli
from advverify.verifier.attacks import ATTACKS
from advverify.verifier.encoding import FORMULATIONS
from advverify.verifier.engines import ENGINES, PROFILES
from advverify.verifier.solvers import SOLVERS


def commands(group: click.Group = cli) -> Iterator[click.Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command)
        else:
            yield command


ALL = {str(command.name): command for command in commands()}


def options(command: click.Command) -> list[click.Option]:
    return [parameter for parameter in command.params if isinstance(parameter, click.Option)]


@pytest.mark.parametrize("name", ALL)
def test_help_says_everything(name: str) -> None:
    command = ALL[name]
    assert isinstance(command, Command)
    context = click.Context(command, info_name=name)
    titles = [title for title, _ in command.sections(context)]
    assert "Required" not in titles[1:] and (("Required" in titles) == any(o.required for o in options(command)))
    for option in options(command):
        assert option.help, option.name
        assert option.metavar or option.is_flag or option.type.name != "text", option.name
    text = command.get_help(context)
    assert "C y" not in text and text.index("Examples:") > text.index(
        "Options:" if "Options:" in titles else titles[-1]
    )
    for line in text.split("Examples:")[0].splitlines():
        assert len(line) <= 80, line


@pytest.mark.parametrize("name", ALL)
def test_every_command_has_two_examples_that_parse(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("results.jsonl").touch()  # an option that asks for a file that is there
    assert len(EXAMPLES[name]) == 2
    for line in EXAMPLES[name]:
        words = shlex.split(line.split(" > ")[0])
        assert words[0] == "advverify"
        ALL[name].make_context(name, words[words.index(name) + 1 :]).close()


def test_choices_are_those_of_the_tables() -> None:
    by_name = {option.name: option for option in options(ALL["distance"])}
    for name, table in (("solver", SOLVERS), ("formulation", FORMULATIONS)):
        form = by_name[name].type
        assert isinstance(form, Listed) and form.forms == f"[{'|'.join(table)}]"
    named = (
        (by_name["engines"].help or "")
        .replace(" and ", ", ")
        .replace("; or the profile", ",")
        .replace(",", " ")
        .split()
    )
    assert [word for word in named if word in (*ENGINES, *PROFILES)] == [*ENGINES, *PROFILES]
    attacks = {option.name: option for option in options(ALL["attack"])}["names"]
    named = (attacks.help or "").replace(" and ", ", ").replace(";", ",").replace(",", " ").split()
    assert [word for word in named if word in ATTACKS] == list(ATTACKS)


def test_out_is_the_same_everywhere() -> None:
    for name, command in ALL.items():
        for option in options(command):
            if "--out" in option.opts:
                assert option.opts == ["-o", "--out"], name


def test_words_are_defined() -> None:
    assert set(DEFINED) <= set(ALL) and set(EXAMPLES) == set(ALL)
    assert {word for words in DEFINED.values() for word in words} <= set(WORDS)
    names = [name for group in GROUPS.values() for name in group]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("certfy", "zoo:digits-mlp"), "did you mean certify"),
        (("info", "zoo:digit-mlp"), "did you mean digits-mlp?"),
        (("info", "digits-mpl"), "no such file; did you mean zoo:digits-mlp?"),
        (("certify", "zoo:digits-mlp", "--eps", "1", "--engines", "crwn"), "did you mean crown?"),
        (("certify", "zoo:digits-mlp", "--eps", "1", "--solver", "hihgs"), "did you mean highs?"),
        (("verify", "a.vnnlib", "b.onnx"), "the model first, then the property: advverify verify b.onnx a.vnnlib"),
        (("certify", "a.vnnlib", "--eps", "1"), "a property, not a network"),
        (("certify", "net.pt", "--eps", "1"), "advverify.export(module, example, 'model.onnx')"),
        (("distance", "net.pth"), "advverify.export(module, example, 'model.onnx')"),
        (("info", "net.h5"), "tf2onnx"),
    ],
)
def test_near_misses_get_the_way_out(arguments: tuple[str, ...], message: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr


def test_the_page_of_the_command_line_has_the_examples() -> None:
    place = Path(__file__).parents[2] / "docs" / "command_pages.py"
    found = importlib.util.spec_from_file_location("command_pages", place)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    page = module.command_line()
    assert all(f"    {line}" in page for lines in EXAMPLES.values() for line in lines)
