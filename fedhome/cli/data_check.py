"""``fedhome data check`` and ``convert``: how homes' files are read, before anything learns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import tomli_w
import typer

from fedhome.cli.console import Console, say
from fedhome.cli.data_words import ahead_of_clock, print_homes
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.cli.plan_options import PlanOption, SetsOption
from fedhome.cli.scenarios import folders_of, named_table
from fedhome.counted import counted
from fedhome.data.told_once import told_once
from fedhome.errors import FedHomeError, SourceError
from fedhome.new_folders import make_folder
from fedhome.plan.overrides import locate, merge, parse_set
from fedhome.plan.protocol import check_groups
from fedhome.plan.settings import Plan

if TYPE_CHECKING:
    from fedhome.data.homes_folder import FolderRead
    from fedhome.simulations.gather import FoundHomes

_Source = Annotated[
    Path, typer.Argument(help="Folder of homes, or one file.", metavar="FOLDER|FILE")
]


def check(
    source: _Source,
    plan: PlanOption = None,
    sets: SetsOption = None,
    *,
    as_json: JsonFlag = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw each home's target, with its gaps.", metavar="FILE.html"),
    ] = None,
) -> None:
    """Show how each file and column is read, which rows are dropped, and why.

    Times, rows kept of rows read, kinds, units, formats and ranges of the columns, and what the
    homes have in common; with a plan, or a target, also what a run would learn from. Nothing is
    written but what --plot names.
    """
    from fedhome.data.homes_folder import read_folder  # noqa: PLC0415 - arrow, only where needed
    from fedhome.data.homes_store import is_store  # noqa: PLC0415 - the same

    table = table_of(source, plan, sets)
    resolved = Plan.parse(table, where=plan or "the settings")
    wanted = plan is not None or "target" in table["data"]
    target = resolved.data.target if wanted else None
    step = resolved.data.step
    read = _read(resolved) if wanted else read_folder(source, resolved.data, step=step)
    found: FoundHomes | FedHomeError | None = _found(read, resolved) if wanted else None
    if plot is not None:
        from fedhome.server.report.readings import write_readings  # noqa: PLC0415

        write_readings(read.homes, plot, target=target)
    if as_json:
        print_json(_as_data(read, found))
    else:
        console = Console()
        if is_store(source):
            rows = counted(sum(home.rows for home in read.homes), "row")
            say(
                console,
                f"{source} is a store of {counted(len(read.homes), 'home')}, {rows}: how their "
                "files are read was settled when it was packed",
                wrapped=True,
            )
        print_homes(console, read)
        if found is not None:
            _print_use(console, read, found)
        if plot is not None:
            say(console, f"\ndrawn in {plot}", wrapped=True)
    if isinstance(found, FedHomeError):
        raise typer.Exit(1)


def convert(
    source: _Source,
    out: Annotated[Path, typer.Argument(help="Folder for the Parquet files.", metavar="OUT")],
    plan: PlanOption = None,
    sets: SetsOption = None,
) -> None:
    """Write each home's readings as Parquet, which is read back without guessing.

    Times are in UTC with the home's zone, numbers are numbers with their unit, words are words.
    Rules of single homes stand in a homes.toml beside them.
    """
    from fedhome.data.files.home_parquet import write_home  # noqa: PLC0415
    from fedhome.data.homes_folder import read_folder  # noqa: PLC0415
    from fedhome.data.homes_settings import HOMES_FILE  # noqa: PLC0415
    from fedhome.store import disk  # noqa: PLC0415

    resolved = Plan.parse(table_of(source, plan, sets), where=plan or "the settings")
    if out.exists():
        raise SourceError(f"{out} is there already", hint="name a folder that is not there yet")
    read = read_folder(source, resolved.data, step=resolved.data.step)
    console = Console()
    with disk.errors_of(out):
        make_folder(out.parent)
        # Aside first: a folder with some of the homes would pass for all of them.
        with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as aside:
            new = Path(aside) / "new"
            make_folder(new, mode=0o700)
            for home in read.homes:
                write_home(home, new / f"{home.home}.parquet")
            if own := {home.home: {"rules": dict(home.rules)} for home in read.homes if home.rules}:
                (new / HOMES_FILE).write_text(tomli_w.dumps(own), encoding="utf-8")
            new.replace(out)
    print_homes(console, read)
    say(
        console,
        f"\n{counted(len(read.homes), 'home')} in {out}: use it as data.source",
        wrapped=True,
    )


def table_of(source: Path | str, plan: str | None, sets: list[str] | None) -> dict[str, Any]:
    """Return the settings that a source is read by: a plan's, and those given one by one."""
    table: dict[str, Any] = {}
    merge(table, named_table(plan))
    merge(table, {"data": {"source": str(source)}})
    for setting in sets or []:
        merge(table, parse_set(setting))
    locate(table, folders_of(plan))
    return table


def _read(plan: Plan) -> FolderRead:
    from fedhome.simulations.gather import read_source  # noqa: PLC0415 - loads torch

    return read_source(plan)


def _found(read: FolderRead, plan: Plan) -> FoundHomes | FedHomeError:
    from fedhome.simulations.gather import find_in  # noqa: PLC0415

    try:
        return find_in(read, plan)
    except FedHomeError as error:
        return error


def _print_use(console: Console, read: FolderRead, found: FoundHomes | FedHomeError) -> None:
    if isinstance(found, FedHomeError):
        say(console, f"\na run with this plan would fail: {found.message}", wrapped=True)
        if found.hint:
            say(console, found.hint, wrapped=True)
        return
    homes, data = found.gathered.homes, found.gathered.plan.data
    counts = [sum(home.counts) for home in homes]
    say(
        console,
        f"\na run would learn {data.target} from "
        f"{', '.join(found.schema.columns) or 'no column'}"
        f"{', and earlier values' if data.lags else ''}: {counted(homes[0].x.shape[1], 'input')}, "
        f"{counted(len(homes), 'home')}, {_span(counts)} examples each",
        wrapped=True,
    )
    for note in _of_plan(read, found):
        say(console, f"note: {note}", wrapped=True)
    if data_fault := _too_few(found.gathered.plan, len(homes)):
        say(
            console,
            f"a simulation of these homes alone would be refused: {data_fault}",
            wrapped=True,
        )
    told = {item.home for item in read.excluded}
    others = [
        (home, _of_it(home, why)) for home, why in found.gathered.excluded if home not in told
    ]
    for reason in told_once(others):
        say(console, f"left out: {reason}", wrapped=True)


def _of_it(home: str, reason: str) -> str:
    """Return why a home is left out without its name: what holds for several is told once."""
    name = f"home {home!r} "
    return f"it {reason.removeprefix(name)}" if reason.startswith(name) else reason


def _too_few(plan: Plan, homes: int) -> str:
    """Return why this many homes are too few for a simulation's sums; empty where they are not."""
    return "" if plan.aggregation.mode == "plain" else check_groups(plan, homes)


def _span(counts: Sequence[int]) -> str:
    least, most = min(counts), max(counts)
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _of_plan(read: FolderRead, found: FoundHomes) -> list[str]:
    """Return what was noticed once the plan was known, beside what reading the files told."""
    return [note for note in found.gathered.notes if note not in read.notes]


def _as_data(read: FolderRead, found: FoundHomes | FedHomeError | None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "homes": [report.to_dict() for report in read.reports],
        "excluded": [vars(item) for item in read.excluded],
        "notes": [*read.notes, *ahead_of_clock(read)],
    }
    if isinstance(found, FedHomeError):
        data["plan"] = {"error": found.message, "hint": found.hint}
    elif found is not None:
        data["plan"] = {
            "inputs": list(found.schema.columns),
            "notes": _of_plan(read, found),
            "examples": {home.home: list(home.counts) for home in found.gathered.homes},
            "excluded": [
                {"home": home, "reason": reason} for home, reason in found.gathered.excluded
            ],
        }
    return data
