"""What a home has of readings: columns, coverage, gaps, what would be used, what is missing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.own_readings import read_files, source_of
from fedhome.clients.recorded.reading_store import ReadingStore
from fedhome.clients.recorded.store_facts import ExcludedPeriod
from fedhome.data.home_files import HomeFilesRead
from fedhome.data.input_schema import schema_of
from fedhome.data.inputs import matched
from fedhome.data.read_report import ColumnReport, TimeReport
from fedhome.data.series.windows import examples
from fedhome.data.table import HomeTable
from fedhome.errors import DataError, RunError
from fedhome.learning.tasks import kind_of
from fedhome.plan.settings import Plan

_EXPORT: Final = ".parquet"
_GAPS: Final = 5  # that are named
_GAP = 1.5  # steps


@dataclass(frozen=True, kw_only=True)
class GapShown:
    """A time without rows.

    Args:
        begin: The last row before it, Unix time in s.
        end: The first row after it, likewise.
    """

    begin: int
    end: int


@dataclass(frozen=True, kw_only=True)
class PeriodLeftOut:
    """A period that does not count.

    Args:
        number: By which it is undone.
        begin: First moment, Unix time in s.
        end: The moment after it, likewise.
        columns: The columns of which it does not count; empty: all.
        why: What was said of it; or empty.
    """

    number: int
    begin: int
    end: int
    columns: list[str]
    why: str

    @classmethod
    def of(cls, one: ExcludedPeriod) -> PeriodLeftOut:
        """Return what a list says of a period."""
        return cls(
            number=one.number,
            begin=one.begin,
            end=one.end,
            columns=list(one.columns),
            why=one.why,
        )


@dataclass(frozen=True, kw_only=True)
class ColumnShown:
    """A column of a home's readings, or one that its plan needs and the home does not have.

    Args:
        name: Its name in the plan.
        use: ``target``, ``input``, ``missing`` (the plan needs it) or ``unused``.
        kind: ``number``, ``flag`` or ``words``; empty where it is missing.
        unit: Its unit; empty where none is known.
        readings: Rows that hold one.
        coverage: Their share of all rows.
        begin: The first, Unix time in s; null where there is none.
        end: The last, likewise.
        least: The least; null of words.
        greatest: The greatest; null of words.
        gaps: Times longer than one and a half of its usual steps without one.
        longest_gap_s: The longest of them, s.
    """

    name: str
    use: str
    kind: str
    unit: str
    readings: int
    coverage: float
    begin: int | None
    end: int | None
    least: float | None
    greatest: float | None
    gaps: int
    longest_gap_s: int


@dataclass(frozen=True, kw_only=True)
class HomeInspected:
    """What a home has of readings, and what its plan makes of them.

    Args:
        home: Its name.
        store: Whether they are in its store; else in files of its people's.
        where: The store, or the file or folder.
        files: Files of the store; 0 without one.
        bytes: Bytes of these.
        keep_days: How long the store keeps readings, days; 0: for ever.
        zone: The home's zone.
        rows: Rows that count.
        begin: The first, Unix time in s; null where rows have no times, or there is none.
        end: The last, likewise.
        step_s: The commonest time between rows, s; 0 of fewer than two.
        gaps: How many times between rows are longer than one and a half steps.
        longest_gaps: The longest of them.
        excluded: Periods that do not count.
        excluded_rows: Rows that lost a reading to them.
        columns: The columns: what the plan uses first.
        train: Examples to learn from; null where the plan can make none.
        validation: Examples by which a home is told what helps it; likewise.
        test: Examples by which a run is scored; likewise.
        lacking: Why the plan can make no examples; empty where it can.
        notes: What was assumed, converted or left out, a sentence each.
    """

    home: str
    store: bool
    where: str
    files: int
    bytes: int
    keep_days: float
    zone: str
    rows: int
    begin: int | None
    end: int | None
    step_s: int
    gaps: int
    longest_gaps: list[GapShown]
    excluded: list[PeriodLeftOut]
    excluded_rows: int
    columns: list[ColumnShown]
    train: int | None
    validation: int | None
    test: int | None
    lacking: str
    notes: list[str]


def inspected(home_folder: HomeFolder) -> HomeInspected:
    """Return what a home has of readings, and what its plan makes of them.

    Args:
        home_folder: The home's folder.

    Raises:
        RunError: There is no home in it.
        DataError: Its files cannot be read.
        StateError: Its store cannot be read.
    """
    settings, plan = home_folder.settings, Plan.load(home_folder.plan_path)
    source = source_of(home_folder)
    read = read_files(plan, source, name=settings.home, reading=settings.reading, whole=True)
    table = read.table
    shown = HomeInspected(
        home=settings.home,
        store=isinstance(source, ReadingStore),
        where=str(source.folder if isinstance(source, ReadingStore) else source),
        files=0,
        bytes=0,
        keep_days=settings.keep_days,
        zone=table.time_zone,
        rows=table.rows,
        begin=None,
        end=None,
        step_s=0,
        gaps=0,
        longest_gaps=[],
        excluded=[],
        excluded_rows=0,
        columns=_columns(table, plan),
        train=None,
        validation=None,
        test=None,
        lacking="",
        notes=list(read.notes),
    )
    if isinstance(source, ReadingStore):
        files = source.files
        shown = replace(
            shown,
            files=len(files),
            bytes=sum(path.stat().st_size for path in files),
            excluded=[PeriodLeftOut.of(one) for one in source.excluded],
            excluded_rows=source.read().excluded_rows,
        )
    return _with_examples(_with_times(shown, table), plan, read)


def exported(home_folder: HomeFolder, path: Path) -> int:
    """Write all that a home's store holds as one Parquet file, periods left out too.

    Args:
        home_folder: The home's folder.
        path: The file; it lies there as anybody can read it.

    Returns:
        Its rows.

    Raises:
        RunError: There is no home in the folder, or the file's name ends otherwise.
        DataError: The home has no store, or no times.
        StateError: The store cannot be read, or the file not be written.
    """
    import io  # noqa: PLC0415

    from fedhome.data.files.home_parquet import write_home  # noqa: PLC0415
    from fedhome.store import disk  # noqa: PLC0415

    if path.suffix.lower() != _EXPORT:
        raise RunError(
            f"readings leave a store as Parquet, and {path} does not end with {_EXPORT}",
            hint="call it readings.parquet, for example: pandas and fedhome itself read it",
        )
    source = source_of(home_folder)
    if not isinstance(source, ReadingStore):
        raise DataError(
            f"{home_folder.settings.home} has no store of readings: they are in {source}",
            hint=f"`fedhome client record {home_folder.path}` makes one",
        )
    table, _ = source.everything()
    stream = io.BytesIO()
    write_home(table, stream)
    disk.put(path, stream.getvalue())
    return table.rows


def _with_times(shown: HomeInspected, table: HomeTable) -> HomeInspected:
    if not table.rows or table.timeless:
        return shown
    time = _time_report(table.time_s)
    between = np.diff(table.time_s)
    longest = np.argsort(-between, kind="stable")[:_GAPS]
    gaps = [
        GapShown(begin=int(table.time_s[place]), end=int(table.time_s[place + 1]))
        for place in longest
        if between[place] > _GAP * time.step_s
    ]
    return replace(
        shown,
        begin=time.begin,
        end=time.end,
        step_s=time.step_s,
        gaps=time.gaps,
        longest_gaps=gaps,
    )


def _with_examples(shown: HomeInspected, plan: Plan, read: HomeFilesRead) -> HomeInspected:
    targets = kind_of(plan.task.kind).targets
    try:
        found = matched(read.table, schema_of(plan, targets), targets)
        cut = examples(
            found.table, plan.data, [spec.name for spec in plan.data.inputs or ()], targets
        )
    except DataError as error:
        lacking = error.with_hint
        return replace(shown, lacking=lacking)
    train, validation, test = cut.counts
    notes = list(dict.fromkeys([*shown.notes, *found.notes, *cut.notes]))
    return replace(shown, train=train, validation=validation, test=test, notes=notes)


def _columns(table: HomeTable, plan: Plan) -> list[ColumnShown]:
    inputs = [spec.name for spec in plan.data.inputs or ()]
    needed = dict.fromkeys([plan.data.target, *inputs])
    names = [*needed, *(name for name in table.columns if name not in needed)]
    return [_column(name, table, plan.data.target, inputs) for name in names]


def _column(name: str, table: HomeTable, target: str, inputs: list[str]) -> ColumnShown:
    use = "input" if name in inputs else "unused"
    if name == target:
        use = "target"
    values = table.columns.get(name)
    if values is None or bool(np.isnan(values).all()):
        return ColumnShown(
            name=name,
            use="unused" if use == "unused" else "missing",
            kind="",
            unit="",
            readings=0,
            coverage=0.0,
            begin=None,
            end=None,
            least=None,
            greatest=None,
            gaps=0,
            longest_gap_s=0,
        )
    kind = "number"
    if name in table.labels:
        kind = "words"
    elif name in table.flags:
        kind = "flag"
    unit = table.units.get(name, "")
    column = ColumnReport.of(values, name=name, source=name, kind=kind, unit=unit)
    there = ~np.isnan(values)
    time = None if table.timeless else _time_report(table.time_s[there])
    return ColumnShown(
        name=name,
        use=use,
        kind=kind,
        unit=unit,
        readings=int(there.sum()),
        coverage=float(there.mean()),
        begin=None if time is None else time.begin,
        end=None if time is None else time.end,
        least=column.least,
        greatest=column.greatest,
        gaps=0 if time is None else time.gaps,
        longest_gap_s=0 if time is None else time.longest_gap_s,
    )


def _time_report(time_s: NDArray[np.int64]) -> TimeReport:
    return TimeReport.of(time_s, columns=("time",), format="", time_zone="UTC")
