"""Cells that hold a date or a time of day rather than a reading."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_MONTH = (
    r"(jan|feb|m[aä]r|mrz|apr|ma[iy]|jun|jul|aug|sep|o[ck]t|nov|de[cz]|"
    r"janv|févr|fevr|mars|avr|juin|juil|août|aout|déc|ene|abr|ago|dic)[a-zé]*\.?"
)
_TIME = r"\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?(\s?[ap]\.?m\.?)?"
_ZONE = r"(\s?(z|utc|gmt|[a-z]{3,4}|[+-]\d{2}(:?\d{2})?))?(\[[a-z_/]+\])?"
_DATE = (
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|"  # 2024-01-31
    r"\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})|"  # 31.01.2024
    rf"\d{{1,2}}[.\s-]{{0,2}}{_MONTH}([\s-]{{1,2}}(\d{{4}}|\d{{2}}))?|"  # 31. Jan 2024
    rf"{_MONTH}[\s-]{{1,2}}\d{{1,4}}(,?\s\d{{4}})?)"  # Jan 31, 2024; Jan-05
)
_LIKE = rf"^({_DATE}([t\s]\s?{_TIME}{_ZONE})?|{_TIME}{_ZONE})$"


def is_date_like(cells: pa.Array) -> NDArray[np.bool_]:
    """Tell which cells look like a date, a time of day or both, bool ``[cells]``.

    Args:
        cells: Text without spaces around it; a null is no date.
    """
    like = pc.match_substring_regex(pc.utf8_lower(cells), _LIKE)
    return np.asarray(pc.fill_null(like, fill_value=False))
