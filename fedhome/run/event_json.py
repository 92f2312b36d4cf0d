"""What an event says as JSON: one way to write each value, which can be hashed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import numpy as np

from fedhome.errors import EventLogError

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"


def stamp(time: datetime) -> str:
    """Return a moment as the log writes it: UTC, to the millisecond."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def canonical(value: Mapping[str, object]) -> bytes:
    """Return the one way to write values: what is hashed."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def as_json(event: str, data: Mapping[str, object]) -> dict[str, Json]:
    """Return what an event says as values that JSON holds.

    Args:
        event: Its kind, for messages.
        data: What it says; what is not finite becomes null, and is told in words as ``not_finite``.

    Raises:
        EventLogError: Something in it is no such value, or has a name that is taken.
    """
    not_finite: dict[str, Json] = {}
    try:
        result = {name: _plain(value, name, not_finite) for name, value in data.items()}
    except TypeError as error:
        raise EventLogError(
            f"event {event!r}: {error}, which JSON cannot hold",
            hint="log numbers, text, lists and mappings with text as keys",
        ) from None
    if not_finite:
        if "not_finite" in result:
            raise EventLogError(
                f"event {event!r}: the name not_finite is taken by the log itself",
                hint="give this value another name",
            )
        result["not_finite"] = not_finite
    return result


def _plain(value: object, path: str, not_finite: dict[str, Json]) -> Json:
    """Return a JSON value; puts what is not finite into ``not_finite`` by its path."""
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        not_finite[path] = str(float(value))
        return None
    # bool, int, float and str have subclasses (enumerations) that json writes by value.
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _plain(item, f"{path}.{name}", not_finite) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{path}.{i}", not_finite) for i, item in enumerate(value)]
    raise TypeError(f"{path} is a {type(value).__name__}")
