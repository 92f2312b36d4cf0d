"""The Triton program that rounds updates and adds them up, and the tables that it reads.

Of one place in the model it draws, for each home, the word of the home's keystream that decides
the rounding, as :meth:`fedhome.secagg.fixedpoint.FixedPoint.blocks` says: AES-256 in counter mode,
a block for four numbers. Sums are whole numbers, so no order changes them.

Source: NIST, FIPS 197, "Advanced Encryption Standard", 2001 (updated 2023), sections 5.1 and 5.2;
Daemen, Rijmen, "The design of Rijndael", 2002, section 4.2 (a round as four look-ups a column).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

LANES: Final = 128
"""Blocks of the cipher that a program computes at once: four numbers each."""
ROUND_WORDS: Final = 60
"""Words of a home's round keys: four for each of fourteen rounds, and four before."""
_ROUNDS: Final = 14
_KEY_WORDS: Final = 8
_FIELD: Final = 0x11B  # the polynomial by which AES multiplies bytes


def text() -> str:
    """Return the program: ``add_rounded``, a function of Triton's."""
    return "\n".join([*_head(), *_cipher(), *_rounding(), *_end(), ""])


def _head() -> Iterator[str]:
    yield "@triton.jit"
    yield "def add_rounded(params, start, scales, bounds, keys, table, sums, homes, size, each):"
    yield f"    block = tl.program_id(0) * {LANES} + tl.arange(0, {LANES})"
    yield "    group = tl.program_id(1)"
    for k in range(4):
        yield f"    inside{k} = 4 * block + {k} < size"
        yield f"    begun{k} = tl.load(start + 4 * block + {k}, mask=inside{k}, other=0.0)"
        yield f"    total{k} = tl.zeros([{LANES}], tl.int64)"
    yield "    row = params + (group * each).to(tl.int64) * size"
    yield "    for home in range(group * each, tl.minimum(group * each + each, homes)):"
    yield "        scale = tl.load(scales + home)"
    yield "        bound = tl.load(bounds + home)"
    yield f"        own = keys + home * {ROUND_WORDS}"


def _word(pointer: str) -> str:
    return f"tl.load({pointer}).to(tl.uint32, bitcast=True)"


def _cipher() -> Iterator[str]:
    """Yield the cipher's rounds: ``s0`` to ``s3`` are the columns, high byte first."""
    for c in range(4):
        yield f"        s{c} = tl.zeros([{LANES}], tl.uint32) ^ {_word(f'own + {c}')}"
    yield "        s3 = s3 ^ block.to(tl.uint32)"  # the counter, below 2^32, in the last column
    yield f"        for turn in range(1, {_ROUNDS}):"
    for c in range(4):
        for turn in range(4):
            byte = f"(s{(c + turn) % 4} >> {24 - 8 * turn}) & 255"
            yield f"            t{turn} = {_word(f'table + ({byte}).to(tl.int32)')}"
            if turn:  # the table of the next byte is the first one's, turned by a byte
                low, high = 8 * turn, 32 - 8 * turn
                yield f"            t{turn} = (t{turn} >> {low}) | (t{turn} << {high})"
        yield f"            n{c} = t0 ^ t1 ^ t2 ^ t3 ^ {_word(f'own + 4 * turn + {c}')}"
    for c in range(4):
        yield f"            s{c} = n{c}"
    for c in range(4):
        for turn in range(4):
            byte = f"(s{(c + turn) % 4} >> {24 - 8 * turn}) & 255"
            found = _word(f"table + ({byte}).to(tl.int32)")
            yield f"        t{turn} = (({found} >> 8) & 255) << {24 - 8 * turn}"
        yield f"        n{c} = (t0 | t1 | t2 | t3) ^ {_word(f'own + {4 * _ROUNDS + c}')}"


def _rounding() -> Iterator[str]:
    """Yield, for each number of a block, its rounding by the top 24 bits of its word."""
    for k in range(4):
        # The word's bytes come lowest first; its lowest byte decides nothing.
        high, low = f"((n{k} & 255) << 16)", f"((n{k} >> 16) & 255)"
        yield f"        drawn = {high} | (n{k} & 65280) | {low}"
        yield f"        reached = tl.load(row + 4 * block + {k}, mask=inside{k}, other=0.0)"
        yield f"        x = (reached - begun{k}) * scale"
        yield "        x = tl.where(x > bound, bound, x)"
        yield "        x = tl.where(x < -bound, -bound, x)"
        yield "        below = tl.floor(x)"
        yield "        part = (x - below) * 16777216.0"
        yield "        up = part > drawn.to(tl.int32).to(tl.float32)"
        yield "        whole = below.to(tl.int32) + up.to(tl.int32)"
        yield f"        total{k} += tl.where(inside{k}, whole, 0).to(tl.int64)"


def _end() -> Iterator[str]:
    yield "        row += size"
    yield "    to = sums + group.to(tl.int64) * size + 4 * block"
    for k in range(4):
        yield f"    tl.store(to + {k}, total{k}, mask=inside{k})"


def round_keys(keys: Sequence[bytes]) -> NDArray[np.int32]:
    """Return the words that AES-256 adds in its rounds (FIPS 197, section 5.2).

    Args:
        keys: 32 bytes a home.

    Returns:
        The bits of the words, int32 ``[homes, 60]``.
    """
    given = np.frombuffer(b"".join(keys), ">u4").reshape(len(keys), _KEY_WORDS)
    words = np.zeros((len(keys), ROUND_WORDS), np.uint32)
    words[:, :_KEY_WORDS] = given
    box, constant = _box(), 1
    for at in range(_KEY_WORDS, ROUND_WORDS):
        word = words[:, at - 1]
        if at % _KEY_WORDS == 0:
            word = _substituted(box, (word << np.uint32(8)) | (word >> np.uint32(24)))
            word ^= np.uint32(constant << 24)
            constant = _doubled(constant)
        elif at % _KEY_WORDS == _KEY_WORDS // 2:
            word = _substituted(box, word)
        words[:, at] = words[:, at - _KEY_WORDS] ^ word
    return words.view(np.int32)


@cache
def table() -> NDArray[np.int32]:
    """Return what a byte of the first row becomes in a round, as a column: int32 ``[256]``."""
    box = [int(value) for value in _box()]
    words = [(_doubled(s) << 24) | (s << 16) | (s << 8) | (_doubled(s) ^ s) for s in box]
    return np.array(words, np.uint32).view(np.int32)


@cache
def _box() -> NDArray[np.uint32]:
    """Return the cipher's substitution of bytes, ``[256]``: inverses, and an affine map."""
    box = np.zeros(256, np.uint32)
    power, inverse = 1, 1
    while True:
        power ^= _doubled(power)  # times three, which generates all bytes but zero
        for shift in (1, 2, 4):  # divided by three
            inverse ^= inverse << shift
        inverse &= 0xFF
        inverse ^= 0x09 if inverse & 0x80 else 0
        turned = inverse
        for shift in (1, 2, 3, 4):
            turned ^= ((inverse << shift) | (inverse >> (8 - shift))) & 0xFF
        box[power] = turned ^ 0x63
        if power == 1:
            break
    box[0] = 0x63
    return box


def _doubled(value: int) -> int:
    double = value << 1
    return double ^ _FIELD if double > 0xFF else double  # noqa: PLR2004 - a byte


def _substituted(box: NDArray[np.uint32], words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    found = np.zeros_like(words)
    for shift in map(np.uint32, (0, 8, 16, 24)):
        found |= box[(words >> shift) & np.uint32(255)] << shift
    return found
