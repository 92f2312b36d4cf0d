"""Homes that are in memory already: tables of pandas, Arrow or plain columns, one for each home."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeGuard, runtime_checkable

import pyarrow as pa

from fedhome.data.files.data_files import Raw
from fedhome.data.home_files import HomeFilesRead, read_rows
from fedhome.data.homes_folder import Exclusion, FolderRead, as_fleet, unusable
from fedhome.data.table import HomeTable
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

_AS_IT_IS = ReadingSettings()
HINT = (
    "give a dictionary of a home's name and its table (a DataFrame, an Arrow table, or columns by "
    "name), or fedhome.HomeTables; docs/data.md says what a home's data must look like"
)


@runtime_checkable
class ArrowTable(Protocol):
    """A table that Arrow can read in place: of pandas (2.2 or newer), polars, pyarrow, ..."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a capsule of its rows."""


Columns = Mapping[str, Sequence[Any]]
Row = Mapping[str, Any]
_ONE_HINT = (
    "a home's readings are a DataFrame, an Arrow table, whatever has to_pandas(), columns by name "
    "that are all of one length, or a list of rows by name; a column holds numbers or text, and "
    "not both; docs/data.md says more"
)
HomesTables = Mapping[str, HomeTable | ArrowTable | Columns] | Sequence[HomeTable]
"""Tables by the names of their homes, or tables that name their homes."""
Homes = HomesTables | Callable[..., Iterable[HomeTable]]
"""The same, or a function of the plan that gives them."""


def read_tables(
    homes: HomesTables,
    settings: ReadingSettings = _AS_IT_IS,
    *,
    target: str | None = None,
    numbers: Collection[str] = (),
    wanted: Collection[str] | None = None,
) -> FolderRead:
    """Read homes that are in memory, as files of the same content would be read.

    Args:
        homes: A table for each home.
        settings: How their columns are to be read.
        target: The column to predict; homes in which it holds nothing are left out.
        numbers: Columns that must hold numbers: words in them are an error.
        wanted: Columns that will be used, as of `read_home`; None: all may be.

    Raises:
        SourceError: It is no collection of tables.
        EmptyFleetError: No home can be used; lists every reason.
    """
    reads: dict[str, HomeFilesRead] = {}
    excluded: list[Exclusion] = []
    notes: list[tuple[str, str]] = []
    for home, table in _named(homes):
        try:
            read = read_table(home, table, settings, numbers=numbers, wanted=wanted)
        except SourceError as error:
            excluded.append(Exclusion(home, error.message, error.hint))
            continue
        if unfit := unusable(read, target):
            excluded.append(unfit)
        else:
            reads[home] = read
            notes += [(home, note) for note in read.notes]
    return as_fleet(reads.values(), excluded, notes, what="home that was given", hint=HINT)


def _named(homes: HomesTables) -> list[tuple[str, object]]:
    if isinstance(homes, Mapping):
        return [(str(home), table) for home, table in homes.items()]
    named: dict[str, object] = {}
    for table in homes:
        if not isinstance(table, HomeTable):
            raise SourceError(
                f"the homes hold a value of type {type(table).__name__} that does not name its "
                "home",
                hint=HINT,
            )
        if table.home in named:
            raise SourceError(f"two of the homes have the name {table.home!r}", hint=HINT)
        named[table.home] = table
    return list(named.items())


def read_table(
    home: str,
    table: object,
    settings: ReadingSettings = _AS_IT_IS,
    *,
    numbers: Collection[str] = (),
    wanted: Collection[str] | None = None,
) -> HomeFilesRead:
    """Read one home that is in memory; arguments as of :func:`read_tables`.

    Raises:
        SourceError: It is no table, or what does not make sense in it.
    """
    if isinstance(table, HomeTable):
        if table.home != home:
            raise SourceError(f"it is given as {home!r} and calls itself {table.home!r}")
        return HomeFilesRead(table=table)
    what = type(table).__name__
    if _are_rows(table):
        table = _columns(table)
    elif not isinstance(table, ArrowTable) and callable(as_frame := getattr(table, "to_pandas", 0)):
        try:
            table = as_frame()
        except ImportError as error:
            raise SourceError(
                f"its {what} cannot be made a table: {error}",
                hint="install what it needs for to_pandas(), or give columns by name",
            ) from None
    try:
        rows = pa.table(table)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise SourceError(f"its {what} is no table: {_why(table, error)}", hint=_ONE_HINT) from None
    names = rows.column_names
    if doubles := sorted({repr(name) for name in names if names.count(name) > 1}):
        raise SourceError(f"it has several columns called {', '.join(doubles)}", hint=_ONE_HINT)
    raw = Raw(rows=rows, files=((home, rows.num_rows),), formats=("a table in memory",))
    return read_rows(raw, home=home, settings=settings, numbers=numbers, wanted=wanted)


def _are_rows(table: object) -> TypeGuard[list[Row]]:
    return isinstance(table, list) and all(isinstance(row, Mapping) for row in table)


def _columns(rows: list[Row]) -> dict[str, list[Any]]:
    """Return rows by name as columns; what a row lacks is missing there."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


def _why(table: object, error: Exception) -> str:
    """Return why there is no table; Arrow's own words may show a cell."""
    for name, cells in table.items() if isinstance(table, Mapping) else ():
        if not isinstance(name, str):
            return f"its column {name!r} is named by no text"
        try:
            pa.array(cells)
        except (TypeError, ValueError, pa.ArrowException):
            return f"its column {name!r} holds no list of numbers, and none of texts"
    if not isinstance(table, ArrowTable | Mapping):
        return 'a table has names for its columns, as {"temp": x[:, 0], "load": y} has'
    told = str(error.args[-1]) if error.args else type(error).__name__  # a column's name is last
    return "a column holds cells of several kinds" if "ould not convert" in told else told
