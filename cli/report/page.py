"""HTML pages from templates; everything that is inserted is escaped, and nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

from ..table import bracket, number, share


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
        number=partial(number, digits=4),
        bracket=bracket,
        percent=percent,
        share=share,
        picture=picture,
        p=p_range,
        embedded=embedded,
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


def p_range(values: tuple[float, float]) -> str:
    """One p value, or the least and the largest, with a word where the two lie on both sides of the level."""
    from advverify.models.comparison.statistics import decision

    low, high = p_value(values[0]), p_value(values[1])
    open_ended = " (undecided)" if decision(values) == "undecided" else ""
    return (low if low == high else f"{low} … {high}") + open_ended


def picture(path: Path) -> str:
    """A PNG or SVG file as a data address."""
    return data_address(path.read_bytes(), "image/svg+xml" if path.suffix == ".svg" else "image/png")


def data_address(content: bytes, kind: str = "image/png") -> str:
    """The bytes of a picture as a data address."""
    return f"data:{kind};base64," + base64.b64encode(content).decode()
