"""How Sphinx builds these pages: `make docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from command_pages import command_line

from advverify import __version__

project = "advverify"
copyright = "the authors of advverify"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True
nb_ipywidgets_js = {}  # pages load nothing from elsewhere
myst_heading_anchors = 3
myst_enable_extensions = ["deflist"]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
add_module_names = False
default_role = "code"

html_theme = "furo"
html_title = "advverify"
html_copy_source = False
html_static_path = ["_static"]
html_css_files = ["advverify.css"]


def _with_commands(app: object, name: str, source: list[str]) -> None:
    """Put the help of every command where a page has the word COMMANDS alone on a line."""
    if name == "reference/command-line":
        source[0] = source[0].replace("\nCOMMANDS\n", f"\n{command_line()}\n")


def setup(app: object) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _with_commands)  # type: ignore[attr-defined]
