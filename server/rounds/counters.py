"""Numbers that rise for as long as a fleet lives, over runs and kills: of sums, and of bundles."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedhome.errors import StateError
from fedhome.plan.aggregation_settings import AggregationSettings
from fedhome.secagg import Bundle, Directory
from fedhome.secagg.form import Total
from fedhome.secagg.manifest import SUM_NUMBER_BITS
from fedhome.server.rounds.sum_scale import Scale
from fedhome.store import disk

_WEIGHTS = "weights"
_AT_ONCE = 64  # reserved on disk together: a crash skips at most this many
_MOST_DIGITS = 8
_LAST_SUM = (1 << SUM_NUMBER_BITS) - 1
_LEFT = 1 << 16  # sums that a server begins with at least: a year of a hundred and eighty a day


class LastingScale(Scale):
    """A scale whose sum numbers continue where the last process stopped: homes refuse earlier ones.

    Nor do they count their examples twice in an epoch: so the greatest weight lasts too.

    Args:
        settings: The plan's settings.
        path: File that holds the highest number that may have been used; beside it lies what the
            homes have counted.
        directory: Hash of the directory that is in force.

    Raises:
        StateError: ``altered``, or a file cannot be read.
    """

    def __init__(self, settings: AggregationSettings, path: Path, *, directory: bytes) -> None:
        self._path, self._epoch = path, directory.hex()
        self._weights = path.with_name(_WEIGHTS)
        self._first = self._last_used() if path.exists() else 0
        self._reserved = self._first
        self._sum_number = self._first
        super().__init__(settings)
        self._recall_weight()

    def _last_used(self) -> int:
        """Return the highest number that may have been used."""
        digits = disk.read(self._path).strip()  # an editor ends a line
        if not (digits.isdigit() and len(digits) <= _MOST_DIGITS):
            raise StateError(
                f"{self._path} is damaged",
                reason="altered",
                hint="bring it back from a backup, or write a number into it that is above all "
                "that homes know, such as 1000000: they refuse a sum whose number is not above the "
                "last",
            )
        number = int(digits)
        if number > _LAST_SUM - _LEFT:
            raise StateError(
                f"{self._path} holds the number {number}, and the last sum that there can be is "
                f"{_LAST_SUM}",
                reason="altered",
                hint="let the owner sign the next directory (`fedhome fleet directory`), in which "
                "homes count anew, and write a small number into it, such as 1",
            )
        return number

    def _recall_weight(self) -> None:
        if self.weight_cap is not None or not self._weights.exists():
            return
        try:
            record = json.loads(disk.read(self._weights))
            if record["directory"] == self._epoch:
                self.weight_cap = int(record["weight_cap"])
        except (ValueError, TypeError, KeyError):
            raise StateError(
                f"{self._weights} is damaged",
                reason="altered",
                hint="let the owner sign the next directory, `fedhome fleet directory`, and remove "
                "the file: homes then count anew",
            ) from None

    def count(self, totals: Sequence[Total]) -> None:
        """Set the greatest weight from a count of the homes' examples, and keep it.

        Raises:
            StateError: It cannot be written; it is not set then, and is counted again.
        """
        super().count(totals)
        self._keep_weight()

    def count_alike(self) -> None:
        """Let all homes count alike, and keep that; raises as `count`."""
        super().count_alike()
        self._keep_weight()

    def _keep_weight(self) -> None:
        record = {"directory": self._epoch, "weight_cap": self.weight_cap}
        try:
            disk.put(self._weights, json.dumps(record).encode())
        except StateError:
            self.weight_cap = None  # the next run could not count it once more
            raise

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Continue from what `memory` returned."""
        super().recall(memory)
        self._recall_weight()

    @property
    def sum_number(self) -> int:
        """The number of the last sum."""
        return self._sum_number

    @sum_number.setter
    def sum_number(self, value: int) -> None:
        number = max(value, self._first)
        if number > self._reserved:  # counts once it is durable: else the next one would not be
            disk.put(self._path, str(number + _AT_ONCE).encode())
            self._reserved = number + _AT_ONCE
        self._sum_number = number


class Serials:
    """Which bundle of each home was used last in an epoch: its members open none before it.

    Args:
        path: The file.
        directory: The epoch's; what was recorded for another one is of no use.

    Raises:
        StateError: ``altered``, or the file cannot be read.
    """

    def __init__(self, path: Path, directory: Directory) -> None:
        self._path, self._epoch = path, directory.hash.hex()
        self.used: dict[str, int] = {}
        if not path.exists():
            return
        try:
            record = json.loads(disk.read(path))
            if record["directory"] == self._epoch:
                self.used = {str(home): int(serial) for home, serial in record["serials"].items()}
        except (ValueError, TypeError, KeyError, AttributeError):
            raise StateError(
                f"{path} is damaged",
                reason="altered",
                hint="let the owner sign the next directory, `fedhome fleet directory`, and remove "
                "the file: serials of the next epoch begin anew",
            ) from None

    def keep(self, bundles: Mapping[str, Bundle]) -> None:
        """Record bundles before homes and members learn of them.

        Raises:
            StateError: The file cannot be written.
        """
        self.used.update({home: bundle.serial for home, bundle in bundles.items()})
        record = {"directory": self._epoch, "serials": self.used}
        disk.put(self._path, json.dumps(record).encode())
