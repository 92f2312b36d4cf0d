"""Home Assistant's database as a file of others: what is written meanwhile, damaged, or a trap."""

from __future__ import annotations

import json
import sqlite3
import struct
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from fedhome.clients.changes import WatchedPaths
from fedhome.data.files import home_assistant_database
from fedhome.data.files.data_files import is_data_file
from fedhome.data.files.home_assistant_database import read_whole
from fedhome.data.home_files import read_home
from fedhome.data.homes_folder import read_folder
from fedhome.errors import EmptyFleetError, SourceError
from helpers.assistant_database import BEGIN, HOUR, AssistantDatabase

WRITER = """
    import sqlite3, sys
    path, begin = sys.argv[1], int(sys.argv[2])
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA journal_mode=WAL").fetchone() == ("wal",)
    connection.execute("PRAGMA wal_autocheckpoint=0")  # all of it waits beside the file
    add = "INSERT INTO states (metadata_id, last_updated_ts, state, attributes_id) VALUES (1,?,?,1)"
    for line in sys.stdin:
        hour = int(line)
        connection.execute("BEGIN IMMEDIATE")
        for part in range(60):
            connection.execute(add, (begin + hour * 3600 + part * 60, str(hour)))
        connection.commit()
        connection.execute("BEGIN IMMEDIATE")  # what is not committed is nobody's yet
        connection.execute(add, (begin + (hour + 50) * 3600, "999"))
        print(hour, flush=True)
        connection.rollback() if hour % 2 else connection.commit()
        if not hour % 2:
            connection.execute("DELETE FROM states WHERE state = '999'")
            connection.commit()
"""


@pytest.fixture
def database(tmp_path: Path) -> AssistantDatabase:
    """A database with a sensor."""
    made = AssistantDatabase(tmp_path / "home assistant?#%41" / "home-assistant_v2.db")
    made.states("sensor.load", [(0, "0"), (10, "0")], unit_of_measurement="kW")
    return made


@pytest.fixture
def writer(database: AssistantDatabase) -> Iterator[subprocess.Popen[str]]:
    """A process that writes an hour for each line that it gets, and says when it is there."""
    database.close()
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), database.path, str(BEGIN)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        yield running
        assert running.stdin is not None
        running.stdin.close()
        assert running.wait(60) == 0


def test_what_another_process_writes_is_read_while_it_writes(
    database: AssistantDatabase, writer: subprocess.Popen[str]
) -> None:
    """Nothing of it is in the file itself; what a copy of that holds, or immutable, is old."""
    assert writer.stdin is not None
    assert writer.stdout is not None
    whole = b""
    watched = WatchedPaths(files=(str(database.path), f"{database.path}-wal"), folders=())
    states = [watched.state()]
    for hour in range(1, 6):
        writer.stdin.write(f"{hour}\n")
        writer.stdin.flush()
        assert writer.stdout.readline() == f"{hour}\n"
        whole = whole or database.path.read_bytes()
        table = read_home(database.path).table
        known = table.columns["sensor.load"]
        # The hour that is being written has not ended.
        assert ((table.time_s - BEGIN) // HOUR).tolist()[:hour] == list(range(hour))
        assert known[:hour].tolist() == list(range(hour))
        states.append(watched.state())
    assert database.path.read_bytes() == whole
    assert all(before != after for before, after in pairwise(states))


def test_nothing_is_written_beside_a_database_that_nobody_has_open(tmp_path: Path) -> None:
    """SQLite itself would make two files for whoever reads one that was kept with a journal."""
    database = AssistantDatabase(tmp_path / "oak" / "home-assistant_v2.db", journal="wal")
    database.statistics("sensor.load", {0: 1.0, 1: 2.0}, unit="kW")
    assert len(list(database.path.parent.iterdir())) == 3
    before = read_home(database.path)
    database.close()
    file, state = database.path.read_bytes(), database.path.stat()
    assert file[18:20] == b"\2\2"
    assert np.array_equal(read_home(database.path).table.time_s, before.table.time_s)
    assert list(database.path.parent.iterdir()) == [database.path]
    assert database.path.read_bytes() == file
    assert database.path.stat().st_mtime_ns == state.st_mtime_ns


def test_a_copy_with_what_waits_beside_it_is_read_whole(tmp_path: Path) -> None:
    database = AssistantDatabase(tmp_path / "home-assistant_v2.db", journal="wal")
    database.statistics("sensor.load", {0: 1.0, 1: 2.0}, unit="kW")
    copy = tmp_path / "copy" / "home-assistant_v2.db"
    copy.parent.mkdir()
    for ending in ("", "-wal"):
        part = Path(f"{database.path}{ending}")
        (copy.parent / part.name).write_bytes(part.read_bytes())
    database.close()
    assert read_home(copy).table.columns["sensor.load"].tolist() == [1, 2]


def test_one_that_opens_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    database = AssistantDatabase(tmp_path / "home-assistant_v2.db", journal="wal")
    database.statistics("sensor.load", {0: 1.0}, unit="kW")
    database.close()
    seen: list[int] = []

    def read(connection: sqlite3.Connection) -> int:
        if not seen:
            with sqlite3.connect(database.path) as started:
                started.execute("INSERT INTO statistics (metadata_id, start_ts) VALUES (1, 1)")
            started.close()
        count = connection.execute("SELECT max(id) FROM statistics").fetchone()[0]
        seen.append(count)
        return int(count)

    assert read_whole(database.path, read) == 2
    assert len(seen) == 2


def test_a_home_reads_what_has_come_since(database: AssistantDatabase) -> None:
    database.states("sensor.load", [(HOUR, "1"), (2 * HOUR, "2")], unit_of_measurement="kW")
    assert read_home(database.path).table.rows == 2
    database.states("sensor.load", [(3 * HOUR, "3")], unit_of_measurement="kW")
    assert read_home(database.path).table.columns["sensor.load"].tolist() == [0, 1, 2]
    database.close()


# --- what is refused


def refused(path: Path) -> SourceError:
    with pytest.raises(SourceError) as error:
        read_home(path)
    assert path.name in error.value.message
    assert error.value.hint
    return error.value


def test_a_database_that_is_locked_is_told(
    database: AssistantDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home_assistant_database, "_WAIT_S", 0.05)
    database.connection.execute("BEGIN EXCLUSIVE")
    assert "something else has held it" in refused(database.path).message
    database.connection.rollback()
    database.close()
    assert read_home(database.path).table.rows == 0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SQLITE_CANTOPEN", "its last changes lie beside it"),
        ("SQLITE_READONLY_ROLLBACK", "its last changes lie beside it"),
        ("SQLITE_IOERR_READ", "failed to read"),
        ("SQLITE_CORRUPT_INDEX", "no whole database"),
    ],
)
def test_what_the_system_says_is_told_in_words(
    database: AssistantDatabase, name: str, words: str
) -> None:
    database.close()

    def fail(_: sqlite3.Connection) -> None:
        error = sqlite3.OperationalError("of a path of somebody's")
        error.sqlite_errorname = name
        raise error

    with pytest.raises(SourceError, match=words) as told:
        read_whole(database.path, fail)
    assert "somebody" not in told.value.with_hint


@pytest.mark.parametrize("at", [0, 17, 100, 4096, 4200, 8192, 20_000])
def test_a_damaged_database_is_refused_or_read(database: AssistantDatabase, at: int) -> None:
    database.statistics("sensor.load", dict.fromkeys(range(500), 1.0), unit="kW")
    database.close()
    data = bytearray(database.path.read_bytes())
    for torn in (bytes(data[:at]), bytes(data[:at] + b"\xff" * 64 + data[at + 64 :])):
        database.path.write_bytes(torn)
        try:
            read_home(database.path)
        except SourceError as error:
            assert error.hint  # noqa: PT017 - of some damage SQLite sees nothing


def test_pages_that_lead_to_each_other_are_given_up(database: AssistantDatabase) -> None:
    """Each of ten pages leads two hundred times to the next: 10^23 rows, in a small file."""
    database.states("sensor.load", [(at, "1.5") for at in range(20, 3000)])
    database.connection.execute("DROP INDEX ix_states")
    database.connection.commit()
    root = database.connection.execute("SELECT rootpage FROM sqlite_master WHERE name='states'")
    number, size = root.fetchone()[0], 4096
    database.close()
    data = bytearray(database.path.read_bytes())
    (children,) = struct.unpack_from(">H", data, (number - 1) * size + 3)
    cells = struct.unpack_from(f">{children}H", data, (number - 1) * size + 12)
    pages = [struct.unpack_from(">I", data, (number - 1) * size + cell)[0] for cell in cells][:11]
    for page, below in pairwise([number, *pages]):
        at = [size - 8 * (one + 1) for one in range(200)]
        head = struct.pack(">BHHHBI", 5, 0, 200, at[-1], 0, below) + struct.pack(">200H", *at)
        body = bytes(at[-1] - len(head)) + (struct.pack(">I", below) + b"\1\0\0\0") * 200
        data[(page - 1) * size : page * size] = head + body
    database.path.write_bytes(data)
    assert "no whole database" in refused(database.path).message


def test_one_that_went_is_told(database: AssistantDatabase) -> None:
    database.close()
    database.path.unlink()
    with pytest.raises(SourceError, match="No such file"):
        read_whole(database.path, sqlite3.Connection.commit)


def test_a_header_alone_is_told_where_it_lies_among_homes(tmp_path: Path) -> None:
    (tmp_path / "oak.db").write_bytes(b"SQLite format 3\0")
    with pytest.raises(EmptyFleetError, match=r"oak\.db cannot be read: it is no whole database"):
        read_folder(tmp_path)


def test_a_database_of_something_else_is_refused_with_the_export(tmp_path: Path) -> None:
    path = tmp_path / "readings.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE readings (load REAL)")
    other.close()
    error = refused(path)
    assert "an SQLite database, and not Home Assistant's" in error.message
    assert "sqlite3 -readonly -csv" in error.hint
    assert not is_data_file(path)
    (tmp_path / "thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    assert not is_data_file(tmp_path / "thumbs.db")


def test_an_older_schema_is_refused_with_its_number(tmp_path: Path) -> None:
    database = AssistantDatabase(tmp_path / "home-assistant_v2.db", schema=30)
    database.connection.executescript(
        "DROP TABLE states; CREATE TABLE states (state_id INTEGER PRIMARY KEY, state VARCHAR);"
    )
    database.close()
    error = refused(database.path)
    assert "of schema 30, and has no column 'metadata_id' in table 'states'" in error.message
    assert "Home Assistant 2023.4" in error.hint


ENDLESS = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT x"


@pytest.mark.parametrize(
    "trap",
    [
        "VIEW statistics AS SELECT 1 AS metadata_id, load_extension('evil') AS start_ts",
        f"VIEW statistics AS {ENDLESS} AS metadata_id, 1 AS start_ts, 1 AS mean, 1 AS sum FROM n",
        "TABLE statistics (metadata_id, start_ts, mean, sum AS (zeroblob(1000000000)))",
        "VIRTUAL TABLE statistics USING fts5 (metadata_id, start_ts, mean, sum)",
    ],
)
def test_what_would_run_is_no_table(database: AssistantDatabase, trap: str) -> None:
    try:
        database.connection.executescript(f"DROP TABLE statistics; CREATE {trap}")
    except sqlite3.OperationalError:
        pytest.skip("this SQLite has no such tables")
    database.close()
    assert "statistics'" in refused(database.path).message


def test_a_statement_that_does_more_than_read_is_refused(database: AssistantDatabase) -> None:
    database.close()
    whole = database.path.read_bytes()
    for statement in (
        "DELETE FROM states",
        "ATTACH 'other.db' AS other",
        "SELECT load_extension('evil')",
        "SELECT randomblob(10)",
        "PRAGMA query_only=OFF",
        "CREATE TEMP TABLE t (a)",
    ):
        with pytest.raises(SourceError):
            read_whole(database.path, lambda db, one=statement: db.execute(one).fetchall())
    assert database.path.read_bytes() == whole


@pytest.mark.parametrize(
    "odd",
    [
        "UPDATE statistics_meta SET statistic_id = x'00'",
        "INSERT INTO statistics (metadata_id, start_ts, mean) VALUES ('x', 1772409600, 1)",
        "INSERT INTO statistics (metadata_id, start_ts, mean) VALUES (1, 1772409600, 'warm')",
        "INSERT INTO statistics (metadata_id, start_ts, mean) VALUES (1, 1772409600, x'00')",
        "INSERT INTO statistics (metadata_id, start_ts, mean) VALUES (1, 1e300, 1)",
        "UPDATE states_meta SET metadata_id = 9223372036854775807",
        "UPDATE states SET last_updated_ts = 'now'",
        "UPDATE states SET last_updated_ts = -1e308",
        "UPDATE states SET attributes_id = -5",
        "UPDATE states SET state = x'ff00'",
        "UPDATE state_attributes SET shared_attrs = x'ff'",
        "UPDATE schema_changes SET schema_version = 'x'",
        "INSERT INTO recorder_runs VALUES (1, 'x', 'y', 0), (2, 3, NULL, 1), (4, x'00', '', 'x')",
        "DELETE FROM states; DELETE FROM statistics",
    ],
)
def test_odd_cells_are_read_or_refused_in_words(database: AssistantDatabase, odd: str) -> None:
    database.statistics("sensor.load", {0: 1.0}, unit="kW")
    database.states("sensor.load", [(5 * HOUR, "2")], unit_of_measurement="kW")
    database.connection.executescript(odd)
    database.close()
    try:
        read_home(database.path)
    except SourceError as error:
        assert error.hint  # noqa: PT017 - either is right


def test_too_much_is_refused_before_it_is_held(
    database: AssistantDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fedhome.data.files.home_assistant_table._MOST_CELLS", 3)
    database.statistics("sensor.load", dict.fromkeys(range(4), 1.0), unit="kW")
    database.close()
    assert "4 rows of 1 columns are too many" in refused(database.path).message


def test_long_cells_are_refused(database: AssistantDatabase) -> None:
    long = json.dumps({"unit_of_measurement": "W" * 2_000_000})
    database.connection.execute("UPDATE state_attributes SET shared_attrs = ?", (long,))
    database.close()
    refused(database.path)
