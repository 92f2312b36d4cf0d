"""``fedhome client predict --watch``: a line for each new prediction, for as long as readings come.

What waits is :mod:`fedhome.clients.prediction_watch`, in place of this process; what predicts is
:mod:`fedhome.cli.predict_look`.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fedhome.clients.lean_process import LEAN
from fedhome.plan.time_steps import step_seconds

if TYPE_CHECKING:
    from fedhome.clients.membership.home_folder import HomeFolder


def every_seconds(every: str) -> int:
    """Return how often to look, in seconds.

    >>> every_seconds("15m"), every_seconds("1h")
    (900, 3600)

    Args:
        every: A whole number and ``s``, ``m`` or ``min``, ``h``, ``d``.

    Raises:
        PlanError: It is no such text.
    """
    return step_seconds(re.sub(r"(\d)\s*m$", r"\1min", every.strip()), "--every")


def watch(
    home_folder: HomeFolder,
    *,
    source: Path | None,
    horizon: str | None,
    every_s: int,
    as_json: bool,
) -> NoReturn:
    """Become the process that prints a line for each new prediction, until it is told to stop.

    Args:
        home_folder: The home's folder.
        source: Readings in place of the home's own.
        horizon: One of the plan's horizons; None: all of them, a line for each.
        every_s: Seconds from look to look, at least.
        as_json: Each as one line of JSON.
    """
    from fedhome.cli.predict_look import AS_JSON, AS_TEXT  # noqa: PLC0415 - what predicts

    # In place of this process: what the command line loaded would stay in memory for months.
    command = [
        sys.executable,
        "-P",  # nothing of the current folder shadows what we import
        *("-m", "fedhome.ops.processes", "0"),
        *("fedhome.clients.prediction_watch", str(every_s)),
        *(LEAN, "fedhome.cli.predict_look", str(home_folder.path)),
        AS_JSON if as_json else AS_TEXT,
        horizon or "",
        *([] if source is None else [str(source.absolute())]),
    ]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(command[0], command)  # noqa: S606 - our own module
