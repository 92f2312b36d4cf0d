"""Home Assistant's own database, opened to be read: nothing in it is run, changed or trusted.

Home Assistant keeps what happens in an SQLite file and writes it on while others read. What waits
in the file beside it (``-wal``) is part of it: neither a copy of the one file nor a connection that
takes it for unchangeable sees the newest rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar

from fedhome.data.files.file_kinds import SQLITE
from fedhome.data.files.packed_files import DATABASE_SUFFIXES
from fedhome.data.files.table_file import unreadable
from fedhome.errors import SourceError

BESIDE_DATABASE = ("-wal", "-shm", "-journal")
"""Endings of the files that SQLite keeps beside one: parts of it."""
MARKS: Final = frozenset({"states", "recorder_runs"})
"""Tables of every database of Home Assistant, whatever its version."""
TABLES: Final[Mapping[str, tuple[str, ...]]] = {
    "states": ("metadata_id", "state", "last_updated_ts", "attributes_id"),
    "states_meta": ("metadata_id", "entity_id"),
    "state_attributes": ("attributes_id", "shared_attrs"),
    "statistics": ("metadata_id", "start_ts", "mean", "sum"),
    "statistics_short_term": ("metadata_id", "start_ts", "mean", "sum"),
    "statistics_meta": ("id", "statistic_id", "unit_of_measurement", "has_sum"),
    "recorder_runs": ("start", "end", "closed_incorrect"),
}
"""What is read, by table: the schemas from that of Home Assistant 2023.4 on have it."""

_WAIT_S = 10.0  # for whoever has locked it
_MOST_CELL = 1_000_000  # bytes; a state has 255 characters, its attributes 16 KB
_HEAD = 20  # bytes; of those at 18 and 19 each says by 2 that there may be a file -wal
_EACH = 100_000  # steps of SQLite between two looks at how many there were
_STEPS_A_BYTE = 1000  # with an index for each entity it takes less than one
_FUNCTIONS: Final = frozenset({"min", "max"})
_DAMAGED = (
    'Home Assistant puts a damaged one aside and begins another; `sqlite3 FILE ".recover"` may '
    "save what is in this one"
)
_NOT_ALONE = (
    "let the user that runs this write in its folder, or read while Home Assistant runs; or copy "
    "the file and, where there is one, the file of its name with -wal behind it into a folder of "
    "your own, and read it there"
)
_UNREAD = "the system failed to read it"
_SEE_DISK = "see whether its disk is whole, and is no share over a network"
_TRY_AGAIN = "something else holds it: try again, or end what does"
_T = TypeVar("_T")


class ChangedMeanwhileError(Exception):
    """A database that nobody had open was written to while it was read."""


def is_home_assistants(path: Path) -> bool:
    """Tell whether a file is a database of Home Assistant, or may be one that is damaged.

    Args:
        path: A file that is there.
    """
    try:
        with path.open("rb") as stream:
            if not stream.read(_HEAD).startswith(b"SQLite format 3\0"):
                return False
        with _connected(path) as connection:
            return set(_tables(connection)) >= MARKS
    except (OSError, sqlite3.Error, ChangedMeanwhileError):
        return True


def of_database(path: Path) -> bool:
    """Tell whether a file is one that SQLite keeps beside a database that is there."""
    for ending in BESIDE_DATABASE:
        whole = path.name.removesuffix(ending)
        if whole != path.name and whole.lower().endswith(DATABASE_SUFFIXES):
            return path.with_name(whole).is_file()
    return False


def read_whole(path: Path, read: Callable[[sqlite3.Connection], _T], *, name: str = "") -> _T:
    """Return what a function reads of Home Assistant's database, all of it of one moment.

    Args:
        path: The file.
        read: Takes a connection in a transaction; it can read and nothing else.
        name: The file's name, as messages give it; empty: its own.

    Raises:
        SourceError: It is no such database, damaged, of another version, or held by others.
    """
    name = name or path.name
    for _ in range(2):
        try:
            with _connected(path) as connection:
                _check(name, connection)
                connection.execute("BEGIN")
                return read(connection)
        except ChangedMeanwhileError:  # Home Assistant has begun: it has a -wal from now on
            continue
        except sqlite3.Error as error:
            raise _refused(name, error) from None
        except OSError as error:  # it went, or its folder was closed, since it was found
            raise unreadable(name, error.strerror or _UNREAD, hint=_SEE_DISK) from None
        except (ValueError, TypeError, OverflowError, MemoryError):
            reason = "what stands in its tables is not what Home Assistant writes there"
            raise unreadable(name, reason, hint=_DAMAGED) from None
    raise unreadable(name, "it is being changed all the time", hint=_TRY_AGAIN)


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    """Yield a connection that cannot write, and leaves no file where there was none.

    Raises:
        ChangedMeanwhileError: At the end, if it was open to nobody and has changed since.
    """
    path = path.resolve()
    before = _state(path)
    alone = _nobody_has(path)
    # Without immutable, SQLite would make a -wal and a -shm of our own and let them lie.
    uri = f"{path.as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
    with closing(
        sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)
    ) as connection:
        connection.set_progress_handler(_too_long(path), _EACH)
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MOST_CELL)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.text_factory = lambda data: data.decode(errors="replace")
        for pragma in ("trusted_schema=OFF", "query_only=ON", "cell_size_check=ON", "mmap_size=0"):
            connection.execute(f"PRAGMA {pragma}")
        connection.set_authorizer(_allowed)
        try:
            yield connection
        except sqlite3.Error:
            if alone and _state(path) != before:
                raise ChangedMeanwhileError from None
            raise
    if alone and _state(path) != before:
        raise ChangedMeanwhileError


def _nobody_has(path: Path) -> bool:
    """Tell whether a database that would have a -wal while somebody has it open has none."""
    with path.open("rb") as stream:
        if b"\2" not in stream.read(_HEAD)[18:20]:
            return False
    wal, index = (path.with_name(path.name + ending) for ending in ("-wal", "-shm"))
    return not wal.exists() or (not wal.stat().st_size and not index.exists())


def _too_long(path: Path) -> Callable[[], bool]:
    """Return what tells SQLite to give up: pages that lead to each other have rows without end."""
    waits = path.with_name(f"{path.name}-wal")
    size = sum(one.stat().st_size for one in (path, waits) if one.exists())
    looks, most = count(), 100 + size * _STEPS_A_BYTE // _EACH
    return lambda: next(looks) > most


def _state(path: Path) -> tuple[int, int]:
    there = path.stat()
    return there.st_size, there.st_mtime_ns


def _allowed(action: int, first: str | None, second: str | None, *_: Any) -> int:
    """Let statements read, and call what they need; whatever the file's own text asks for."""
    if action in {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_TRANSACTION}:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_FUNCTION and second in _FUNCTIONS:
        return sqlite3.SQLITE_OK
    if action == sqlite3.SQLITE_PRAGMA and first == "table_xinfo":
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _tables(connection: sqlite3.Connection) -> list[str]:
    """Return the names of ordinary tables: views and virtual ones run what the file says."""
    made = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'")
    return [str(name) for name, sql in made if str(sql).upper().startswith("CREATE TABLE")]


def version_of(connection: sqlite3.Connection) -> int | None:
    """Return the number of a database's schema; None where it says none."""
    if "schema_changes" not in _tables(connection):
        return None
    try:
        found = connection.execute("SELECT max(schema_version) FROM schema_changes").fetchone()[0]
    except sqlite3.OperationalError:  # it has no such column
        return None
    return found if isinstance(found, int) else None


def _check(name: str, connection: sqlite3.Connection) -> None:
    """Refuse a database that is not Home Assistant's, or lacks what is read.

    Raises:
        SourceError: It is such a one.
    """
    tables = _tables(connection)
    if not set(tables) >= MARKS:
        reason = f"it is {SQLITE.words}, and not Home Assistant's"
        raise unreadable(name, reason, hint=SQLITE.hint)
    for table, columns in TABLES.items():
        there: set[str] = set()
        if table in tables:  # the last field says of a column that the file's own text computes it
            found = connection.execute(f"PRAGMA table_xinfo({table})")
            there = {str(row[1]) for row in found if not row[-1]}
        if lacking := [column for column in columns if column not in there]:
            schema = version_of(connection)
            version = f"of schema {schema}" if schema else "of an unknown schema"
            what = f"column {lacking[0]!r} in table {table!r}" if there else f"table {table!r}"
            raise unreadable(
                name,
                f"it is a database of Home Assistant {version}, and has no {what}",
                hint="schemas from that of Home Assistant 2023.4 on are read: a newer Home "
                "Assistant brings an older database up to date when it starts with it",
            )


def _refused(name: str, error: sqlite3.Error) -> SourceError:
    kind = getattr(error, "sqlite_errorname", "")
    if kind.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        reason = f"something else has held it for {_WAIT_S:g} s"
        return unreadable(name, reason, hint=_TRY_AGAIN)
    if kind.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
        reason = "its last changes lie beside it, and cannot be read together with it here"
        return unreadable(name, reason, hint=_NOT_ALONE)
    if kind.startswith("SQLITE_IOERR"):
        return unreadable(name, _UNREAD, hint=_SEE_DISK)
    return unreadable(name, "it is no whole database of SQLite", hint=_DAMAGED)
