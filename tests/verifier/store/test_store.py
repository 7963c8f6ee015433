"""Stores that cannot be used, are older, broken, full or read-only: one line, nothing lost, nothing foreign touched."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import run

from advverify.verifier.errors import InvalidInput
from advverify.verifier.outcome import Bracket, Outcome, TraceEvent, Trust, Verdict
from advverify.verifier.parallel.accident import Accident, AccidentKind
from advverify.verifier.store import Store, StoredQuery
from advverify.verifier.store.schema import _STEPS, VERSION

ROBUST = Outcome(Verdict.ROBUST, Bracket(0.1, 0.2, np.zeros(4)), Trust.SOLVER, "propagate", 0.01)


def query(number: int) -> StoredQuery:
    return StoredQuery(f"{number:032x}", "certify", "m.onnx", "ab", "digits", str(number), "inf", 0.1, "{}", "0")


def filled(path: Path, count: int = 5) -> Path:
    """A store of a job of so many queries, all answered."""
    with Store(path, write=True) as store:
        store.add("j", "text", ".", [query(k) for k in range(count)])
        store.finish((query(k).key, ROBUST, 1) for k in range(count))
    return path


def test_stores_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with pytest.raises(InvalidInput, match="no such store"):
        Store(path)
    with Store(path, write=True) as first:
        first.add("j", "t", ".", [])
        with pytest.raises(InvalidInput, match="another job is writing"):
            Store(path, write=True)
        with Store(path) as reader:
            assert reader.jobs()[0]["name"] == "j"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    for write in (False, True):
        with pytest.raises(InvalidInput, match="install a newer advverify"):
            Store(path, write=write)
    path.write_bytes(b"")
    with pytest.raises(InvalidInput, match="an empty store"):
        Store(path)
    with Store(path, write=True) as again:
        assert again.jobs() == []


# -- full and read-only disks ------------------------------------------------------------------------------------------


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    big = Outcome(Verdict.ROBUST, Bracket(0.5, 0.6, np.random.default_rng(0).random(20000)), Trust.SOLVER, "x", 0.0)
    events = [TraceEvent(0.1, 0.0, 1.0, "milp" * 1000)] * 100
    writes: list[Callable[[Store], None]] = [
        lambda store: store.finish([(query(0).key, big, 1)]),
        lambda store: store.note_progress(query(0).key, events),
        lambda store: store.note_accident(query(0).key, Accident(AccidentKind.KILLED, "gone " * 20000), 1),
        lambda store: store.add("k", "text" * 20000, ".", [query(k) for k in range(1000)]),
    ]
    filled(tmp_path / "s.sqlite")
    for write in writes:
        with Store(tmp_path / "s.sqlite", write=True) as store:
            pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
            store._connection.execute(f"PRAGMA max_page_count = {pages}")
            with pytest.raises(InvalidInput, match="answers cannot be kept .*full"):
                write(store)
            assert store.jobs()[0]["done"] == 5 and len(store.jobs()) == 1
            store.note_accident(query(1).key, Accident(AccidentKind.FILE, "gone"), 1)  # what still fits goes in


def in_own_mounts(script: str, *arguments: str) -> str:
    """What a shell prints that may mount things nobody else sees; skips where nobody may."""
    command = ["unshare", "-rm", "sh", "-e", "-c", script, "sh", *arguments]
    try:
        allowed = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    if allowed.returncode:
        pytest.skip("mounting is not allowed here")
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


READ = """
import sys
from advverify.verifier.errors import InvalidInput
from advverify.verifier.store import Store
for write in (False, True):
    try:
        with Store(sys.argv[1], write=write) as store:
            print(store.jobs()[0]["done"], len(list(store.rows())))
    except InvalidInput as error:
        print(error)
"""
READ_ONLY = 'mount --bind "$1" "$1"; mount -o remount,ro,bind "$1"; "$2" -c "$3" "$4"'


def test_a_read_only_place_can_be_read(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite")
    said = in_own_mounts(READ_ONLY, str(tmp_path), sys.executable, READ, str(path)).splitlines()
    assert said[0] == "5 5" and "not a store that can be written" in said[1] and len(said) == 2


def test_answers_in_a_journal_are_not_passed_over(tmp_path: Path) -> None:
    """A writer was killed and its store mounted read-only: the newest answers cannot be read, which is said."""
    killed = "import os, sys; from advverify.verifier.store import Store\n"
    killed += "store = Store(sys.argv[1], write=True); store.add('j', 't', '.', []); os._exit(0)"
    path = tmp_path / "s.sqlite"
    subprocess.run([sys.executable, "-c", killed, str(path)], check=True, timeout=60)
    Path(f"{path}-shm").unlink()
    said = in_own_mounts(READ_ONLY, str(tmp_path), sys.executable, READ, str(path)).splitlines()
    assert "its newest answers are in s.sqlite-wal" in said[0]
    with Store(path) as store:
        assert store.jobs()[0]["name"] == "j"


# -- files that are broken, or another program's -----------------------------------------------------------------------


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_another_programs_file_is_left_alone(journal: str, tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE jobs (name TEXT)")
        connection.commit()
    content, names = path.read_bytes(), set(tmp_path.iterdir())
    for write in (False, True):
        with pytest.raises(InvalidInput, match="another program, which is left as it is"):
            Store(path, write=write)
    assert path.read_bytes() == content and not (tmp_path / "theirs.sqlite.lock").exists()
    assert journal == "wal" or set(tmp_path.iterdir()) == names


@pytest.mark.parametrize(
    "content", [b"not a database at all, but long enough to be looked at" * 10, b"SQLite format 3\0"]
)
def test_what_is_no_database_is_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    for write in (False, True):
        with pytest.raises(InvalidInput, match="not a store"):
            Store(path, write=write)
    assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]


COMMANDS = [
    ("batch", "status", "--store", "{store}"),
    ("batch", "export", "--store", "{store}", "-o", "{folder}/out.csv"),
    ("report", "{store}", "--text"),
    ("gap", "{store}"),
]


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_truncated_file_is_one_line(share: float, tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite", 400)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    for command in COMMANDS:
        done = run(*(part.format(store=path, folder=tmp_path) for part in command))
        assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, (command, done.stderr)
        assert "s.sqlite: " in done.stderr and "restore a copy" in done.stderr
    with pytest.raises(InvalidInput, match="malformed|shorter"):
        Store(path, write=True)


def test_pages_that_are_broken_are_one_line(tmp_path: Path) -> None:
    """Whatever page is overwritten: a command does its work, or says in one line that the store is broken."""
    path = filled(tmp_path / "s.sqlite", 200)
    content, broken = path.read_bytes(), 0
    for page in range(1, len(content) // 4096):
        path.write_bytes(content[: 4096 * page] + b"\xa5" * 4096 + content[4096 * (page + 1) :])
        for command in COMMANDS[:2]:
            done = run(*(part.format(store=path, folder=tmp_path) for part in command))
            assert done.returncode in (0, 2) and "Traceback" not in done.stderr
            if done.returncode == 2:
                broken += 1
                assert len(done.stderr.strip().splitlines()) == 1 and "s.sqlite" in done.stderr
        if broken > 20:
            return
    raise AssertionError(f"only {broken} commands noticed a broken page")


# -- older schemas -----------------------------------------------------------------------------------------------------

ACCIDENTS_OF_1 = {
    "no answer within 90 s, the worker was stopped (attempt 2)": "hung",
    "the worker was killed by signal 9 (attempt 2)": "killed",
    "the worker ended with status 1 (attempt 2)": "killed",
    "on the cluster: worker died": "killed",
    "/gone/n.onnx: no such file": "file",
    "n.onnx: the file has changed since this was asked; ask again": "file",
    "[Errno 2] No such file or directory: 'p.vnnlib'": "file",
    "MemoryError": "memory",
    "no engine knows more to try: 9 of 9 targets open; crown failed (RuntimeError: can't allocate memory)": "memory",
}


def of_version_1(path: Path) -> None:
    """A store as version 1 wrote it: one robust query, an honest unknown, an open one, and accidents as unknowns."""
    unknown = "time limit of 60 s: 3 of 9 targets open"
    reasons = ["", unknown, None, *ACCIDENTS_OF_1]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(f"BEGIN; {_STEPS[1]} PRAGMA user_version = 1; COMMIT;")
        connection.execute("INSERT INTO jobs VALUES ('j', 'text', '.', 1.0, '0')")
        for k, reason in enumerate(reasons):
            q = query(k)
            outcome = (
                ROBUST
                if reason == ""
                else Outcome(Verdict.UNKNOWN, Bracket(-1, 1), Trust.SOLVER, "", 1, (), reason or "")
            )
            given: list[Any] = [None] * 11
            if reason is not None:
                record = json.loads(outcome.to_json())
                names = ("verdict", "lower", "upper", "trust", "engine", "seconds", "reason")
                given = [*(record[name] for name in names), 2, 1.0, None, outcome.to_json()]
            values = [
                q.key,
                q.kind,
                q.model,
                q.model_sha256,
                q.data,
                q.item,
                q.norm,
                q.eps,
                q.options,
                q.version,
                *given,
            ]
            connection.execute(f"INSERT INTO queries VALUES ({','.join('?' * 21)})", values)
            connection.execute("INSERT INTO members VALUES ('j', ?, ?)", (q.key, k))


def test_schema_1_is_migrated_with_a_copy_kept(tmp_path: Path) -> None:
    path, copy = tmp_path / "s.sqlite", tmp_path / "s.sqlite.schema-1"
    of_version_1(path)
    with Store(path) as reader:  # read as it is, and not changed by that
        assert reader.jobs()[0]["done"] == 2 + len(ACCIDENTS_OF_1) and reader.jobs()[0]["accidents"] == 0
        assert list(reader.accidents()) == [] and reader.progress(query(0).key) == []
    assert not copy.exists()
    with Store(path, write=True) as store:
        assert store._connection.execute("PRAGMA user_version").fetchone() == (VERSION,)
        job = store.jobs()[0]
        assert (job["done"], job["robust"], job["unknown"]) == (2, 1, 1) and job["accidents"] == len(ACCIDENTS_OF_1)
        assert {row["message"]: row["accident"] for row in store.accidents()} == ACCIDENTS_OF_1
        assert {row["attempts"] for row in store.accidents()} == {2}
        assert set(store.answered([query(k).key for k in range(20)])) == {query(0).key, query(1).key}
        found = store.outcome(query(0).key)
        assert found is not None and found.to_json() == ROBUST.to_json()
    with closing(sqlite3.connect(copy)) as kept:
        assert kept.execute("PRAGMA user_version").fetchone() == (1,)
        assert kept.execute("SELECT count(verdict), count(*) FROM queries").fetchone() == (
            2 + len(ACCIDENTS_OF_1),
            3 + len(ACCIDENTS_OF_1),
        )
    content = copy.read_bytes()
    of_version_1(path.with_name("new.sqlite"))
    path.with_name("new.sqlite").replace(path)
    with Store(path, write=True) as store:
        assert store.jobs()[0]["accidents"] == len(ACCIDENTS_OF_1)
    assert copy.read_bytes() == content and (tmp_path / "s.sqlite.schema-1-2").is_file()


def test_a_migration_without_room_for_its_copy_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.sqlite"
    of_version_1(path)
    content = path.read_bytes()

    def full(source: str, target: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("advverify.verifier.store.opening.os.replace", full)
    with pytest.raises(InvalidInput, match="No space left"):
        Store(path, write=True)
    assert path.read_bytes() == content and not list(tmp_path.glob("*.schema-1*"))


def test_an_answer_that_says_more_stays(tmp_path: Path) -> None:
    def answer(verdict: Verdict, lower: float, upper: float) -> Outcome:
        return Outcome(verdict, Bracket(lower, upper), Trust.SOLVER, "milp", 1.0)

    distance = replace(query(0), kind="distance", eps=None, options='{"gap": 0.01, "timeout": 5}')
    steps = [
        (answer(Verdict.UNKNOWN, 0.0, np.inf), "unknown", 5.0),
        (answer(Verdict.ADVERSARIAL, 0.1, 0.3), "adversarial", 6.0),
        (answer(Verdict.UNKNOWN, 0.1, np.inf), "adversarial", 7.0),  # no verdict does not take the place of one
        (answer(Verdict.ADVERSARIAL, 0.0, 0.3), "adversarial", 8.0),  # nor does a wider bracket; the time was spent
        (answer(Verdict.ADVERSARIAL, 0.2, 0.2001), "adversarial", None),
    ]
    with Store(tmp_path / "s.sqlite", write=True) as store:
        store.add("j", "text", ".", [distance])
        for number, (outcome, verdict, seconds) in enumerate(steps):
            options = {distance.key: f'{{"gap": 0.01, "timeout": {5 + number}}}'}
            store.finish([(distance.key, outcome, 1)], options)
            assert store.outcome(distance.key).verdict.value == verdict  # type: ignore[union-attr]
            assert store.answered([distance.key]) == {distance.key: seconds}


@pytest.mark.parametrize("kind", ["certify", "distance", "verify", "attack"])
@pytest.mark.parametrize("verdict", list(Verdict))
def test_the_tighter_bracket_stays_whatever_was_asked(kind: str, verdict: Verdict, tmp_path: Path) -> None:
    inf = np.inf
    kept = [
        ((0.2, 0.3), (0.1, 0.4), False),  # kept, new, and whether the new one takes its place
        ((0.2, 0.3), (0.2, 0.4), False),
        ((0.2, 0.3), (0.1, 0.25), False),
        ((0.2, 0.3), (0.25, 0.3), True),
        ((0.2, 0.3), (0.2, 0.3), True),
        ((-inf, 0.3), (-inf, 0.5), False),
        ((-inf, 0.3), (-inf, 0.2), True),
        ((0.2, inf), (0.1, inf), False),
        ((0.2, inf), (-inf, 0.4), True),
    ]
    if verdict is Verdict.ROBUST:  # then something is proved
        kept = [*(each for each in kept if -inf not in (*each[0], *each[1]))]
        kept += [((inf, inf), (0.3, inf), False), ((0.3, inf), (inf, inf), True)]
    for number, (old, new, replaced) in enumerate(kept):
        asked = replace(query(number), kind=kind)
        with Store(tmp_path / "s.sqlite", write=True) as store:
            store.add("j", "text", ".", [asked], more=True)
            for sides in (old, new):
                store.finish([(asked.key, Outcome(verdict, Bracket(*sides), Trust.SOLVER, "milp", 1.0), 1)])
            outcome = store.outcome(asked.key)
        assert outcome is not None
        assert (outcome.bracket.lower, outcome.bracket.upper) == (new if replaced else old), number


@pytest.mark.parametrize("first", [False, True])
def test_a_proof_counts_for_more(first: bool, tmp_path: Path) -> None:
    """Whether it comes first or later."""
    proved = Outcome(Verdict.ROBUST, Bracket(0.1, 0.2), Trust.CHECKED, "milp", 1.0, proof="p.proof")
    with Store(tmp_path / "s.sqlite", write=True) as store:
        store.add("j", "text", ".", [query(0)])
        tighter = replace(proved, bracket=Bracket(0.15, 0.2), trust=Trust.SOLVER, proof=None)
        for outcome in (proved, tighter) if first else (tighter, proved):
            store.finish([(query(0).key, outcome, 1)])
        assert store.outcome(query(0).key).proof == "p.proof"  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["distance", "certify"])
def test_no_proof_of_less_takes_the_place_of_what_is_closed(kind: str, tmp_path: Path) -> None:
    asked = replace(query(0), kind=kind, options='{"gap": 0.01, "timeout": 5, "exact_margin": true}')
    verdict = Verdict.ADVERSARIAL if kind == "distance" else Verdict.ROBUST
    closed = Outcome(verdict, Bracket(0.05, 0.05), Trust.SOLVER, "milp", 1.0)
    open_ = replace(closed, bracket=Bracket(0.01, 0.06), trust=Trust.CHECKED, proof="p.proof")
    with Store(tmp_path / "s.sqlite", write=True) as store:
        store.add("j", "text", ".", [asked])
        for outcome in (closed, open_):
            store.finish([(asked.key, outcome, 1)])
        assert store.answered([asked.key]) == {asked.key: None}


def test_one_writer_by_whatever_name(tmp_path: Path) -> None:
    filled(tmp_path / "s.sqlite")
    (tmp_path / "link.sqlite").symlink_to(tmp_path / "s.sqlite")
    with Store(tmp_path / "s.sqlite", write=True), pytest.raises(InvalidInput, match="another job is writing"):
        Store(tmp_path / "link.sqlite", write=True)


def test_what_is_no_file_is_no_store() -> None:
    with pytest.raises(InvalidInput, match="not a file"):
        Store(Path("/dev/null"), write=True)
    assert not Path("/dev/null.lock").exists()


@pytest.mark.parametrize("version", [0, 1])
def test_tables_of_the_same_names_make_no_store(version: int, tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        for name in ("jobs", "queries", "members"):
            connection.execute(f"CREATE TABLE {name} (name TEXT)")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
    content = path.read_bytes()
    for write in (False, True):
        with pytest.raises(InvalidInput, match="another program"):
            Store(path, write=write)
    assert path.read_bytes() == content


def test_accidents_of_what_no_job_asks_any_more_are_not_shown(tmp_path: Path) -> None:
    with Store(tmp_path / "s.sqlite", write=True) as store:
        store.add("j", "text", ".", [query(0), query(1)])
        for number in (0, 1):
            store.note_accident(query(number).key, Accident(AccidentKind.FILE, "gone"), 1)
        assert len(list(store.accidents())) == len(list(store.accidents("j"))) == 2
        store.add("j", "text", ".", [query(1)])
        assert len(list(store.accidents())) == len(list(store.accidents("j"))) == store.jobs()[0]["accidents"] == 1


def test_a_job_that_asks_other_questions_by_now_has_these_alone(tmp_path: Path) -> None:
    path = filled(tmp_path / "s.sqlite")
    with Store(path, write=True) as store:
        store.add("j", "text", ".", [query(k) for k in range(3, 8)])
        (job,) = store.jobs()
        assert job["queries"] == 5 and job["done"] == 2 and store.count() == 5
        store.add("j", "text", ".", [query(9)], more=True)
        assert store.jobs()[0]["queries"] == 6
