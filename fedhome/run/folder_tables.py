"""The tables of a run's folder: its rounds, its homes, and what is shown of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from fedhome.errors import RunError
from fedhome.run.cold_start_table import validate_cold_start
from fedhome.run.results import validate_homes, validate_rounds
from fedhome.run.shown_homes import Shown
from fedhome.run.written_whole import read_table, read_whole, write_atomically, write_table


class FolderTables:
    """What a run's folder holds in tables.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.rounds_path = self.path / "rounds.parquet"
        self.homes_path = self.path / "homes.parquet"
        self.cold_start_path = self.path / "cold_start.parquet"
        self.shown_path = self.path / "shown.json"
        self.readings_path = self.path / "readings.json"

    def write_rounds(self, table: pa.Table) -> None:
        """Write the table of rounds, see :data:`ROUNDS`.

        Raises:
            RunError: Columns are missing, unknown or of another type.
        """
        write_table(self.rounds_path, validate_rounds(table))

    def read_rounds(self) -> pa.Table:
        """Return the table of rounds.

        Raises:
            RunError: It is missing or damaged.
        """
        return validate_rounds(read_table(self.rounds_path))

    def write_homes(self, table: pa.Table) -> None:
        """Write the table of homes, see :data:`HOMES`.

        Raises:
            RunError: Columns are missing or of another type, a model is unknown, or a home has
                two rows for one model.
        """
        write_table(self.homes_path, validate_homes(table))

    def read_homes(self) -> pa.Table:
        """Return the table of homes.

        Raises:
            RunError: It is missing or damaged.
        """
        return validate_homes(read_table(self.homes_path))

    def write_cold_start(self, table: pa.Table) -> None:
        """Write the table of homes that joined after the rounds.

        Raises:
            RunError: Columns are missing or of another type, or a model is unknown.
        """
        write_table(self.cold_start_path, validate_cold_start(table))

    def read_cold_start(self) -> pa.Table | None:
        """Return the table of homes that joined after the rounds; None where none did.

        Raises:
            RunError: It is damaged.
        """
        if not self.cold_start_path.exists():
            return None
        return validate_cold_start(read_table(self.cold_start_path))

    def write_shown(self, shown: Shown) -> None:
        """Write what a simulation shows of its homes."""
        write_atomically(self.shown_path, shown.to_json())

    def read_shown(self) -> Shown | None:
        """Return what a simulation shows of its homes; None where nothing is shown.

        Raises:
            RunError: It is damaged.
        """
        if not self.shown_path.exists():
            return None
        return Shown.from_json(read_whole(self.shown_path), where=str(self.shown_path))

    def write_readings(self, reports: Sequence[Mapping[str, Any]]) -> None:
        """Write how the homes' files were read, one report a home.

        Raises:
            RunError: The folder cannot be written.
        """
        write_atomically(self.readings_path, json.dumps(reports, ensure_ascii=False).encode())

    def read_readings(self) -> list[dict[str, Any]]:
        """Return how the homes' files were read; nothing of homes that came from no files.

        Raises:
            RunError: The file is damaged.
        """
        if not self.readings_path.exists():
            return []
        try:
            reports: list[dict[str, Any]] = json.loads(read_whole(self.readings_path))
        except (ValueError, RecursionError):
            raise RunError(
                f"{self.readings_path} is damaged", hint="remove it: a report goes without it"
            ) from None
        return reports
