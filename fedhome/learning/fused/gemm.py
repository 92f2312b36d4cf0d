"""Matrix products that keep a block of results in registers.

A product ``C[M, N] = A[M, K] · B[K, N]`` is cut into blocks of a few rows by one panel.
While a block is worked on, its sums stay in registers; each step along K loads one short row
of B and multiplies it with one number from each row of A. A may lie in memory in any way
(its distances along rows and along K are free), so a transposed A costs nothing. B lies in
panels, so that its next row directly follows, or row by row as a whole matrix does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedhome.learning.fused.emit import Emitter, Index, Value

UNROLL = 4  # steps along K that are written out one after the other
_CHAINS = 8  # sums in flight that hide the delay of a fused multiply-add


@dataclass(frozen=True)
class Left:
    """The operand A: its first element and the distances, in floats, to the next ones."""

    base: Value
    row: int
    depth: int


@dataclass(frozen=True)
class Right:
    """The operand B: the first element of its panel, and the distance, in floats, to a next row."""

    base: Value
    depth: int


@dataclass(frozen=True)
class Block:
    """Size of a block of results: rows by vector registers."""

    rows: int
    vectors: int

    @property
    def registers(self) -> int:
        """Registers that its sums take."""
        return self.rows * self.vectors


def row_blocks(rows: int, most: int) -> list[tuple[int, int, int]]:
    """Cut ``rows`` into blocks of nearly equal height.

    Returns:
        At most two groups of equal blocks: (first row, number of blocks, their height).
    """
    blocks = -(-rows // most)
    low, taller = divmod(rows, blocks)
    groups = [(0, taller, low + 1), (taller * (low + 1), blocks - taller, low)]
    return [group for group in groups if group[1]]


def each_row_block(e: Emitter, rows: int, body: Callable[[Index, int], None]) -> None:
    """Write loops over blocks of rows; ``body`` gets a block's first row and its height."""
    for first, blocks, height in row_blocks(rows, e.tile.rows):

        def one(
            offset: Index, _: list[Value], first: int = first, height: int = height
        ) -> list[Value]:
            body(e.add(offset, first), height)
            return []

        e.loop(blocks * height, one, step=height)


def each_panel(e: Emitter, vectors: Index, body: Callable[[Index, int], None]) -> None:
    """Write code for whole panels, then for a narrower last one.

    Args:
        e: Where the code goes.
        vectors: Vectors in all the panels together.
        body: Gets a panel's number and how many vectors of it are in use.
    """
    whole, rest = e.over(vectors, e.tile.vectors)

    def one(panel: Index, _: list[Value]) -> list[Value]:
        body(panel, e.tile.vectors)
        return []

    e.loop(whole, one)
    for narrow in range(1, e.tile.vectors):
        if not isinstance(rest, int):
            with e.when(e.builder.icmp_signed("==", rest, e.index(narrow))):
                body(whole, narrow)
        elif rest == narrow:
            body(whole, narrow)


def each_batch_block(e: Emitter, vectors: Index, body: Callable[[Index, int], None]) -> None:
    """Write a loop over blocks of a batch's rows, of which there are whole vectors.

    Args:
        e: Where the code goes.
        vectors: Vectors of rows.
        body: Gets a block's first row and its height, which divides a vector.
    """
    height = min(1 << (e.tile.rows.bit_length() - 1), e.tile.lanes)

    def one(first: Index, _: list[Value]) -> list[Value]:
        body(first, height)
        return []

    e.loop(e.times(vectors, e.tile.lanes), one, step=height)


def steps(
    e: Emitter, a: Left, b: Right, sums: list[Value], *, block: Block, count: int
) -> list[Value]:
    """Write ``count`` steps along K; several sets of sums take turns where there are any."""
    sums = list(sums)
    sets = len(sums) // block.registers
    for k in range(count):
        columns = [
            e.load_vector(b.base, k * b.depth + j * e.tile.lanes) for j in range(block.vectors)
        ]
        index = k % sets * block.registers
        for row in range(block.rows):
            factor = e.splat(e.load(a.base, row * a.row + k * a.depth))
            for column in columns:
                sums[index] = e.fma(factor, column, sums[index])
                index += 1
    return sums


def product(
    e: Emitter, a: Left, b: Right, start: list[Value], *, block: Block, depth: int
) -> list[Value]:
    """The sums of one block for a depth that is known while the code is written.

    Args:
        e: Where the code goes.
        a: Left operand from the block's first row on.
        b: Right operand.
        start: What the sums begin with, row by row.
        block: Size of the block.
        depth: The product's K.

    Returns:
        The sums, row by row.
    """
    chains = max(1, min(_CHAINS // block.registers, depth))
    sums = start + [e.number(0.0)] * (block.registers * (chains - 1))
    unroll = max(UNROLL, chains)
    whole, rest = divmod(depth, unroll)

    def some(_: Index, carried: list[Value]) -> list[Value]:
        *sums, left, right = carried
        here, beside = Left(left, a.row, a.depth), Right(right, b.depth)
        sums = steps(e, here, beside, sums, block=block, count=unroll)
        return [*sums, e.at(left, unroll * a.depth), e.at(right, unroll * b.depth)]

    *sums, left, right = e.loop(whole, some, [*sums, a.base, b.base])
    here, beside = Left(left, a.row, a.depth), Right(right, b.depth)
    sums = steps(e, here, beside, sums, block=block, count=rest)
    return fold(e, sums, block)


def fold(e: Emitter, sums: list[Value], block: Block) -> list[Value]:
    """Add up several sets of sums."""
    while len(sums) > block.registers:
        extra = sums[-block.registers :]
        sums = sums[: -block.registers]
        for index, value in enumerate(extra):
            sums[index] = e.builder.fadd(sums[index], value)
    return sums
