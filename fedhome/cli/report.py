"""``fedhome report``: rebuild a run's report, or compare several runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fedhome.cli.console import Console, say
from fedhome.run.folder import RunFolder


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders of runs.", metavar="RUN…")],
    out: Annotated[
        Path | None, typer.Option(help="The file to write.", metavar="FILE.html")
    ] = None,
) -> None:
    """Rebuild the report of a run, or compare several runs in one."""
    from fedhome.server.report import write_report  # noqa: PLC0415 - found only at run time

    folders = [RunFolder.open(run) for run in runs]
    target = out or (folders[0].report_path if len(folders) == 1 else Path("comparison.html"))
    written = write_report(folders, target)
    say(Console(), f"report: {written}")
