"""``homes.toml``: how single homes of a folder are to be read, where they differ from the rest."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from fedhome.data.times.zones import zone_of
from fedhome.denied import check_ordinary
from fedhome.errors import PlanError, SourceError, StateError
from fedhome.plan.own_reading import reading_of
from fedhome.plan.reading_settings import HomeReading, ReadingSettings
from fedhome.spelling import did_you_mean
from fedhome.store import disk
from fedhome.toml_text import parse_toml

HOMES_FILE = "homes.toml"
_HINT = (
    'each home has a table of its own: [home-name] and below it time_zone = "Europe/Berlin", or '
    "another of the settings that say how files are read (docs/data.md)"
)
_MOST = 1 << 26  # bytes: some lines for each of a hundred thousand homes


def read_homes_settings(
    path: Path, homes: Collection[str], settings: ReadingSettings
) -> dict[str, HomeReading]:
    """Return the settings of those homes that have some of their own.

    Args:
        path: The file; where there is none, no home has.
        homes: Names of the homes.
        settings: Those of all homes, over which a home's own are laid.

    Raises:
        SourceError: It is not TOML, or names an unknown home or setting, or a wrong value.
    """
    try:
        if not path.is_dir():  # of which the system says more
            check_ordinary(SourceError, path)
        tables = parse_toml(disk.read(path, most=_MOST).decode(), where=str(path))
    except StateError as error:
        if error.reason == "missing":
            return {}
        why = error.message.removeprefix(f"{path}: ")
        what = error.message if why == error.message else f"{path} cannot be read: {why}"
        raise SourceError(what, hint=_HINT) from None
    except (UnicodeDecodeError, PlanError):
        raise SourceError(f"{path} is not TOML", hint=_HINT) from None
    return {home: _of_home(path, home, table, homes, settings) for home, table in tables.items()}


def _of_home(
    path: Path, home: str, table: object, homes: Collection[str], settings: ReadingSettings
) -> HomeReading:
    if home not in homes:
        raise SourceError(
            f"{path} names {home!r}, which is no home of the folder{did_you_mean(home, homes)}",
            hint=_HINT,
        )
    if not isinstance(table, dict):
        raise SourceError(f"{path}: {home!r} is no table", hint=_HINT)
    if "home_column" in table:  # says what a home is, so no home can have its own
        raise SourceError(
            f"{path}: of {home!r}, home_column is the same for all homes",
            hint="set data.home_column",
        )
    try:
        own = reading_of(settings, table)
    except PlanError as error:
        raise SourceError(f"{path}: of {home!r}, {'; '.join(error.faults)}", hint=_HINT) from None
    if own.time_zone:
        zone_of(own.time_zone)
    return own
