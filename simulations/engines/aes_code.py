"""AES-256 by the processor's own instructions, as code that other kernels are written with.

Source: FIPS 197, section 5.2 (key expansion); Intel, "AES New Instructions Set", 2010, figure 25.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from fedhome.learning.fused.emit import I32, I64, Emitter, Value

BLOCK_BYTES, KEY_BYTES, ROUNDS = 16, 32, 14
I8 = ir.IntType(8)
BLOCK, WORDS = ir.VectorType(I64, 2), ir.VectorType(I32, 4)


def enciphered(e: Emitter, blocks: list[Value], round_keys: Value, wide: int) -> list[Value]:
    """Return blocks enciphered under the round keys at an address.

    Args:
        e: Where to.
        blocks: Registers of i64; they go through the rounds together, as one waits for the others.
        round_keys: Of each round a register.
        wide: How many blocks a register holds.
    """
    b, size = e.builder, BLOCK_BYTES * wide
    kind = ir.VectorType(I64, 2 * wide)

    def key(number: int) -> Value:
        return b.load(e.at(round_keys, number * size, I8), typ=kind, align=BLOCK_BYTES)

    suffix = "" if wide == 1 else ".256"
    inner, last = (
        instruction(e, f"llvm.x86.aesni.{name}{suffix}", kind, [kind, kind])
        for name in ("aesenc", "aesenclast")
    )
    blocks = [b.xor(block, key(0)) for block in blocks]
    for number in range(1, ROUNDS):
        blocks = [b.call(inner, [block, key(number)]) for block in blocks]
    return [b.call(last, [block, key(ROUNDS)]) for block in blocks]


def expanded(e: Emitter, even: Value, odd: Value) -> list[Value]:
    """Return the round keys of AES-256 for both halves of a key."""
    b = e.builder
    assist = instruction(e, "llvm.x86.aesni.aeskeygenassist", BLOCK, [BLOCK, I8])

    def following(before: Value, of: Value, constant: int, lane: int) -> Value:
        """Return the next key of a half: its words summed up, and one word of the other half."""
        words, zeros = b.bitcast(before, WORDS), ir.Constant(WORDS, None)
        for _ in range(3):
            words = b.xor(b.bitcast(before, WORDS), e.shuffle(zeros, words, [0, 4, 5, 6]))
        helped = b.bitcast(b.call(assist, [of, ir.Constant(I8, constant)]), WORDS)
        return b.bitcast(b.xor(words, e.shuffle(helped, helped, [lane] * 4)), BLOCK)

    made = [even, odd]
    for power in range(ROUNDS // 2):
        even = following(even, odd, 1 << power, 3)
        odd = following(odd, even, 0, 2)
        made += [even, odd]
    return made[: ROUNDS + 1]


def key_halves(e: Emitter, key: Value) -> tuple[Value, Value]:
    """Return both halves of the key at an address."""
    first, second = (
        e.builder.load(e.at(key, at, I8), typ=BLOCK, align=1) for at in (0, BLOCK_BYTES)
    )
    return first, second


def instruction(e: Emitter, name: str, result: Any, arguments: list[Any]) -> Value:
    """Return an instruction of the processor as a function."""
    found = e.module.globals.get(name)
    return found or ir.Function(e.module, ir.FunctionType(result, arguments), name)
