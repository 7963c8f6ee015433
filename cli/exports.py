"""Answers of a store in the formats of `batch export`."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from advverify.verifier.errors import InvalidInput

FORMATS = ("csv", "jsonl", "parquet", "vnncomp")

_WORDS = {"robust": "unsat", "adversarial": "sat", "misclassified": "sat", "unknown": "unknown"}
_FORMULA = ("=", "+", "-", "@")  # what spreadsheets take for the beginning of a formula


def exported(rows: list[dict[str, Any]], form: str) -> bytes:
    """The content of a file.

    Args:
        rows: of `Store.rows`, all of them answered, with outcomes for "jsonl"; not empty.
        form: one of FORMATS.

    Raises:
        InvalidInput: "parquet" without pyarrow.
    """
    if form == "jsonl":
        lines = (json.dumps({**json.loads(row.pop("outcome")), "key": row["key"]}) for row in rows)
        return ("\n".join(lines) + "\n").encode()
    if form == "parquet":
        return _parquet(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if form == "vnncomp":
        for row in rows:
            word = "timeout" if "time limit" in (row["reason"] or "") else _WORDS[row["verdict"]]
            names = [plain(row[name]) for name in ("data", "model", "item")]
            writer.writerow([*names, 0, word, f"{row['seconds']:.4f}"])
    else:
        writer.writerow(list(rows[0]))
        writer.writerows([plain(value) for value in row.values()] for row in rows)
    return buffer.getvalue().encode()


def plain(value: Any) -> Any:
    """A cell that no spreadsheet runs and that stays on its line; numbers are left alone.

    Text that looks like a formula gets an apostrophe; line ends, tabs and their like are shown escaped.
    """
    if not isinstance(value, str):
        return value
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InvalidInput("Parquet needs pyarrow: pip install 'advverify[batch]'") from error
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()
