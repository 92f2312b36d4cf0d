"""Responses of parts of the homes that were asked, laid at their homes' places in the question."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fedhome.questions.responses import Columns, Response


def joined(parts: Iterable[tuple[NDArray[np.int64], Response]], homes: int) -> Response:
    """Return one response of all homes.

    Args:
        parts: For each part the places of its homes in the question, and what they respond.
        homes: How many were asked. Of one that is in no part come numbers that are not finite, and
            zeros where a column holds whole numbers.
    """
    columns: Columns = {}
    params: NDArray[np.float32] | None = None
    for places, one in parts:
        for name, values in one.columns.items():
            if name not in columns:
                none = np.nan if values.dtype.kind == "f" else 0
                columns[name] = np.full((homes, *values.shape[1:]), none, values.dtype)
            columns[name][places] = values
        if one.params is not None:
            if params is None:
                params = np.full((homes, one.params.shape[1]), np.nan, np.float32)
            params[places] = one.params
    return Response(columns, params)
