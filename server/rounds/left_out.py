"""Homes that a server asks nothing more, and why: a list that lasts over runs and kills.

A home that was shown to cheat stays on it until somebody takes it off. Homes that are left out
because sums with them were spoilt, of which one cheats and the others may not, stay on it until the
next directory, by which the parts of the fleet are dealt anew: who is left out again then, in
another company, is known better.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from fedhome.errors import StateError
from fedhome.secagg import Directory
from fedhome.server.rounds.left_out_home import LeftOutHome
from fedhome.store import disk


class LeftOut:
    """The list, as one run sees it; read anew each time, as people may take homes off it.

    Args:
        path: The file; None: in memory, for a simulation.
        directory: The directory that is in force; None where there is none.
        run: Name of the run.
        clock: Seconds since 1970.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        directory: Directory | None = None,
        run: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path, self._run, self._clock = path, run, clock
        self._epoch = "" if directory is None else directory.hash.hex()
        self._identities = {
            name: entry.identity.hex()
            for name, entry in ({} if directory is None else directory.entries).items()
        }
        self._entries: list[LeftOutHome] = []

    @property
    def reasons(self) -> dict[str, str]:
        """Why each home is left out now.

        Raises:
            StateError: The file cannot be read, or is damaged.
        """
        return {entry.home: entry.reason for entry in self.in_force}

    @property
    def in_force(self) -> list[LeftOutHome]:
        """The homes that are left out now.

        Raises:
            StateError: The file cannot be read, or is damaged.
        """
        return [entry for entry in self._known() if self._holds(entry)]

    @property
    def suspected(self) -> frozenset[str]:
        """Homes that were suspected under an earlier directory."""
        known = self._known()
        return frozenset(entry.home for entry in known if not self._holds(entry))

    def add(self, homes: Collection[str], reason: str, *, suspected: bool = False) -> None:
        """Leave homes out from now on.

        Args:
            homes: Their names.
            reason: Why, as a clause.
            suspected: Some of them may keep to the protocol: it holds until the next directory.

        Raises:
            StateError: The file cannot be read or written.
        """
        new = set(homes) - set(self.reasons)
        if not new:
            return
        entry = LeftOutHome(
            home="",
            identity="",
            reason=reason,
            run=self._run,
            time=datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="seconds"),
            directory=self._epoch if suspected else "",
        )
        kept = [one for one in self._read() if one.home not in new]
        self._write(
            [
                *kept,
                *(
                    replace(entry, home=home, identity=self._identities.get(home, ""))
                    for home in sorted(new)
                ),
            ]
        )

    def _known(self) -> list[LeftOutHome]:
        """Return the entries of homes that are still those that they were."""
        return [
            entry
            for entry in self._read()
            if self._identities.get(entry.home, "") == entry.identity
        ]

    def _holds(self, entry: LeftOutHome) -> bool:
        return entry.directory in ("", self._epoch)

    def _read(self) -> list[LeftOutHome]:
        return self._entries if self._path is None else left_out_in(self._path)

    def _write(self, entries: list[LeftOutHome]) -> None:
        if self._path is None:
            self._entries = entries
        else:
            _put(self._path, entries)


def left_out_in(path: Path) -> list[LeftOutHome]:
    """Return all entries of a list's file, also those that no longer hold; none without a file.

    Raises:
        StateError: It cannot be read, or is damaged.
    """
    if not path.exists():
        return []
    try:
        return [LeftOutHome(**entry) for entry in json.loads(disk.read(path))["homes"]]
    except (ValueError, TypeError, KeyError):
        raise StateError(
            f"{path} is damaged",
            reason="altered",
            hint="remove it: homes that cheat are then found anew",
        ) from None


def take_off(path: Path, homes: Collection[str]) -> list[str]:
    """Take homes off a list, and return those that were on it.

    Args:
        path: The list's file.
        homes: Their names.

    Raises:
        StateError: The file cannot be read or written.
    """
    entries = left_out_in(path)
    found = sorted({entry.home for entry in entries} & set(homes))
    if found:
        _put(path, [entry for entry in entries if entry.home not in found])
    return found


def _put(path: Path, entries: list[LeftOutHome]) -> None:
    record = {"homes": [asdict(entry) for entry in entries]}
    disk.put(path, json.dumps(record, indent=1).encode())
