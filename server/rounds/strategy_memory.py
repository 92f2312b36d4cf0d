"""What a strategy remembers between rounds (momenta, adaptive norms), as plain data.

A checkpoint must hold it, or a resumed run would end with other weights. Nothing is pickled:
a checkpoint is data and never runs code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fedhome.errors import RunError

Arrays = dict[str, NDArray[Any]]
_SCALARS = (bool, int, float, str, type(None))


def remember(strategy: Strategy) -> tuple[dict[str, Any], Arrays]:
    """Return a strategy's memory as JSON data and named arrays.

    Attributes that are functions are left out: they do not change. Others that are no
    plain data are named in the data under ``"?"``, and :func:`recall` refuses them.
    """
    arrays: Arrays = {}
    return {name: _encode(value, arrays) for name, value in vars(strategy).items()}, arrays


def recall(strategy: Strategy, memory: dict[str, Any], arrays: Arrays) -> None:
    """Give a strategy its memory back, in place.

    Raises:
        RunError: The memory holds something that could not be written as plain data.
    """
    for name, encoded in memory.items():
        own = vars(strategy).get(name)
        if isinstance(own, Strategy):
            recall(own, encoded["strategy"], arrays)
        elif "code" not in encoded:
            setattr(strategy, name, _decode(encoded, arrays, f"{type(strategy).__name__}.{name}"))


def unknown_in(memory: dict[str, Any], where: str) -> Iterator[str]:
    """Yield what a memory could not take as plain data, each with where it is.

    Args:
        memory: What :func:`remember` returned.
        where: Whose memory it is.
    """
    for name, encoded in memory.items():
        yield from _unknown(encoded, f"{where}.{name}")


def _unknown(encoded: dict[str, Any], where: str) -> Iterator[str]:
    (kind, value), *_ = encoded.items()
    if kind == "?":
        yield f"{where} is a {value}"
    elif kind == "strategy":
        yield from unknown_in(value, where)
    elif kind == "pairs":
        for key, item in value:
            yield from _unknown(item, f"{where}[{key!r}]")
    elif kind in {"list", "tuple"}:
        for place, item in enumerate(value):
            yield from _unknown(item, f"{where}[{place}]")


def _encode(value: object, arrays: Arrays) -> dict[str, Any]:  # noqa: PLR0911 - one for each kind
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, _SCALARS):
        return {"is": value}
    if isinstance(value, Strategy):
        return {"strategy": {n: _encode(v, arrays) for n, v in vars(value).items()}}
    if isinstance(value, np.ndarray):
        name = f"memory-{len(arrays)}"
        arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
        return {"array": name}
    if isinstance(value, ArrayRecord):
        return {"record": {key: _encode(array.numpy(), arrays) for key, array in value.items()}}
    if isinstance(value, dict) and all(isinstance(key, str | int) for key in value):
        pairs = [[key, _encode(item, arrays)] for key, item in value.items()]
        return {"pairs": pairs}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_encode(item, arrays) for item in value]}
    if callable(value):
        return {"code": getattr(value, "__qualname__", type(value).__name__)}
    return {"?": type(value).__name__}


def _decode(encoded: dict[str, Any], arrays: Arrays, where: str) -> Any:
    (kind, value), *_ = encoded.items()
    if kind == "is":
        return value
    if kind == "array":
        return np.array(arrays[value])
    if kind == "record":
        record = ArrayRecord()
        for key, item in value.items():
            record[key] = Array(_decode(item, arrays, where))
        return record
    if kind == "pairs":
        return {key: _decode(item, arrays, where) for key, item in value}
    if kind in {"list", "tuple"}:
        items = [_decode(item, arrays, where) for item in value]
        return tuple(items) if kind == "tuple" else items
    raise RunError(
        f"{where} is a {value}, which a checkpoint cannot hold: the run cannot be resumed",
        hint="keep numbers, arrays, lists and dictionaries in the strategy's attributes",
    )
