"""Rows that arrive one after the other: of those of one second, what came last counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fedhome.data.times.axis import Axis, read_moments
from fedhome.data.times.time_cells import SECOND_US
from fedhome.data.times.time_reading import LocationOf
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings

_EARLIEST_S = 946_684_800  # 2000-01-01: no clock that is set tells an earlier one
_END_S = 4_102_444_800  # 2100-01-01: nor one from then on


@dataclass(frozen=True, kw_only=True)
class LastRows:
    """The seconds of rows, and which rows each of them has.

    Args:
        axis: The seconds, each with its last row.
        rows: All rows, second by second, those of one in the order in which they came, int64
            ``[all]``.
        ends: Where the rows of each second end in ``rows``, int64 ``[seconds]``.
    """

    axis: Axis
    rows: NDArray[np.int64]
    ends: NDArray[np.int64]

    def axis_of(self, new: NDArray[np.bool_]) -> Axis:
        """Return the seconds whose last row is new.

        Args:
            new: Which rows were not read before, ``[all]``.
        """
        counts = new[self.axis.rows]
        return replace(self.axis, time_s=self.axis.time_s[counts], rows=self.axis.rows[counts])

    def taken_back(
        self, values: NDArray[np.float64], new: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        """Return a column whose last rows have each second's last new reading.

        Args:
            values: float64 ``[all]``, NaN where nothing was read.
            new: Which of them were not read before, ``[all]``.
        """
        ordered = np.where(new, values, np.nan)[self.rows]
        # The place of the last reading so far; one of an earlier second is none of this one.
        read = np.where(np.isnan(ordered), -1, np.arange(len(ordered)))
        last = np.maximum.accumulate(read)[self.ends - 1]
        begins = np.concatenate([[0], self.ends[:-1]])
        result = values.copy()
        result[self.axis.rows] = np.where(last >= begins, ordered[last], np.nan)
        return result


def last_rows(
    rows: pa.Table,
    names: Sequence[str],
    settings: ReadingSettings,
    *,
    location_of: LocationOf,
) -> LastRows:
    """Find the rows of each second.

    Args:
        rows: All columns.
        names: Columns of the times.
        settings: How dates are to be read, and the zone of times without an offset.
        location_of: Returns where a row is, for messages.

    Raises:
        SourceError: As of `read_moments`; or a row has no time, or one of a clock that is not set.
    """
    if not names:
        raise SourceError(
            "these rows have no times, and readings are kept by day",
            hint="give each row a time, or name its column: --set time=NAME",
        )
    moments = read_moments(rows, names, settings, location_of=location_of)
    if len(moments.rows) < rows.num_rows:
        lacking = np.setdiff1d(np.arange(rows.num_rows), moments.rows)
        raise SourceError(
            f"{location_of(int(lacking[0]))}: there is no time", hint="give each row a time"
        )
    seconds = moments.us // SECOND_US
    if (early := seconds < _EARLIEST_S).any():
        first = location_of(int(moments.rows[early].min()))
        raise SourceError(
            f"{first}: its time is before the year 2000, as of a clock that was not set",
            hint="set the device's clock; then send the reading again, with its time",
        )
    if (late := seconds >= _END_S).any():
        first = location_of(int(moments.rows[late].min()))
        raise SourceError(
            f"{first}: its time is after the year 2099, and would be the newest for ever",
            hint="see how the device writes its times, and set its clock; then send the reading "
            "again",
        )
    order = np.lexsort((moments.rows, seconds))
    seconds = seconds[order]
    last = np.append(seconds[1:] != seconds[:-1], True)
    axis = Axis(
        time_s=seconds[last],
        rows=moments.rows[order][last],
        time_zone=moments.time_zone,
        notes=moments.notes,
        format=moments.format,
        naive=moments.naive,
    )
    return LastRows(axis=axis, rows=moments.rows[order], ends=np.flatnonzero(last) + 1)
