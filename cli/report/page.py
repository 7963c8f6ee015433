"""HTML pages from templates; everything that is inserted is escaped, and nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

from ..table import number


def render(template: str, **values: Any) -> str:
    """A page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = Path(__file__).parent / "templates"
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=partial(number, digits=4), percent=percent, picture=picture, p=p_value, embedded=embedded
    )
    text: str = environment.get_template(template).render(**values)
    return text


def embedded(value: Any) -> Any:
    """JSON inside a script element, where nothing can end the element."""
    from markupsafe import Markup

    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def percent(value: float | None) -> str:
    """A share as per cent; a dash for what is not known."""
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def p_value(value: float) -> str:
    """Two significant digits, and no false precision far out."""
    return "< 1e-6" if value < 1e-6 else f"{value:.2g}"


def picture(path: Path) -> str:
    """A PNG file as a data address."""
    return data_address(path.read_bytes())


def data_address(png: bytes) -> str:
    """The bytes of a PNG file as a data address."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
