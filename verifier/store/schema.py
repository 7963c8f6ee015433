"""The tables, by version; `migrate` brings a store to the present one, and `recognise` refuses what is none.

A query's row is written before it runs and again when it is answered; `outcome` is the JSON line that `--out` would hold,
with bracket, trace and witness. The columns beside it are what tables and reports sort and count by. What ended a query in the
place of an answer lies apart, in `accidents`, and every move of the bracket of a query without an answer in `progress`.
"""

from __future__ import annotations

import sqlite3

from ..errors import InvalidInput

VERSION = 2
_APPLICATION = 0x41445652  # says "ADVR" in the file's head, from version 2 on

_COLUMNS = {"key", "kind", "model_sha256", "item", "options", "verdict", "outcome"}  # of version 1, which says no more

_APART = """
    CREATE TABLE accidents (
        key TEXT PRIMARY KEY, kind TEXT NOT NULL, message TEXT NOT NULL, attempts INTEGER NOT NULL, happened REAL NOT NULL
    );
    CREATE TABLE progress (
        key TEXT NOT NULL, seconds REAL NOT NULL, lower REAL NOT NULL, upper REAL NOT NULL, engine TEXT NOT NULL
    );
"""
# Version 1 kept accidents as answers; these are the words that its pools and readers had for them.
_ACCIDENTS = {
    "hung": ("no answer within % s, the worker was stopped%",),
    "killed": ("the worker was killed by signal%", "the worker ended with status%", "on the cluster: %"),
    "memory": ("%MemoryError%", "%allocate memory%", "%enough memory%", "%bad_alloc%"),
    "file": ("%: no such file%", "%: the file has changed since this was asked%", "%No such file or directory%"),
}
_KIND = " ".join(
    f"WHEN reason LIKE '{pattern}' THEN '{kind}'" for kind, patterns in _ACCIDENTS.items() for pattern in patterns
)
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
    """,
    2: f"""
    {_APART}
    CREATE INDEX progress_key ON progress (key);
    INSERT INTO accidents
        SELECT key, CASE {_KIND} END AS accident, reason, coalesce(attempts, 1), coalesce(finished, 0)
        FROM queries WHERE verdict = 'unknown' AND accident IS NOT NULL;
    UPDATE queries SET verdict = NULL, lower = NULL, upper = NULL, trust = NULL, engine = NULL, seconds = NULL,
        reason = NULL, attempts = NULL, finished = NULL, proof = NULL, outcome = NULL
        WHERE key IN (SELECT key FROM accidents);
    PRAGMA application_id = {_APPLICATION};
    """,
}


def migrate(connection: sqlite3.Connection) -> None:
    """Bring a store to the present version, all or nothing."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    for step in range(version + 1, VERSION + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {_STEPS[step]} PRAGMA user_version = {step}; COMMIT;")


def show_as_present(connection: sqlite3.Connection) -> None:
    """Let an older store be read, and not written, as if it were of the present version: what it lacks is empty."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version < 2:
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.executescript(_APART.replace("CREATE TABLE", "CREATE TEMP TABLE"))


def recognise(connection: sqlite3.Connection, path: str) -> int:
    """The version of a store; 0 of a file that holds nothing yet.

    Raises:
        InvalidInput: another program's file, or written by a newer version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not version and not application and not tables:
        return 0
    own = {name for (_, name, *_) in connection.execute("PRAGMA table_info(queries)")}
    ours = application == _APPLICATION or (application == 0 and version == 1 and _COLUMNS <= own)
    if not ours or not {"jobs", "queries", "members"} <= tables:
        raise InvalidInput(
            f"{path}: an SQLite file of another program, which is left as it is; give a store that `advverify batch run` "
            "made, or a new name"
        )
    if version > VERSION:
        raise InvalidInput(
            f"{path}: a store of schema {version}, this version reads up to {VERSION}: install a newer advverify"
        )
    return int(version)
