"""What shells complete where click alone knows no words: networks, and options whose values begin in one of a few ways."""

from __future__ import annotations

import os
from string import ascii_uppercase
from typing import Any

import click
from click.shell_completion import BashComplete, CompletionItem, FishComplete, split_arg_string
from click.types import StringParamType


class Listed(StringParamType):
    """A text in one of the forms `[one|two:DIR|three-N]`; what is in capitals is the user's, and whoever takes the text checks it."""

    name = "form"

    def __init__(self, forms: str) -> None:
        """Know the forms as the help shows them."""
        self.forms = forms

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """The forms."""
        return self.forms

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """Every form up to what is the user's; after that, in Bash, the names of files."""
        words = [form.rstrip(ascii_uppercase) for form in self.forms.strip("[]").split("|")]
        if any(word.endswith(":") and incomplete.startswith(word) for word in words):
            return [CompletionItem(incomplete, type="file")]
        return [CompletionItem(word) for word in words if word.startswith(incomplete)]


class Names(StringParamType):
    """Several names, separated by commas."""

    name = "names"

    def __init__(self, names: str, *more: str) -> None:
        """Know the names, given in a sentence's order and separated by blanks, and others that are said elsewhere."""
        self.names, self.more = tuple(names.split()), more

    def __str__(self) -> str:
        """The names as a help text lists them."""
        return f"{', '.join(self.names[:-1])} and {self.names[-1]}"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """Every name that the last one may become, after those before it."""
        before, comma, last = incomplete.rpartition(",")
        return [CompletionItem(before + comma + name) for name in (*self.names, *self.more) if name.startswith(last)]


class ModelName(StringParamType):
    """An ONNX file or `zoo:NAME`, or another file where one may stand in its place."""

    name = "model"

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
        """The shipped networks that begin so, or else files."""
        from advverify.models import zoo

        shipped = [f"zoo:{name}" for name in zoo.names()]
        found: list[CompletionItem[Any]] = [CompletionItem(name) for name in shipped if name.startswith(incomplete)]
        return found if found and incomplete else [*found, CompletionItem(incomplete, type="file")]


MODEL = ModelName()

_BASH = """\
%(complete_func)s() {
    local kind value before=
    COMPREPLY=()
    while IFS=',' read -r kind value; do
        case "$kind" in
            dir) compopt -o dirnames ;;
            file)
                mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "${value#"$before"}")
                compopt -o filenames ;;
            before) [[ "$COMP_WORDBREAKS" == *:* ]] && before="$value" ;;
            plain)
                COMPREPLY+=("${value#"$before"}")
                [[ "$value" == *[:-] ]] && compopt -o nospace ;;
        esac
    done < <(env COMP_LINE="$COMP_LINE" COMP_POINT="$COMP_POINT" %(complete_var)s=bash_complete "$1")
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""


_FISH = """\
function %(complete_func)s
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) COMP_CWORD=(commandline -t) %(prog_name)s)
    for completion in $response
        set -l metadata (string split -m 1 "," $completion)
        switch $metadata[1]
            case dir
                __fish_complete_directories $metadata[2]
            case file
                __fish_complete_path $metadata[2]
            case plain
                echo $metadata[2]
        end
    end
end

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


class Fish(FishComplete):
    """fish, with names after commas: click 8.5 gives it what stands before the first one alone."""

    source_template = _FISH


class Bash(BashComplete):
    """Bash, which takes `zoo:digits-mlp` for three words: what it replaces is the last of them alone.

    click 8.5 passes Bash's own words on, so that nothing with a colon is ever completed.
    """

    source_template = _BASH

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words of the line as the command will see them, up to the cursor."""
        line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
        words = split_arg_string(line)
        incomplete = words.pop() if words and not line[-1:].isspace() else ""
        return words[1:], incomplete

    def complete(self) -> str:
        """click's answer, after the part of the word that Bash counts as words of their own."""
        _, incomplete = self.get_completion_args()
        before = incomplete[: incomplete.rfind(":") + 1]
        return f"before,{before}\n{super().complete()}\n"
