"""What a round costs in time and bytes, without what is asked beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flwr.serverapp import Grid

from fedhome.server.rounds.secure_grid import SecureGrid


class RoundCosts:
    """Counts from when it is made.

    Args:
        grid: How messages travel. Bytes are those that it counts, where it counts any.
    """

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._began_at, self._before = time.perf_counter(), self._bytes()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Leave out what is done within."""
        began_at, before = time.perf_counter(), self._bytes()
        yield
        self._began_at += time.perf_counter() - began_at
        up, down = self._bytes()
        self._before = (self._before[0] + up - before[0], self._before[1] + down - before[1])

    def put(self, row: dict[str, Any]) -> None:
        """Put it into a round's row, which says what training and test took.

        Args:
            row: The row.
        """
        if isinstance(self._grid, SecureGrid):
            up, down = self._bytes()
            row |= {"bytes_up": up - self._before[0], "bytes_down": down - self._before[1]}
        spent = row["seconds_train"] + row["seconds_evaluate"]
        row["seconds_other"] = max(0.0, time.perf_counter() - self._began_at - spent)

    def _bytes(self) -> tuple[int, int]:
        """Return bytes from and to all homes so far."""
        if not isinstance(self._grid, SecureGrid):
            return 0, 0
        return self._grid.traffic.up, self._grid.traffic.down
