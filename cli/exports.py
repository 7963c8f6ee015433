"""Answers of a store in the formats of `batch export`."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

from advverify.verifier.errors import InvalidInput, how_to_install, printable

FORMATS = ("csv", "jsonl", "parquet", "vnncomp")

VNNCOMP_KINDS = ("certify", "verify")  # what results.csv has words for
_WORDS = {"robust": "unsat", "adversarial": "sat", "misclassified": "sat", "unknown": "unknown"}
_CHUNK = 10_000  # rows of Parquet at a time
_PARQUET = dict.fromkeys(("eps", "lower", "upper", "seconds", "finished"), "float64") | {
    "attempts": "int64"
}  # not text
_FORMULA = ("=", "+", "-", "@")  # what spreadsheets take for the beginning of a formula


def export_rows(first: dict[str, Any], rows: Iterator[dict[str, Any]], form: str, out: Path) -> int:
    """Write a file row by row, so that memory does not grow with the store; returns the number of rows.

    Args:
        first: of `Store.rows`, answered, with its outcome for "jsonl".
        rows: those that follow, like it.
        form: one of FORMATS.
        out: written whole or not at all, where it is a plain file.

    Raises:
        InvalidInput: the file cannot be written, or "parquet" without pyarrow.
    """
    write = _write_parquet if form == "parquet" else _write_text
    in_place = out.is_symlink() or (out.exists() and not out.is_file())  # /dev/stdout, a pipe
    part = out.with_name(f"{out.name}.part")
    try:
        if in_place:
            return write(first, rows, form, out)
        try:
            count = write(first, rows, form, part)
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidInput(f"{out}: cannot be written ({error.strerror or error})") from error
    return count


def _write_text(first: dict[str, Any], rows: Iterator[dict[str, Any]], form: str, part: Path) -> int:
    count = 0
    with part.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        if form == "csv":
            writer.writerow(list(first))
        for count, row in enumerate(chain([first], rows), start=1):  # noqa: B007
            if form == "jsonl":
                stream.write(json.dumps({**json.loads(row.pop("outcome")), "key": row["key"]}) + "\n")
            elif form == "vnncomp":
                late = row["verdict"] == "unknown" and "time limit" in (row["reason"] or "")
                word = "timeout" if late else _WORDS[row["verdict"]]
                names = [plain(text) for text in (row["data"], row["model"], _instance(row))]
                writer.writerow([*names, 0, word, f"{row['seconds']:.4f}"])
            else:
                writer.writerow([plain(value) for value in row.values()])
    return count


def _instance(row: dict[str, Any]) -> str:
    """What tells a question from all others about the same model: a property's name, or image, threat and key."""
    if row["kind"] == "verify":
        return str(row["item"])
    return f"{row['item']} norm {row['norm']} eps {row['eps']} {row['key'][:8]}"


def plain(value: Any) -> Any:
    """A cell that no spreadsheet runs and that stays on its line; numbers are left alone.

    Text that looks like a formula gets an apostrophe; line ends, tabs and their like are shown escaped.
    """
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _write_parquet(first: dict[str, Any], rows: Iterator[dict[str, Any]], form: str, part: Path) -> int:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidInput(f"Parquet needs pyarrow: {how_to_install('batch')}") from error
    schema = pa.schema([(name, getattr(pa, _PARQUET.get(name, "string"))()) for name in first])
    count, every = 0, chain([first], rows)
    with pq.ParquetWriter(part, schema) as writer:
        while chunk := list(islice(every, _CHUNK)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))
            count += len(chunk)
    return count
