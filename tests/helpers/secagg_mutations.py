"""Valid bytes made foreign: flipped, cut, spliced, lengthened, or changed field by field."""

from __future__ import annotations

import random
from typing import Any

import msgpack

NUMBERS = [0, 1, -1, 2, 23, 24, 127, 128, 255, 256, 16_384, 1 << 24, (1 << 31) - 1, 1 << 32]
NUMBERS += [1 << 40, (1 << 63) - 1, (1 << 64) - 1, -(1 << 63)]
VALUES: list[Any] = [*NUMBERS, None, True, False, 0.5, float("nan"), float("inf"), "", "h00"]
VALUES += ["x" * 65, "a\nb", "\u202e", "\0", "é", b"", bytes(8), bytes(32), b"x" * 31, b"x" * 4096]
VALUES += [[], [[]], {}, {"h00": 1}, {b"x": []}, msgpack.ExtType(5, b"x"), msgpack.Timestamp(1, 2)]
CLAIMS = [b"\xdd\xff\xff\xff\xff", b"\xdc\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xde\xff\xff"]
CLAIMS += [b"\xdb\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x01", b"\xc1"]
CLAIMS += [b"\x91" * 40, b"\x81" * 40, b"\xdd\x7f\xff\xff\xff", b"\xc7\x0c\xff" + b"\xff" * 12]


def changed(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Return bytes that were changed in one to three ways."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choices(WAYS, WEIGHTS)[0](rng, data, others)
    return data


def _flip(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    raw = bytearray(data)
    for _bit in range(rng.choice((1, 1, 1, 2, 8))):
        if raw:
            raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(raw)


def _cut(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    start, stop = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
    return rng.choice((data[:stop], data[start:], data[:start] + data[stop:]))


def _splice(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    other = rng.choice(others)
    return data[: rng.randint(0, len(data))] + other[rng.randint(0, len(other)) :]


def _insert(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    at = rng.randint(0, len(data))
    put = rng.choice((rng.choice(CLAIMS), rng.randbytes(rng.choice((1, 4, 100)))))
    return data[:at] + put + data[at + rng.choice((0, len(put))) :]


def _longer(rng: random.Random, data: bytes, _: list[bytes]) -> bytes:
    """Write a number, or how many fields there are, in more bytes than it takes."""
    version = data.find(b"\x01", data.find(b"fedhome/"))
    if rng.random() < 0.5 and version >= 0:
        return data[:version] + rng.choice((b"\xcc", b"\xcd\0", b"\xd0")) + data[version:]
    if data[:1] and data[0] & 0xF0 == 0x90:
        return rng.choice((b"\xdc\0", b"\xdd\0\0\0")) + bytes([data[0] & 15]) + data[1:]
    return data


def _noise(rng: random.Random, _data: bytes, _: list[bytes]) -> bytes:
    return rng.randbytes(rng.choice((0, 1, 3, 30, 300)))


def _inside(rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """Change one value of a message, or of a message inside it, and write it properly again."""
    plain = unpacked(data)
    if not isinstance(plain, list):
        return _flip(rng, data, others)
    at: Any = plain
    while at:
        place = rng.randrange(len(at))
        value = at[place]
        if isinstance(value, list) and value and rng.random() < 0.7:
            at = value
            continue
        _change(rng, at, place, others)
        break
    return packed(plain)


def _change(rng: random.Random, at: list[Any], place: int, others: list[bytes]) -> None:
    value, kind = at[place], rng.randrange(6)
    if kind == 0:
        at.insert(place, value)
    elif kind == 1:
        del at[place]
    elif kind == 2:
        other = rng.randrange(len(at))
        at[place], at[other] = at[other], value
    elif isinstance(value, bytes) and kind > 3:
        at[place] = changed(rng, value, others)  # a message of its own, perhaps
    elif isinstance(value, int) and kind > 3:
        at[place] = max(-(1 << 63), min(value + rng.choice((-1, 1, 7, -value)), (1 << 64) - 1))
    else:
        at[place] = rng.choice(VALUES)


WAYS = [_inside, _flip, _cut, _splice, _insert, _longer, _noise]
WEIGHTS = [12, 4, 2, 1, 2, 1, 1]


def unpacked(data: bytes) -> Any:
    """Return what msgpack reads of bytes; None if it does not."""
    try:
        return msgpack.unpackb(data)
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException):
        return None


def packed(plain: Any) -> bytes:
    """Return what msgpack writes."""
    packed: bytes = msgpack.packb(plain)
    return packed
