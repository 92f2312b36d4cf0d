"""Words in which files say that nothing was measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

MISSING_WORDS = (
    # what Python, pandas, R, databases and JavaScript write
    "",
    "na",
    "n/a",
    "#n/a",
    "#n/a n/a",
    "#na",
    "<na>",
    "nan",
    "-nan",
    "+nan",
    "nat",
    "1.#ind",
    "-1.#ind",
    "1.#qnan",
    "-1.#qnan",
    "null",
    "<null>",
    "(null)",
    "none",
    "nil",
    "undefined",
    "\\n",
    # what Home Assistant says of a sensor that is silent
    "unknown",
    "unavailable",
    # what spreadsheets show for a formula without a result
    "#div/0!",
    "#value!",
    "#wert!",
    "#valeur!",
    "#ref!",
    "#bezug!",
    "#name?",
    "#num!",
    "#zahl!",
    "#null!",
    "#nv",
    "#nombre!",
    # what people and portals write
    "-",
    "--",
    "---",
    "?",
    "??",
    "n.a.",
    "n. a.",
    "k.a.",
    "k. a.",
    "n.v.",
    "n/d",
    "no data",
    "nodata",
    "not available",
    "missing",
)
"""In small letters; of any dash, the hyphen stands here."""


def missing_words(na_values: Sequence[str]) -> pa.Array:
    """Return the usual words and further ones, in small letters without spaces around them."""
    further = (word.strip().lower() for word in na_values)
    return pa.array(dict.fromkeys((*MISSING_WORDS, *further)), pa.string())


def missing_numbers(na_values: Sequence[str]) -> NDArray[np.float64]:
    """Return those of the further words for a missing reading that are numbers, as numbers."""
    numbers = []
    for word in na_values:
        try:
            numbers.append(float(word.strip().replace(",", ".")))
        except ValueError:
            continue
    return np.array(numbers)


def is_missing(cells: pa.Array, words: pa.Array) -> NDArray[np.bool_]:
    """Tell which cells say nothing, bool ``[cells]``.

    Args:
        cells: Text without spaces around it.
        words: As :func:`missing_words` returns them.
    """
    known = pc.is_in(pc.utf8_lower(cells), value_set=words, skip_nulls=True)
    return np.asarray(pc.or_(known, cells.is_null()), dtype=np.bool_)
