"""``fedhome report``: rebuild a run's report, or compare several runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from fedhome.cli.console import Console, say
from fedhome.cli.json_out import JsonFlag, print_json
from fedhome.counted import counted
from fedhome.printable import shown
from fedhome.run.folder import RunFolder
from fedhome.run.paired_runs import not_paired, paired_gains, runs_at


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of runs, or of a plan's runs by seed.", metavar="RUN…"),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The file to write.", metavar="FILE.html")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Rebuild the report of a run, or compare several runs in one.

    Of two it also says what the second gives homes more than the first, home by home: of two runs,
    or of two folders that --seeds wrote.
    """
    from fedhome.server.report import write_report  # noqa: PLC0415 - found only at run time

    plans = [runs_at(run) for run in runs]
    folders = [folder for some in plans for folder in some]
    target = out or (folders[0].report_path if len(folders) == 1 else Path("comparison.html"))
    written = write_report(folders, target)
    if as_json:
        from fedhome.cli.json_runs import reported  # noqa: PLC0415 - loads a large library

        print_json(reported(written, runs, plans))
        return
    console = Console()
    if len(plans) == 2:  # noqa: PLR2004  (one and the other)
        _print_gains(console, *plans, names=[shown(str(run)) for run in runs])
    say(console, f"report: {written}")


def _print_gains(
    console: Console,
    first: Sequence[RunFolder],
    second: Sequence[RunFolder],
    *,
    names: Sequence[str],
) -> None:
    one, other = names
    if why := not_paired(first, second):
        say(console, f"not compared home by home: {why}", wrapped=True)
        return
    seeds = f" and {counted(len(first), 'seed')}" if len(first) > 1 else ""
    for gain in paired_gains(first, second):
        interval = f" ({gain.low:+.3f} to {gain.high:+.3f}, 95 % over homes)"
        text = (
            f"{other} minus {one}, {gain.model}: {gain.mean:+.3f}"
            f"{interval if gain.low == gain.low else ''}, "
            f"{counted(gain.homes, 'home')}{seeds}"
        )
        say(console, text, wrapped=True)
