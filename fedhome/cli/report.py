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

    It also says what each gives homes more than the first, home by home: of runs, or of folders
    that --seeds wrote.
    """
    from fedhome.server.report.html import write_report  # noqa: PLC0415 - found only at run time

    plans = [runs_at(run) for run in runs]
    folders = [folder for some in plans for folder in some]
    target = out or (folders[0].report_path if len(folders) == 1 else Path("comparison.html"))
    written = write_report(folders, target)
    if as_json:
        from fedhome.cli.json_runs import reported  # noqa: PLC0415 - loads a large library

        print_json(reported(written, runs, plans))
        return
    console = Console()
    if len(plans) > 1:
        _print_gains(console, plans, names=[shown(str(run)) for run in runs])
    say(console, f"report: {written}")


def _print_gains(
    console: Console, plans: Sequence[Sequence[RunFolder]], *, names: Sequence[str]
) -> None:
    """Print what each plan gives homes more than the first, and why that cannot be said."""
    first, one = plans[0], names[0]
    seeds = f" and {counted(len(first), 'seed')}" if len(first) > 1 else ""
    apart: dict[str, list[str]] = {}
    for other, second in zip(names[1:], plans[1:], strict=True):
        if why := not_paired(first, second):
            apart.setdefault(why, []).append(other)
            continue
        for gain in paired_gains(first, second):
            known = [gain.mean, *([gain.low, gain.high] if gain.low == gain.low else [])]
            mean, *ends = _signed(known)
            interval = f" ({' to '.join(ends)}, 95 % over homes)" if ends else ""
            text = (
                f"{other} minus {one}, {gain.model}: {mean}{interval}, "
                f"{counted(gain.homes, 'home')}{seeds}"
            )
            say(console, text, wrapped=True)
    for why, others in apart.items():
        whose = f" with {one}: {', '.join(others)}" if len(plans) > 2 else ""  # noqa: PLR2004
        say(console, f"not compared home by home{whose}: {why}", wrapped=True)


def _signed(values: Sequence[float]) -> list[str]:
    """Return differences with their signs, and decimals by which the largest has two digits."""
    largest = max(map(abs, values))
    decimals = next((d for d in (3, 4, 5) if largest * 10**d >= 10), 3 if not largest else 5)  # noqa: PLR2004
    return [f"{value:+.{decimals}f}" for value in values]
