"""Programs as files for any MIP solver: LP and MPS format, quadratic objectives and one quadratic row included."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from ...errors import InvalidInput
from .listing import Listing
from .lp_format import lp_lines
from .mps_format import mps_lines

FORMATS: dict[str, Callable[[Listing], Iterable[str]]] = {".lp": lp_lines, ".mps": mps_lines}

__all__ = ["FORMATS", "Listing", "write_listing"]


def write_listing(listing: Listing, path: str | Path) -> None:
    """Write a program as .lp or .mps.

    Raises:
        InvalidInput: any other suffix, or a file that cannot be written.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise InvalidInput(f"{path}: the file must end in {' or '.join(FORMATS)}")
    try:
        with path.open("w", encoding="ascii") as stream:
            stream.writelines(line + "\n" for line in FORMATS[path.suffix](listing))
    except OSError as error:
        raise InvalidInput(f"{path}: cannot be written ({error.strerror})") from error
