"""HTML pages from templates; everything that is inserted is escaped, and nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

from ..table import bracket, number, of, share


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
        p_plain=p_plain,
        p_one=p_value,
        share_of=share_of,
        counted=counted,
        whole_percent=whole_percent,
        embedded=embedded,
    )
    text: str = environment.get_template(template).render(made=made(), **values)
    return text


def made() -> str:
    """Who wrote a page, when and where; what it shows may be older."""
    import os
    import platform
    from datetime import datetime

    from advverify import __version__

    now = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z")
    cores = os.cpu_count() or 1
    where = f"{platform.system()} {platform.machine()}, {cores} CPU core{'' if cores == 1 else 's'}"
    return f"Page written {now} by advverify {__version__} on {where}, Python {platform.python_version()}."


def embedded(value: Any) -> Any:
    """JSON inside a script element, where nothing can end the element."""
    from markupsafe import Markup

    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def percent(value: float | None) -> str:
    """A share as per cent; a dash for what is not known."""
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def whole_percent(value: float) -> str:
    """A share as per cent without decimals, for shares of few images."""
    return f"{100 * value:.0f} %"


def p_value(value: float) -> str:
    """Two significant digits, and no false precision far out."""
    return "< 1e-6" if value < 1e-6 else f"{value:.2g}"


def share_of(value: float, total: int) -> str:
    """A share of so many images, with their number; a dash for what is not known."""
    return of(round(value * total), total) if math.isfinite(value) else "-"


def counted(count: int, total: int) -> str:
    """A count, and the share of all that it is where it is not none of them."""
    return f"{count} ({100 * count / total:.0f} %)" if count else "0"


def p_plain(values: tuple[float, float]) -> str:
    """One p value, or the least and the largest."""
    low, high = p_value(values[0]), p_value(values[1])
    return low if low == high else f"{low} … {high}"


def p_range(values: tuple[float, float]) -> str:
    """One p value, or the least and the largest, with a word where the two lie on both sides of the level."""
    from advverify.models.comparison.statistics import decision

    return p_plain(values) + (" (undecided)" if decision(values) == "undecided" else "")


def picture(path: Path) -> str:
    """A PNG or SVG file as a data address; drawings take on the colours of the page."""
    if path.suffix == ".svg":
        return data_address(themed(path.read_text(encoding="utf-8")).encode(), "image/svg+xml")
    return data_address(path.read_bytes())


_INK, _GROUND = ("#000000", "#333333"), "#ffffff"  # of drawings by matplotlib; letters have no colour of their own
_THEME = (
    "<style>:root{--ground:#ffffff;--ink:#1d2126;fill:var(--ink)}"
    "@media (prefers-color-scheme:dark){:root{--ground:#16191d;--ink:#e4e7ea}}</style>"
)


def themed(drawing: str) -> str:
    """An SVG drawing whose black and white follow the reader's light or dark scheme, as those of the stylesheet do."""
    for colour in _INK:
        drawing = drawing.replace(colour, "var(--ink)")
    drawing = drawing.replace(_GROUND, "var(--ground)")
    begin = drawing.index(">", drawing.index("<svg")) + 1
    return drawing[:begin] + _THEME + drawing[begin:]


def data_address(content: bytes, kind: str = "image/png") -> str:
    """The bytes of a picture as a data address."""
    return f"data:{kind};base64," + base64.b64encode(content).decode()
