"""A form's fields as they travel: integers, strings, bytes and tuples of these."""

from __future__ import annotations

import struct
from typing import Any

from fedhome.errors import WireError
from fedhome.privacy.noise import Noise
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.scalars import Scalar

_MOST_SCALARS = 1024
_NAME_BYTES = 64

FormFields = tuple[int, bytes, FixedPoint, tuple[Scalar, ...], int, Noise | None]
"""In the order of :class:`fedhome.secagg.form.Form`."""


def plain_of(fields: FormFields) -> tuple[Any, ...]:
    """Return a form's fields as integers, strings, bytes and tuples of these."""
    elements, layout, fixed, scalars, homes, noise = fields
    return (
        elements,
        layout,
        (fixed.bits, _float_bytes(fixed.clip), fixed.norm, fixed.weight_cap),
        tuple(
            (s.name, _float_bytes(s.low), _float_bytes(s.high), int(s.weighted), s.bits)
            for s in scalars
        ),
        homes,
        () if noise is None else (_float_bytes(noise.sigma), noise.homes),
    )


def fields_of(plain: object) -> FormFields:
    """Return the fields that `plain_of` wrote.

    Raises:
        WireError: Anything else.
        ParameterError: Fields that cannot be.
    """
    kinds = (int, bytes, list, list, int, list)
    elements, layout, fixed, scalars, homes, noise = _fields(plain, *kinds)
    if len(scalars) > _MOST_SCALARS:
        raise _refused(f"more than {_MOST_SCALARS} scalars")
    bits, clip, norm, weight_cap = _fields(fixed, int, bytes, str, int)
    parsed = []
    for item in scalars:
        name, low, high, weighted, grid = _fields(item, str, bytes, bytes, int, int)
        if weighted not in (0, 1) or len(name.encode()) > _NAME_BYTES:
            raise _refused("a scalar with a long name or of no kind")
        parsed.append(Scalar(name, _float(low), _float(high), bool(weighted), grid))
    own = None
    if noise:
        sigma, least = _fields(noise, bytes, int)
        own = Noise(_float(sigma), least)
    fixed_point = FixedPoint(bits, _float(clip), norm, weight_cap)
    return elements, layout, fixed_point, tuple(parsed), homes, own


def _fields(plain: object, *kinds: type) -> list[Any]:
    if not isinstance(plain, list | tuple) or len(plain) != len(kinds):
        raise _refused("another number of fields")
    for value, kind in zip(plain, kinds, strict=True):
        if type(value) is not kind and not (kind is list and type(value) is tuple):
            raise _refused("a field of another type")
    return list(plain)


def _float_bytes(value: float) -> bytes:
    return struct.pack(">d", value)


def _float(value: bytes) -> float:
    if len(value) != 8:  # noqa: PLR2004
        raise _refused("a number that has not 8 bytes")
    return float(struct.unpack(">d", value)[0])


def _refused(what: str) -> WireError:
    return WireError(f"a form came with {what}", reason="form")
