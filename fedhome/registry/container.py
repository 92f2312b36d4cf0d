"""Arrays in a safetensors file of one form: equal ones have equal bytes, others are refused.

Names, shapes and lengths are all checked before an array is made, so what comes from elsewhere
costs no more memory than a model may have.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import RegistryError

MOST_NUMBERS = 15 << 20  # of a model
MOST_PAYLOAD = 61 << 20  # bytes; a sealed file takes 64 MiB
DTYPES: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "I8": np.dtype("i1"),
    "U8": np.dtype("u1"),
}
_MOST_HEADER = 1 << 20
_MOST_SIDES = 32

Arrays = dict[str, NDArray[Any]]
Metadata = dict[str, str]


def pack(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """Return arrays (float32, int8, uint8) as a safetensors file; equal ones as equal bytes."""
    kinds = {dtype: name for name, dtype in DTYPES.items()}
    little = {name: np.asarray(a, a.dtype.newbyteorder("<"), "C") for name, a in arrays.items()}
    tensors = {name: (kinds[a.dtype], tuple(map(int, a.shape))) for name, a in little.items()}
    body = b"".join(little[name].tobytes() for name in _ordered_names(tensors))
    return _header(tensors, metadata) + body


def unpack(data: bytes) -> tuple[Arrays, Metadata]:
    """Return the arrays and the metadata of a file that `pack` wrote.

    Raises:
        RegistryError: ``format``.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) > MOST_PAYLOAD or size > min(len(data) - 8, _MOST_HEADER):
        raise foreign_error("its length is wrong")
    try:
        header = json.loads(data[8 : 8 + size])
        metadata = header.pop("__metadata__")
        tensors = {name: (entry["dtype"], tuple(entry["shape"])) for name, entry in header.items()}
        sizes = {name: bytes_of(*tensor) for name, tensor in tensors.items()}
        # One form only: what was read must give the same header again, offsets included.
        same = _header(tensors, metadata) == data[: 8 + size]
    # Whatever is wrong with a foreign header, it is no payload.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise foreign_error("its header cannot be read") from None
    texts = isinstance(metadata, dict) and all(type(text) is str for text in metadata.values())
    if not same or not texts or len(data) != 8 + size + sum(sizes.values()):
        raise foreign_error("it is not in its one form")
    arrays: Arrays = {}
    begin = 8 + size
    for name in _ordered_names(tensors):
        dtype, shape = tensors[name]
        piece = np.frombuffer(data, np.uint8, sizes[name], begin).tobytes()
        arrays[name] = np.frombuffer(piece, DTYPES[dtype]).reshape(shape)
        begin += sizes[name]
    return arrays, metadata


def _header(tensors: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Any) -> bytes:
    begin, entries = 0, {"__metadata__": metadata}
    for name in _ordered_names(tensors):
        dtype, shape = tensors[name]
        end = begin + bytes_of(dtype, shape)
        entries[name] = {"data_offsets": [begin, end], "dtype": dtype, "shape": list(shape)}
        begin = end
    text = json.dumps(entries, sort_keys=True, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _ordered_names(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> list[str]:
    # Wide numbers first, as safetensors does it, so that each is aligned.
    return sorted(tensors, key=lambda name: (-DTYPES[tensors[name][0]].itemsize, name))


def bytes_of(dtype: str, shape: tuple[int, ...]) -> int:
    """Return the size of an array.

    Raises:
        ValueError: The shape is none, or larger than a model may be.
    """
    if len(shape) > _MOST_SIDES or any(type(side) is not int or side < 0 for side in shape):
        raise ValueError(shape)
    # An empty array may not have sides that numpy cannot multiply, either.
    if math.prod(max(side, 1) for side in shape) > MOST_NUMBERS:
        raise ValueError(shape)
    return math.prod(shape) * DTYPES[dtype].itemsize


def foreign_error(what: str) -> RegistryError:
    """Return the error for bytes that are no payload; ``what`` says why."""
    return RegistryError(
        f"this is no payload of a model: {what}",
        reason="format",
        hint="it is damaged, or another version of fedhome wrote it",
    )
