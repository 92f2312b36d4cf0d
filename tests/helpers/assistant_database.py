"""A small database such as Home Assistant writes: the tables and columns that are read."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

HOUR = 3600
BEGIN = 1_772_409_600
"""2026-03-02, 00:00 UTC."""

TABLES = """
CREATE TABLE schema_changes (change_id INTEGER PRIMARY KEY, schema_version INTEGER);
CREATE TABLE recorder_runs (run_id INTEGER PRIMARY KEY, start DATETIME NOT NULL, "end" DATETIME,
    closed_incorrect BOOLEAN NOT NULL);
CREATE TABLE states_meta (metadata_id INTEGER PRIMARY KEY, entity_id VARCHAR(255));
CREATE TABLE state_attributes (attributes_id INTEGER PRIMARY KEY, shared_attrs TEXT);
CREATE TABLE states (state_id INTEGER PRIMARY KEY, state VARCHAR(255), last_changed_ts FLOAT,
    last_updated_ts FLOAT, attributes_id INTEGER, metadata_id INTEGER);
CREATE INDEX ix_states ON states (metadata_id, last_updated_ts);
CREATE TABLE statistics_meta (id INTEGER PRIMARY KEY, statistic_id VARCHAR(255),
    unit_of_measurement VARCHAR(255), has_sum BOOLEAN, mean_type SMALLINT);
CREATE TABLE statistics (id INTEGER PRIMARY KEY, metadata_id INTEGER, start_ts FLOAT, mean FLOAT,
    state FLOAT, sum FLOAT);
CREATE TABLE statistics_short_term (id INTEGER PRIMARY KEY, metadata_id INTEGER, start_ts FLOAT,
    mean FLOAT, state FLOAT, sum FLOAT);
"""


class AssistantDatabase:
    """A database that is written as Home Assistant does.

    Args:
        path: Where; its folder is made.
        schema: The number of its schema.
        journal: "wal", as Home Assistant has it, or "delete".
    """

    def __init__(self, path: Path, *, schema: int = 53, journal: str = "delete") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.connection = sqlite3.connect(path)
        self.connection.execute(f"PRAGMA journal_mode={journal}")
        self.connection.executescript(TABLES)
        self.connection.execute("INSERT INTO schema_changes (schema_version) VALUES (?)", (schema,))
        self.connection.commit()

    def close(self) -> None:
        """Close it, as Home Assistant does when it ends."""
        self.connection.commit()
        self.connection.close()

    def states(
        self, entity: str, states: list[tuple[float, str | None]], **attributes: object
    ) -> None:
        """Write states of an entity: seconds since `BEGIN` and what it was."""
        number = self._number("states_meta", "metadata_id", "entity_id", entity)
        text = json.dumps(attributes)
        facts = self._number("state_attributes", "attributes_id", "shared_attrs", text)
        self.connection.executemany(
            "INSERT INTO states (metadata_id, last_updated_ts, state, attributes_id) "
            "VALUES (?, ?, ?, ?)",
            [(number, BEGIN + at, state, facts) for at, state in states],
        )
        self.connection.commit()

    def statistics(
        self,
        name: str,
        values: dict[int, float],
        *,
        unit: str | None = None,
        counts: bool = False,
        every_s: int = HOUR,
    ) -> None:
        """Write what is kept of a series: means, or sums, by number of the hour since `BEGIN`."""
        number = self._number("statistics_meta", "id", "statistic_id", name)
        self.connection.execute(
            "UPDATE statistics_meta SET unit_of_measurement = ?, has_sum = ?, mean_type = ? "
            "WHERE id = ?",
            (unit, counts, int(not counts), number),
        )
        table = "statistics" if every_s == HOUR else "statistics_short_term"
        column = "sum" if counts else "mean"
        self.connection.executemany(
            f"INSERT INTO {table} (metadata_id, start_ts, {column}) VALUES (?, ?, ?)",  # noqa: S608
            [(number, BEGIN + place * every_s, value) for place, value in values.items()],
        )
        self.connection.commit()

    def run(self, start: str, end: str | None, *, torn: bool = False) -> None:
        """Write that Home Assistant ran from one moment to another."""
        self.connection.execute(
            'INSERT INTO recorder_runs (start, "end", closed_incorrect) VALUES (?, ?, ?)',
            (start, end, torn),
        )
        self.connection.commit()

    def _number(self, table: str, key: str, column: str, text: str) -> int:
        # The words are those above.
        find = f"SELECT {key} FROM {table} WHERE {column} = ?"  # noqa: S608
        found = self.connection.execute(find, (text,)).fetchone()
        if found is None:
            add = f"INSERT INTO {table} ({column}) VALUES (?)"  # noqa: S608
            return int(self.connection.execute(add, (text,)).lastrowid or 0)
        return int(found[0])
