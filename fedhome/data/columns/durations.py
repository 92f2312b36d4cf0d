"""Lengths of time as ISO 8601 writes them, such as PT1H30M: seconds."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fedhome.data.columns.missing import is_missing, missing_words
from fedhome.plan.reading_settings import ReadingSettings

_LENGTH = (
    r"^(?P<sign>[+-]?)P(?:(?P<w>\d+)W)?(?:(?P<d>\d+)D)?"
    r"(?:T(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:[.,]\d+)?)S)?)?$"
)
_SECONDS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_FIRST_LOOK = 100


def seconds_of_text(
    cells: pa.ChunkedArray, settings: ReadingSettings
) -> NDArray[np.float64] | None:
    """Return a column of lengths of time in seconds, float64 ``[rows]``, NaN where one is missing.

    Months and years are not read: they have no one length.

    Args:
        cells: Text, ``[rows]``.
        settings: ``na_values`` are missing readings.

    Returns:
        The seconds; None where a cell holds anything else, or none holds a length.
    """
    for some in (cells.slice(0, _FIRST_LOOK), cells):
        text = pc.utf8_trim_whitespace(some.cast(pa.string())).combine_chunks()
        missing = is_missing(text, missing_words(settings.na_values))
        parts = pc.extract_regex(text, _LENGTH)
        is_length = np.asarray(parts.is_valid()) & ~np.asarray(
            pc.fill_null(pc.match_substring_regex(text, "[PT]$"), fill_value=True)
        )
        if not np.all(is_length | missing):
            return None
    if not is_length.any():
        return None
    seconds = np.zeros(len(text))
    for part, each in _SECONDS.items():
        digits = pc.replace_substring(pc.struct_field(parts, part), ",", ".")
        digits = pc.if_else(pc.equal(digits, ""), "0", digits).cast(pa.float64())
        seconds += np.asarray(pc.fill_null(digits, fill_value=0)) * each
    back = np.asarray(pc.fill_null(pc.equal(pc.struct_field(parts, "sign"), "-"), fill_value=False))
    return np.where(is_length, np.where(back, -seconds, seconds), np.nan)
