"""``fedhome client predict --watch``: a line for each new prediction, for as long as readings come.

Each look reads the home's model and readings anew, so that a model that was replaced is taken up,
and nothing grows with the number of looks.
"""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any

import typer

from fedhome.cli import ages
from fedhome.cli.client_predict import predicted, said
from fedhome.errors import DataError, FedHomeError
from fedhome.plan.time_steps import step_seconds

if TYPE_CHECKING:
    from fedhome.clients.membership.home_folder import HomeFolder

_POLL_S = 0.25  # a signal's handler sets a flag, and ends no wait
_AGES = frozenset({"newest_reading_age_s"})  # what passes by itself makes no new prediction


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
    home_folder: HomeFolder, *, source: Path | None, every_s: int, as_json: bool, stop: Event
) -> None:
    """Print a line for each prediction that differs from the one before, until told to stop.

    Readings of which nothing can be predicted now are told on standard error, once for each
    reason, and looked at again.

    Args:
        home_folder: The home's folder.
        source: Readings in place of the home's own.
        every_s: Seconds from look to look.
        as_json: Each as one line of JSON.
        stop: Set when it is to end.

    Raises:
        FedHomeError: At the first look there is no model, or one that cannot be used.
    """
    last: dict[str, Any] | None = None
    fault, first = "", True
    while not stop.is_set():
        try:
            found = predicted(home_folder, at=None, source=source, now_s=ages.now())
        except FedHomeError as error:
            if first and not isinstance(error, DataError):
                raise
            if fault != str(error):
                fault = str(error)
                typer.echo(f"{fault}; it is looked at again every {every_s} s", err=True)
        else:
            fault = ""
            told = found.to_json()
            lasting = {name: value for name, value in told.items() if name not in _AGES}
            if lasting != last:
                last = lasting
                typer.echo(json.dumps(told) if as_json else said(found))
        first = False
        _wait(stop, every_s)


def until_signal() -> Event:
    """Return what Ctrl-C and SIGTERM set."""
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


def _wait(stop: Event, seconds: float) -> None:
    until = monotonic() + seconds
    while not stop.is_set() and (left := until - monotonic()) > 0:
        stop.wait(min(left, _POLL_S))
