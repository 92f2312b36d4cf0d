"""One look of ``fedhome client predict --watch``, a process of its own.

Its arguments are ``FOLDER FORM HORIZON [SOURCE]``; an empty horizon is all of them. It prints JSON,
as :data:`fedhome.clients.prediction_watch.Look` says.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from fedhome.cli import ages
from fedhome.cli.client_predict import predicted, said
from fedhome.clients.changes import paths_of
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import DataError, FedHomeError

AS_JSON, AS_TEXT = "json", "text"
_AGES = frozenset({"newest_reading_age_s"})  # what passes by itself makes no new prediction


def look(
    home_folder: HomeFolder, source: Path | None, *, as_json: bool, horizon: str | None = None
) -> dict[str, Any]:
    """Predict once.

    Args:
        home_folder: The home's folder.
        source: Readings in place of the home's own.
        as_json: Whether the line is JSON.
        horizon: One of the plan's horizons; None: all of them, a line for each.
    """
    found: dict[str, Any] = {}
    try:
        paths = paths_of(home_folder, source)
        # Before anything is read: what changes meanwhile is seen at the next look.
        found |= {"files": paths.files, "folders": paths.folders, "state": paths.state()}
        each = predicted(home_folder, at=None, source=source, now_s=ages.now(), horizon=horizon)
    except FedHomeError as error:
        passing = isinstance(error, DataError)
        return {**found, "fault": error.message, "hint": error.hint, "passing": passing}
    lasting, lines, predictions = [], [], []
    for one in each:
        told = one.to_json()
        predictions.append(told)
        lasting.append({name: value for name, value in told.items() if name not in _AGES})
        lines.append(json.dumps(told) if as_json else said(one))
    return {
        **found,
        "line": "\n".join(lines),
        "lasting": lasting,
        "predictions": predictions,
        "of_now": [one.of_now for one in each],
    }


def main(arguments: Sequence[str]) -> int:
    """Look once, and print what came of it."""
    folder, form, horizon, *source = arguments
    found = look(
        HomeFolder(folder),
        Path(source[0]) if source else None,
        as_json=form == AS_JSON,
        horizon=horizon or None,
    )
    typer.echo(json.dumps(found))
    return 0
