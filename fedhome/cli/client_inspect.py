"""``fedhome client inspect`` and ``exclude``: what a home has of readings, and what counts."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape
from rich.table import Table

from fedhome.cli import ages
from fedhome.cli.client_folder import HomeArgument
from fedhome.cli.console import Console
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.row_blocks import fits
from fedhome.counted import counted
from fedhome.data.read_report import length
from fedhome.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fedhome.clients.recorded.inspection import ColumnShown, HomeInspected, PeriodLeftOut
    from fedhome.clients.recorded.reading_store import ReadingStore

_INTERRUPTED = (
    "interrupted: what was said above holds, and predictions follow; the home's own model may be "
    "the one from before, and the next run learns by what counts"
)


def inspect(
    folder: HomeArgument = Path(),
    *,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Write all that its store holds to this Parquet file, unsealed.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Show which readings the home has, what would be used, and what is missing."""
    from fedhome.clients.membership.home_folder import HomeFolder  # noqa: PLC0415
    from fedhome.clients.recorded.inspection import exported, inspected  # noqa: PLC0415 - arrow

    home_folder, console = HomeFolder(folder), Console()
    if export is not None:
        rows = exported(home_folder, export)
        if not as_json:
            told = (
                f"wrote {counted(rows, 'row')} to {export}: anybody who may read that file "
                "can read them"
            )
            console.print(escape(told), highlight=False, soft_wrap=True)
            return
    found = inspected(home_folder)
    if as_json:
        print_json(found)
        return
    console.print(_head(found))
    console.print()
    _print_columns(console, found)
    for note in found.notes:
        console.print(f"[dim]note: {escape(note)}[/]", highlight=False)


def exclude(
    folder: HomeArgument = Path(),
    *,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="First moment, such as 2026-12-24 or 2026-12-24T18:00, in the home's zone unless "
            "it names one.",
            metavar="TIME",
            show_default=False,
        ),
    ] = None,
    end: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="The moment after the last one; a date alone: to the end of that day.",
            metavar="TIME",
            show_default=False,
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="A column, such as of a broken sensor.", show_default="all columns"),
    ] = None,
    why: Annotated[str, typer.Option(help="What happened, for you to read in the list.")] = "",
    undo: Annotated[
        int | None,
        typer.Option(
            help="Let the period of this number count again.", metavar="NUMBER", show_default=False
        ),
    ] = None,
    as_list: Annotated[bool, typer.Option("--list", help="Only list the periods.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Leave out a bad period: a broken sensor, a holiday. Its readings stay in the store.

    Predictions leave it out at once, and the home's own model is fitted anew to what remains; it
    takes the place of the one in use if it is as good. Runs that begin from now on learn without.
    """
    store = _store_of(folder)
    console = Console(soft_wrap=True)
    if (begin is None) != (end is None):
        raise RunError("a period has two ends", hint="give both, --from and --to")
    if begin is not None and undo is not None:
        raise RunError("one thing at a time", hint="give --undo, or --from and --to")
    if begin is None and (column or why):
        raise RunError("no period is named", hint="give --from and --to")
    told = ""
    if begin is not None and end is not None:
        told = _excluded(store, begin, end, tuple(column or ()), why)
    elif undo is not None:
        told = f"counts again: {_period(_shown(store, undo), store.facts.zone)}"
        store.undo(undo)
    from fedhome.clients.recorded.inspection import PeriodLeftOut  # noqa: PLC0415

    periods = [PeriodLeftOut.of(one) for one in store.excluded]
    if told:
        aside = Console(stderr=True, soft_wrap=True) if as_json else console

        def say(line: str) -> None:
            aside.print(escape(line), highlight=False)

        say(told)
        _fit_anew(folder, say)
    if as_json:
        print_json(periods)
        return
    if as_list or not told:
        for one in periods:
            console.print(escape(_period(one, store.facts.zone)), highlight=False)
        if not periods:
            console.print("no period is left out")


def _fit_anew(folder: Path, say: Callable[[str], None]) -> None:
    """Fit the home's own model to what counts now, and say what came of it."""
    from fedhome.clients.fitted_anew import fit_anew  # noqa: PLC0415
    from fedhome.clients.membership.home_folder import HomeFolder  # noqa: PLC0415

    say("predictions follow at once; the home's own model is fitted anew ...")
    try:
        say(fit_anew(HomeFolder(folder), lambda line: say(line) if line else None))
    except KeyboardInterrupt:
        say(_INTERRUPTED)
        raise


def _excluded(store: ReadingStore, begin: str, end: str, columns: tuple[str, ...], why: str) -> str:
    """Leave a period out, and say what that costs."""
    from fedhome.clients.recorded.inspection import PeriodLeftOut  # noqa: PLC0415
    from fedhome.spelling import did_you_mean  # noqa: PLC0415

    facts = store.facts
    if unknown := [name for name in columns if name not in facts.columns]:
        raise RunError(
            f"the store has no column {unknown[0]!r}{did_you_mean(unknown[0], facts.columns)}",
            hint=f"its columns are: {', '.join(facts.columns)}",
        )
    first, last = _moment(begin, facts.zone), _moment(end, facts.zone, ends=True)
    if last <= first:
        raise RunError(f"the period ends before it begins: {begin} to {end}", hint="swap them")
    before = store.read()
    one = store.exclude(first, last, columns, why)
    after = store.read()
    rows = after.excluded_rows - before.excluded_rows
    which = "row loses" if rows == 1 else "rows lose"
    lost = f"{rows:,} {which} readings" if rows else "no reading lies in it, or none that counted"
    return f"left out: {_period(PeriodLeftOut.of(one), facts.zone)}; {lost}"


def _shown(store: ReadingStore, number: int) -> PeriodLeftOut:
    from fedhome.clients.recorded.inspection import PeriodLeftOut  # noqa: PLC0415

    found = [one for one in store.excluded if one.number == number]
    return PeriodLeftOut.of(found[0] if found else store.undo(number))  # which says that


def _store_of(folder: Path) -> ReadingStore:
    from fedhome.clients.membership.home_folder import HomeFolder  # noqa: PLC0415
    from fedhome.clients.own_readings import source_of  # noqa: PLC0415
    from fedhome.clients.recorded.reading_store import ReadingStore  # noqa: PLC0415

    home_folder: HomeFolder = HomeFolder(folder)
    source = source_of(home_folder)
    if not isinstance(source, ReadingStore):
        raise RunError(
            f"{home_folder.settings.home} has no store of readings: they are in {source}",
            hint=f"`fedhome client record {folder}` makes one of them",
        )
    return source


def _moment(text: str, zone: str, *, ends: bool = False) -> int:
    """Return a moment that was typed, Unix time in s."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise RunError(
            f"{text!r} is no moment",
            hint="write it as 2026-12-24, or 2026-12-24T18:00, or with +01:00 after that",
        ) from None
    if ends and "T" not in text and " " not in text.strip() and len(text.strip()) <= _DATE:
        moment += timedelta(days=1)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return int(moment.timestamp())


_DATE = len("2026-12-24")


def _period(one: PeriodLeftOut, zone: str) -> str:
    """Return a period in words, on the home's clock."""
    begin, end = (_local(moment, zone) for moment in (one.begin, one.end))
    what = f" of {', '.join(one.columns)}" if one.columns else ""
    why = f" ({one.why})" if one.why else ""
    return f"{one.number}: {begin} to {end} {zone}{what}{why}"


def _local(moment: float, zone: str) -> str:
    return f"{datetime.fromtimestamp(moment, ZoneInfo(zone)):%Y-%m-%d %H:%M}"


def _head(found: HomeInspected) -> Table:
    table = Table(
        show_edge=False,
        show_header=False,
        title=escape(f"readings of {found.home}"),
        title_justify="left",
    )
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    where = "its store" if found.store else "files, no store"
    table.add_row("kept in", escape(f"{where}: {found.where}"))
    if found.store:
        kept = f"for {found.keep_days:g} days" if found.keep_days else "for ever"
        table.add_row(
            "size", f"{found.bytes:,} bytes in {counted(found.files, 'file')}, kept {kept}"
        )
    table.add_row("rows", f"{found.rows:,}" + ("" if found.begin is not None else ", no times"))
    if found.begin is not None and found.end is not None:
        first, last = (_local(moment, found.zone) for moment in (found.begin, found.end))
        table.add_row("from, to", escape(f"{first} to {last} {found.zone}"))
        table.add_row("newest", ages.of_reading(found.end, ages.now()))
        table.add_row("step", length(found.step_s))
        table.add_row("gaps", _gaps(found))
    for one in found.excluded:
        table.add_row("left out", escape(_period(one, found.zone)))
    if found.lacking:
        table.add_row("would be used", f"[bold red]nothing: {escape(found.lacking)}[/]")
    else:
        table.add_row(
            "would be used",
            f"{found.train:,} examples to learn from, {found.validation:,} for validation, "
            f"{found.test:,} for the test",
        )
    missing = [one.name for one in found.columns if one.use == "missing"]
    table.add_row("missing", f"[bold red]{escape(', '.join(missing))}[/]" if missing else "nothing")
    return table


def _gaps(found: HomeInspected) -> str:
    if not found.gaps:
        return "none"
    named = [
        f"{length(one.end - one.begin)} from {_local(one.begin, found.zone)}"
        for one in found.longest_gaps
    ]
    which = "" if found.gaps == len(named) else "; the longest"
    return f"{found.gaps:,}{which}: {', '.join(named)}"


def _print_columns(console: Console, found: HomeInspected) -> None:
    table = Table(show_edge=False)
    for name in ("column", "use", "is", "there in", "least to greatest", "last", "gaps"):
        table.add_column(name, overflow="fold")
    for one in found.columns:
        style = "bold red" if one.use == "missing" else ""
        table.add_row(escape(one.name), one.use, *map(escape, _cells(one, found.zone)), style=style)
    if fits(console, table, prose=("least to greatest", "last", "gaps")):
        console.print(table)
        return
    for one in found.columns:
        *cells, gaps = _cells(one, found.zone)
        parts = [one.use, *filter(None, cells), *([f"gaps: {gaps}"] if gaps else [])]
        console.print(f"[bold]{escape(one.name)}[/]: {escape(', '.join(parts))}", highlight=False)


def _cells(one: ColumnShown, zone: str) -> list[str]:
    if not one.readings:
        return ["", "no row", "", "", ""]
    share = f"{one.coverage:.1%}" if one.coverage < 1 else "all rows"
    values = ""
    if one.least is not None and one.greatest is not None:
        values = f"{one.least:.6g} to {one.greatest:.6g}"
    last = "" if one.end is None else _local(one.end, zone)
    gaps = f"{one.gaps:,}, longest {length(one.longest_gap_s)}" if one.gaps else "none"
    return [one.unit or one.kind, share, values, last, gaps]
