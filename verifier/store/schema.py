"""The tables, by version; `migrate` brings a store to the present one and refuses newer ones.

A query's row is written before it runs and again when it is answered; `outcome` is the JSON line that `--out` would hold,
with bracket, trace and witness. The columns beside it are what tables and reports sort and count by.
"""

from __future__ import annotations

import sqlite3

from ..errors import InvalidInput

VERSION = 1
_STEPS = {
    1: """
    CREATE TABLE jobs (
        name TEXT PRIMARY KEY, text TEXT NOT NULL, folder TEXT NOT NULL, created REAL NOT NULL, version TEXT NOT NULL
    );
    CREATE TABLE queries (
        key TEXT PRIMARY KEY, kind TEXT NOT NULL, model TEXT NOT NULL, model_sha256 TEXT NOT NULL, data TEXT NOT NULL,
        item TEXT NOT NULL, norm TEXT, eps REAL, options TEXT NOT NULL, version TEXT NOT NULL,
        verdict TEXT, lower REAL, upper REAL, trust TEXT, engine TEXT, seconds REAL, reason TEXT, attempts INTEGER,
        finished REAL, proof TEXT, outcome TEXT
    );
    CREATE INDEX queries_open ON queries (verdict) WHERE verdict IS NULL;
    CREATE TABLE members (
        job TEXT NOT NULL, key TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (job, key)
    ) WITHOUT ROWID;
    """
}


def migrate(connection: sqlite3.Connection, path: str) -> None:
    """Bring a store to the present version.

    Raises:
        InvalidInput: written by a newer version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    check(version, path)
    for step in range(version + 1, VERSION + 1):
        connection.executescript(f"BEGIN; {_STEPS[step]} PRAGMA user_version = {step}; COMMIT;")


def check(version: int, path: str) -> None:
    """Refuse what this version cannot read.

    Raises:
        InvalidInput: written by a newer version.
    """
    if version > VERSION:
        raise InvalidInput(
            f"{path}: a store of schema {version}, this version reads up to {VERSION}: install a newer advverify"
        )
