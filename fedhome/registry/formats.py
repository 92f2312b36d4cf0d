"""A model as bytes: whole in float32, each number in one byte, or a share of it in one byte.

All three are safetensors files in one canonical form:

- ``float32``: the parameters as they are;
- ``int8``: per parameter a scale (float32) and whole numbers from -127 to 127;
- ``sparse-int8``: the share of numbers that is largest in magnitude, as in ``int8``, and a
  bitmap that says which they are; the others become zero.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import RegistryError, WireError
from fedhome.registry.container import (
    DTYPES,
    MOST_NUMBERS,
    MOST_PAYLOAD,
    Arrays,
    Metadata,
    bytes_of,
    foreign_error,
    pack,
    unpack,
)
from fedhome.wire.codec import Kind, Message, number
from fedhome.wire.layout import Layout

SHARE = 0.2  # its cost depends on the model: every release records what it lost
_OURS = "fedhome."
_SCALES, _VALUES, _BITMAP = _OURS + "scales", _OURS + "values", _OURS + "bitmap"
_STEPS = 127
_LARGEST = float(np.finfo(np.float32).max)


def real(most: float = math.inf) -> Kind:
    """Return the kind of finite numbers from 0 to ``most``."""

    def check(value: object) -> object:
        if type(value) is not float:
            raise WireError("a field that should be a real number is not", reason="type")
        if not (math.isfinite(value) and 0 <= value <= most) or math.copysign(1, value) < 0:
            raise WireError(f"a real number is outside 0 .. {most}", reason="range")
        return value

    return Kind(check)


def signed() -> Kind:
    """Return the kind of finite numbers of either sign."""

    def check(value: object) -> object:
        if type(value) is not float:
            raise WireError("a field that should be a real number is not", reason="type")
        if not math.isfinite(value):
            raise WireError("a real number is not finite", reason="range")
        return value

    return Kind(check)


@dataclass(frozen=True, kw_only=True)
class Fidelity(Message, label="release-fidelity", most=256):
    """How much of a model its storage format keeps, as measured when it was written.

    Args:
        rmse: Root of the mean squared difference from float32, over all parameters.
        max_error: Largest difference from float32.
        share: Share of the parameters that is kept.
        size: Bytes of the payload.
        whole: Bytes of the same model in float32.
    """

    rmse: Annotated[float, real()]
    max_error: Annotated[float, real()]
    share: Annotated[float, real(1.0)]
    size: Annotated[int, number(MOST_PAYLOAD)]
    whole: Annotated[int, number(MOST_PAYLOAD)]


@dataclass(frozen=True)
class ModelPayload:
    """A model's parameters.

    Args:
        layout: Names and shapes.
        flat: All numbers, float32 ``[layout.size]``.
    """

    layout: Layout
    flat: NDArray[np.float32]

    @property
    def parameters(self) -> dict[str, NDArray[np.float32]]:
        """The parameters by name, in the order of the layout."""
        return self.layout.unflatten(self.flat)


def encode(model: ModelPayload, storage: str, *, share: float = SHARE) -> tuple[bytes, Fidelity]:
    """Return a model's payload, and what was lost in it.

    Args:
        model: The model.
        storage: ``float32``, ``int8`` or ``sparse-int8``. The last two are off by at most half
            a scale (a parameter's largest kept magnitude / 127), and by float32 rounding,
            wherever a number is kept.
        share: Share of the numbers that ``sparse-int8`` keeps, above 0 and at most 1.

    Raises:
        RegistryError: ``format``: no such format or share; ``layout``: names, sizes or a number
            of parameters that cannot be stored; ``not-finite``.
    """
    if storage not in _FORMATS:
        raise RegistryError(
            f"{storage!r} is no storage format",
            reason="format",
            hint=f"it is one of {', '.join(FORMATS)}",
        )
    if not 0 < share <= 1:
        raise RegistryError(
            f"a share of {share} cannot be kept", reason="format", hint="above 0, at most 1"
        )
    layout, flat = model.layout, model.flat
    if not _is_sound(layout) or flat.shape != (layout.size,) or flat.dtype != np.float32:
        raise RegistryError(
            "a model of this layout cannot be stored",
            reason="layout",
            hint=f"up to {MOST_NUMBERS} float32 numbers, in parameters with printable names",
        )
    if not bool(np.isfinite(flat).all()):
        raise RegistryError(
            "the model holds numbers that are not finite",
            reason="not-finite",
            hint="its training diverged: lower train.learning_rate, or set train.clip_norm",
        )
    whole = _FORMATS["float32"][0](model, share)
    data = whole if storage == "float32" else _FORMATS[storage][0](model, share)
    error = decode(data, storage).flat.astype(np.float64) - flat
    count = math.ceil(share * layout.size) if storage == "sparse-int8" else layout.size
    fidelity = Fidelity(
        rmse=float(np.sqrt(np.mean(error**2))),
        max_error=float(np.abs(error).max()),
        share=count / layout.size,
        size=len(data),
        whole=len(whole),
    )
    return data, fidelity


def decode(data: bytes, storage: str) -> ModelPayload:
    """Return the model that a payload holds.

    Raises:
        RegistryError: ``format``: any other bytes, or a format that is not known.
    """
    if storage not in _FORMATS:
        raise foreign_error("its storage format is not known")
    arrays, metadata = unpack(data)
    if metadata.get("format") != storage:
        raise foreign_error(f"it is not {storage}")
    model = _FORMATS[storage][1](arrays, metadata)
    if not bool(np.isfinite(model.flat).all()):
        raise foreign_error("a number in it is not finite")
    return model


def _is_sound(layout: Layout) -> bool:
    names = all(
        name and name.isprintable() and name != "__metadata__" and not name.startswith(_OURS)
        for name in layout.names
    )
    return names and 0 < layout.size <= MOST_NUMBERS


def _metadata(model: ModelPayload, storage: str) -> Metadata:
    names, shapes = model.layout.names, model.layout.shapes
    metadata = {"format": storage, "layout": model.layout.hash, "names": json.dumps(names)}
    if storage == "sparse-int8":
        metadata["shapes"] = json.dumps(shapes)
    return metadata


def _layout(metadata: Metadata, shapes: Mapping[str, tuple[int, ...]] | None) -> Layout:
    """Return the layout of a payload: of its arrays, or for sparse ones, as its metadata says."""
    try:
        names = json.loads(metadata["names"])
        if not isinstance(names, list) or any(type(name) is not str for name in names):
            raise foreign_error("its names are none")
        if shapes is None:
            stored = [tuple(shape) for shape in json.loads(metadata["shapes"])]
            for shape in stored:
                bytes_of("F32", shape)
            shapes = dict(zip(names, stored, strict=True))
        if sorted(names) != sorted(shapes):
            raise foreign_error("its names are not those of its arrays")
        layout = Layout(tuple(names), tuple(shapes[name] for name in names))
    except (ValueError, TypeError, KeyError, RecursionError):
        raise foreign_error("its layout cannot be read") from None
    # Python's own sum: each size was bounded above, so none of them has wrapped around.
    if sum(layout.sizes) > MOST_NUMBERS or not _is_sound(layout):
        raise foreign_error("its layout cannot be that of a model")
    if metadata.get("layout") != layout.hash:
        raise foreign_error("it does not have the layout that it says")
    return layout


def _encode_float32(model: ModelPayload, _share: float) -> bytes:
    return pack(model.parameters, _metadata(model, "float32"))


def _decode_float32(arrays: Arrays, metadata: Metadata) -> ModelPayload:
    if any(array.dtype != DTYPES["F32"] for array in arrays.values()):
        raise foreign_error("a parameter is not float32")
    layout = _layout(metadata, {name: array.shape for name, array in arrays.items()})
    return ModelPayload(layout, np.concatenate([arrays[name].ravel() for name in layout.names]))


def _encode_int8(model: ModelPayload, _share: float) -> bytes:
    steps, scales = _quantise(model.layout, model.flat)
    arrays: Arrays = {**model.layout.unflatten(steps), _SCALES: scales}  # type: ignore[arg-type]
    return pack(arrays, _metadata(model, "int8"))


def _decode_int8(arrays: Arrays, metadata: Metadata) -> ModelPayload:
    scales = _pop_array(arrays, _SCALES, "F32")
    if any(array.dtype != DTYPES["I8"] for array in arrays.values()):
        raise foreign_error("a parameter is not int8")
    layout = _layout(metadata, {name: array.shape for name, array in arrays.items()})
    steps = np.concatenate([arrays[name].ravel() for name in layout.names])
    return ModelPayload(layout, _dequantise(layout, steps, scales))


def _encode_sparse(model: ModelPayload, share: float) -> bytes:
    count = math.ceil(share * model.layout.size)
    largest = np.argsort(-np.abs(model.flat), kind="stable")[:count]  # the first of equal ones
    mask = np.zeros(model.layout.size, bool)
    mask[largest] = True
    steps, scales = _quantise(model.layout, np.where(mask, model.flat, np.float32(0)))
    bitmap = np.packbits(mask, bitorder="little")
    arrays: Arrays = {_BITMAP: bitmap, _VALUES: steps[mask], _SCALES: scales}
    return pack(arrays, _metadata(model, "sparse-int8"))


def _decode_sparse(arrays: Arrays, metadata: Metadata) -> ModelPayload:
    layout = _layout(metadata, None)
    scales = _pop_array(arrays, _SCALES, "F32")
    bitmap, values = _pop_array(arrays, _BITMAP, "U8"), _pop_array(arrays, _VALUES, "I8")
    if arrays or len(bitmap) != -(-layout.size // 8):
        raise foreign_error("its bitmap is not that of its layout")
    bits = np.unpackbits(bitmap, bitorder="little").astype(bool)
    if bits[layout.size :].any() or int(bits.sum()) != len(values):
        raise foreign_error("its bitmap and its values differ in number")
    steps = np.zeros(layout.size, np.int8)
    steps[bits[: layout.size]] = values
    return ModelPayload(layout, _dequantise(layout, steps, scales))


def _quantise(
    layout: Layout, flat: NDArray[np.float32]
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return the nearest steps ``[size]`` and the scale of each parameter."""
    steps = np.zeros(layout.size, np.int8)
    scales = np.zeros(len(layout.names), np.float32)
    begin = 0
    for index, size in enumerate(layout.sizes):
        piece = flat[begin : begin + size].astype(np.float64)
        largest = float(np.abs(piece).max(initial=0))
        scale = np.float32(largest / _STEPS)
        # Rounded up: under a scale rounded down, the largest number would not fit its steps.
        if float(scale) * _STEPS < largest:
            scale = np.nextafter(scale, np.float32(np.inf))
        if largest > 0:
            steps[begin : begin + size] = np.rint(piece / float(scale))
        scales[index] = scale
        begin += size
    return steps, scales


def _dequantise(
    layout: Layout, steps: NDArray[np.int8], scales: NDArray[np.float32]
) -> NDArray[np.float32]:
    if len(scales) != len(layout.names) or not bool((np.isfinite(scales) & (scales >= 0)).all()):
        raise foreign_error("its scales are not those of its layout")
    if bool((steps < -_STEPS).any()):
        raise foreign_error("a step in it is outside -127 .. 127")
    widened = np.repeat(scales.astype(np.float64), layout.sizes) * steps
    # A scale that was rounded up may carry float32's largest number over its edge.
    return np.clip(widened, -_LARGEST, _LARGEST).astype(np.float32)


def _pop_array(arrays: Arrays, name: str, dtype: str) -> NDArray[Any]:
    array = arrays.pop(name, None)
    if array is None or array.dtype != DTYPES[dtype] or array.ndim != 1:
        raise foreign_error(f"it has no {name}")
    return array


_Encode: TypeAlias = Callable[[ModelPayload, float], bytes]
_Decode: TypeAlias = Callable[[Arrays, Metadata], ModelPayload]
_FORMATS: dict[str, tuple[_Encode, _Decode]] = {
    "float32": (_encode_float32, _decode_float32),
    "int8": (_encode_int8, _decode_int8),
    "sparse-int8": (_encode_sparse, _decode_sparse),
}
FORMATS = tuple(_FORMATS)
