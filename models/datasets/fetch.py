"""Standard files from where they are published, checked against their known hashes, written in one piece."""

from __future__ import annotations

import hashlib
import os
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from advverify.verifier.errors import InvalidInput

_TIMEOUT = 30


@dataclass(frozen=True)
class Source:
    """Where a file is published: addresses to try in order, and the MD5 sum its publishers give."""

    name: str
    md5: str
    addresses: tuple[str, ...]


def fetch(source: Source, folder: Path, known: tuple[str, ...]) -> Path:
    """Download a file into a folder.

    Args:
        source: of the file.
        folder: an empty one, or one that holds something of the data set.
        known: how names of the data set's files start.

    Raises:
        InvalidInput: no network, or what came is not the file; says which file to put where.
    """
    target = folder / source.name
    if not folder.is_dir():
        raise InvalidInput(
            f"{folder}: no such folder; give the one with {source.name}, or create it to have it fetched"
        )
    held = [path.name for path in folder.iterdir()]
    if held and not any(name.startswith(known) for name in held):
        raise InvalidInput(
            f"{folder}: holds other things, and no {source.name}; give the folder that has it, or an empty one to fetch it into"
        )
    advice = f"put {source.name} into {folder} by hand"
    reason = ""
    for address in source.addresses:
        print(f"fetching {address}", file=sys.stderr)
        try:
            with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:
                content = answer.read()
        except (urllib.error.URLError, OSError, TimeoutError) as error:
            reason = str(getattr(error, "reason", error))
            continue
        if hashlib.md5(content, usedforsecurity=False).hexdigest() != source.md5:
            raise InvalidInput(f"{address}: what came has another hash than the published file; {advice}")
        try:
            temporary = target.with_name(target.name + ".part")
            temporary.write_bytes(content)
            os.replace(temporary, target)
        except OSError as error:
            raise InvalidInput(f"{target}: cannot be written ({error.strerror}); {advice}") from error
        return target
    raise InvalidInput(f"{source.name} is not in {folder} and could not be fetched ({reason}); {advice}")
