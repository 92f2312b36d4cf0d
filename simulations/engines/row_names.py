"""The hashes that name a member's rows, by the processor's own SHA-256.

They are those of :func:`fedhome.secagg.share_checks.row_hashes`. One by one, most of the time goes
into joining bytes and into the calls. **For simulations only**, where all members of a process
name as many rows as there are homes. Where a processor has no SHA of x86, or no machine code may
be made, there is none of it.

Source: FIPS 180-4, section 6.2.2; Intel, "Intel SHA Extensions", 2013.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numpy.typing import NDArray

from fedhome.errors import EngineError
from fedhome.learning.fused.compiler import host_tile, machine_code
from fedhome.learning.fused.emit import I64, POINTER, Emitter, Value
from fedhome.secagg.bundle import ROW_BYTES
from fedhome.secagg.share_checks import ROW_LABEL
from fedhome.simulations.engines.aes_code import I8, WORDS, instruction
from fedhome.simulations.engines.hash_lanes import BEGIN, CONSTANTS, padding

FEATURES = "sha", "ssse3"
_BLOCK_BYTES, _HASH_BYTES, _REGISTER = 64, 32, 16
_AT_ONCE = 2  # messages whose rounds are worked out side by side: each round waits for the last

_Bytes = NDArray[np.uint8]


class _Form(NamedTuple):
    """Messages as they are hashed, but for what is the member's own.

    Args:
        statements: Of which bundles.
        name_bytes: Length of the member's name.
        messages: uint8 ``[rows, bytes]``, padded; the rows behind those asked for are zeros.
        row: Where in a message the member's row begins.
    """

    statements: list[bytes]
    name_bytes: int
    messages: _Bytes
    row: int


class RowNames:
    """The compiled function."""

    def __init__(self) -> None:
        module = ir.Module("row_names")
        kinds = [POINTER, POINTER, I64, I64]
        _write_hash(Emitter(module, host_tile(), "hash", kinds, exported=True))
        self._engine = machine_code(str(module))  # owns the code
        signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 2)
        self._hash = signature(self._engine.get_function_address("hash"))
        self._form: _Form | None = None

    def hashes(self, statements: Sequence[bytes], rows: bytes, member: str) -> bytes | None:
        """Return what :func:`fedhome.secagg.share_checks.row_hashes` does.

        Args:
            statements: Of each bundle, as of `named_row`.
            rows: The member's rows of them, one after the other.
            member: The member's name.

        Returns:
            The hashes; None where statements differ in length, or are not of as many rows.
        """
        count, name = len(statements), member.encode()
        if len(rows) != count * ROW_BYTES:
            return None
        form = self._form
        if form is None or form.name_bytes != len(name) or form.statements != statements:
            if len({*map(len, statements)}) != 1:
                return None
            form = self._form = _form_of(statements, len(name))
        messages, end = form.messages.copy(), form.row + ROW_BYTES  # other threads have theirs
        messages[:count, form.row : end] = np.frombuffer(rows, np.uint8).reshape(count, -1)
        messages[:count, end : end + len(name)] = np.frombuffer(name, np.uint8)
        made = np.empty((len(messages), _HASH_BYTES), np.uint8)
        blocks = messages.shape[1] // _BLOCK_BYTES
        self._hash(messages.ctypes.data, made.ctypes.data, len(messages), blocks)
        return made[:count].tobytes()


@cache
def row_names_if_any() -> RowNames | None:
    """Return the compiled function; None where this processor or system has none."""
    features = binding.get_host_cpu_features()
    if "x86_64" not in binding.get_process_triple() or not all(map(features.get, FEATURES)):
        return None
    try:
        return RowNames()
    except EngineError:
        return None


def _form_of(statements: Sequence[bytes], name_bytes: int) -> _Form:
    count, row = len(statements), len(ROW_LABEL) + len(statements[0])
    size = row + ROW_BYTES + name_bytes
    after = padding(size)
    messages = np.zeros((-(-count // _AT_ONCE) * _AT_ONCE, size + len(after)), np.uint8)
    starts = b"".join([ROW_LABEL + one for one in statements])
    messages[:count, :row] = np.frombuffer(starts, np.uint8).reshape(count, row)
    messages[:, size:] = np.frombuffer(after, np.uint8)
    return _Form([*statements], name_bytes, messages, row)


def _write_hash(e: Emitter) -> None:
    """``hash(messages, hashes, rows, blocks)``: uint8 ``[rows, 64 blocks]`` and ``[rows, 32]``.

    Args:
        e: Where to; ``rows`` is a multiple of `_AT_ONCE`.
    """
    b = e.builder
    messages, hashes, rows, blocks = e.arguments
    # Of the eight words A to H of a state, one register holds F, E, B, A and one H, G, D, C.
    a, b_, c, d, e_, f, g, h = (int(word) for word in BEGIN)
    begin = [ir.Constant(WORDS, [f, e_, b_, a]), ir.Constant(WORDS, [h, g, d, c])]
    size = e.times(blocks, _BLOCK_BYTES)

    def some_rows(row: Any, _: list[Value]) -> list[Value]:
        places = [
            e.at(messages, e.times(e.add(row, number), size), I8) for number in range(_AT_ONCE)
        ]

        def one_block(at: Any, states: list[Value]) -> list[Value]:
            loaded = [e.at(place, at, I8) for place in places]
            pairs = [(states[2 * n], states[2 * n + 1]) for n in range(_AT_ONCE)]
            made = _compressed(e, loaded, pairs)
            return [word for pair in made for word in pair]

        states = e.loop(size, one_block, begin * _AT_ONCE, step=_BLOCK_BYTES)
        for number in range(_AT_ONCE):
            first, second = states[2 * number], states[2 * number + 1]
            place = e.at(hashes, e.times(e.add(row, number), _HASH_BYTES), I8)
            for half, order in enumerate(([3, 2, 7, 6], [1, 0, 5, 4])):
                words = _swapped(e, e.shuffle(first, second, order))
                b.store(words, e.at(place, half * _REGISTER, I8), align=1)
        return []

    e.loop(rows, some_rows, step=_AT_ONCE)
    b.ret_void()


def _compressed(
    e: Emitter, blocks: Sequence[Value], states: Sequence[tuple[Value, Value]]
) -> list[tuple[Value, Value]]:
    """Return states after one block of each message.

    Args:
        e: Where to.
        blocks: Addresses of the blocks.
        states: Of each message both registers.
    """
    b = e.builder
    two_rounds = instruction(e, "llvm.x86.sha256rnds2", WORDS, [WORDS] * 3)
    early, late = (
        instruction(e, f"llvm.x86.sha256{name}", WORDS, [WORDS] * 2) for name in ("msg1", "msg2")
    )
    words = [
        [
            _swapped(e, b.load(e.at(block, at, I8), typ=WORDS, align=1))
            for at in range(0, _BLOCK_BYTES, _REGISTER)
        ]
        for block in blocks
    ]
    now = list(states)
    for number in range(len(CONSTANTS) // 4):
        constants = ir.Constant(WORDS, [int(one) for one in CONSTANTS[4 * number :][:4]])
        for message, of_message in enumerate(words):
            if number >= 4:  # noqa: PLR2004 - the block itself is used up
                oldest, older, old, last = of_message[-4:]
                between = e.shuffle(old, last, [1, 2, 3, 4])
                following = b.add(b.call(early, [oldest, older]), between)
                of_message.append(b.call(late, [following, last]))
            added = b.add(of_message[number], constants)
            first, second = now[message]
            second = b.call(two_rounds, [second, first, added])
            rest = e.shuffle(added, added, [2, 3, 2, 3])
            first = b.call(two_rounds, [first, second, rest])
            now[message] = first, second
    return [
        (b.add(first, before[0]), b.add(second, before[1]))
        for (first, second), before in zip(now, states, strict=True)
    ]


def _swapped(e: Emitter, words: Value) -> Value:
    """Return words with their bytes in the other order."""
    return e.builder.call(instruction(e, "llvm.bswap.v4i32", WORDS, [WORDS]), [words])
