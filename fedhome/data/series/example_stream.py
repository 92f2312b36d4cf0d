"""A home's examples from one process of ours to another: a line of JSON, and arrays as they lie.

Nothing is pickled, and nothing is held twice: each array is read into its place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import HomeExamples, RowTally
from fedhome.data.series.scaling import InputScaling

_INSIDE: Final[Mapping[str, type]] = {"tally": RowTally, "scaling": InputScaling}
_TUPLES: Final = frozenset({"counts", "notes", "features"})
_CHUNK: Final = 1 << 20
_KINDS: Final = frozenset("fiub")  # of numbers, whose bytes are all that they are


def write_examples(examples: HomeExamples, stream: IO[bytes]) -> None:
    """Write examples.

    Args:
        examples: The examples.
        stream: Where to.
    """
    plain: dict[str, Any] = {}
    arrays: dict[str, NDArray[Any]] = {}
    for path, value in _leaves(examples):
        if isinstance(value, np.ndarray):
            arrays[path] = np.ascontiguousarray(value)
        else:
            plain[path] = value
    shapes = [[path, one.dtype.str, list(one.shape)] for path, one in arrays.items()]
    stream.write(json.dumps({"plain": plain, "arrays": shapes}).encode() + b"\n")
    stream.writelines(one.data if one.size else b"" for one in arrays.values())


def read_examples(head: bytes, stream: IO[bytes]) -> HomeExamples:
    """Return examples.

    Args:
        head: The first line.
        stream: What follows it.

    Raises:
        ValueError: They are no examples, or end too early.
    """
    told = json.loads(head)
    found: dict[str, Any] = dict(told["plain"])
    for path, kind, shape in told["arrays"]:
        if np.dtype(kind).kind not in _KINDS:
            raise ValueError(f"{path} is no array of numbers")
        array = np.empty(tuple(shape), np.dtype(kind))
        _fill(array, stream)
        found[path] = array
    parts: dict[str, Any] = {"filled": {}}
    inside: dict[str, dict[str, Any]] = {name: {} for name in _INSIDE}
    for path, value in found.items():
        name, _, part = path.partition("/")
        if name in _INSIDE and part:
            inside[name][part] = tuple(value) if part in _TUPLES else value
        elif name == "filled":
            parts[name][part] = value
        else:
            parts[name] = tuple(value) if name in _TUPLES else value
    made = {name: _INSIDE[name](**values) for name, values in inside.items() if values}
    return HomeExamples(**{**parts, **made})


def _leaves(examples: HomeExamples) -> Iterator[tuple[str, Any]]:
    for one in fields(examples):
        value = getattr(examples, one.name)
        if one.name == "filled":
            yield from ((f"filled/{name}", where) for name, where in value.items())
        elif one.name in _INSIDE and value is not None:
            for part in fields(value):
                yield f"{one.name}/{part.name}", getattr(value, part.name)
        else:
            yield one.name, value


def _fill(array: NDArray[Any], stream: IO[bytes]) -> None:
    place, at = array.reshape(-1).view(np.uint8), 0
    while at < len(place):
        part = stream.read(min(len(place) - at, _CHUNK))
        if not part:
            raise ValueError("the examples end too early")
        place[at : at + len(part)] = np.frombuffer(part, np.uint8)
        at += len(part)
