"""What devices of a home say to each other: a request and an answer, each with its length."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import WireError
from fedhome.pipeline.layer_slice import Floats, Layer
from fedhome.wire.codec import Message, number, octets, several, text

TOKEN_BYTES: Final = 32
MOST_BYTES: Final = 1 << 28
"""What one message has at most."""
WELCOME, STRANGE = b"\1", b"\0"
"""What a device says to the secret that it is sent first."""
MOST_FAULT: Final = 400
LOAD, FORWARD, BACKWARD, GIVE = "load", "forward", "backward", "give"
_LENGTH = 4


@dataclass(frozen=True, kw_only=True)
class FloatTable(Message, label="pipeline-numbers", most=MOST_BYTES):
    """float32 numbers in rows; ``columns`` 0: a bias."""

    rows: Annotated[int, number(MOST_BYTES)]
    columns: Annotated[int, number(MOST_BYTES)]
    data: Annotated[bytes, octets(most=MOST_BYTES)]


_Several = Annotated[tuple[FloatTable, ...], several(FloatTable.kind(), most=256)]


@dataclass(frozen=True, kw_only=True)
class PartRequest(Message, label="pipeline-request", most=MOST_BYTES):
    """What is asked of a part: what to do, with which numbers.

    ``last`` is 1 where the network's last layer is loaded; ``rate`` one little-endian double.
    """

    what: Annotated[str, text(16)]
    last: Annotated[int, number(1)]
    rate: Annotated[bytes, octets(8)]
    numbers: _Several


@dataclass(frozen=True, kw_only=True)
class PartAnswer(Message, label="pipeline-answer", most=MOST_BYTES):
    """What came of it; ``fault`` is empty, or says why nothing did."""

    fault: Annotated[bytes, octets(most=MOST_FAULT)]
    numbers: _Several


def packed(arrays: Sequence[NDArray[np.float32]]) -> tuple[FloatTable, ...]:
    """Return arrays of one or two dimensions as they travel."""
    return tuple(
        FloatTable(
            rows=len(one),
            columns=one.shape[1] if one.ndim == 2 else 0,  # noqa: PLR2004
            data=np.ascontiguousarray(one, "<f4").tobytes(),
        )
        for one in arrays
    )


def unpacked(numbers: Sequence[FloatTable]) -> list[Floats]:
    """Return the arrays that `packed` packed.

    Raises:
        WireError: The numbers do not have the shape that they say.
    """
    found = []
    for one in numbers:
        if len(one.data) != 4 * one.rows * (one.columns or 1):
            raise WireError("numbers of another shape than they say came", reason="shape")
        array = np.frombuffer(one.data, "<f4").astype(np.float32)
        found.append(array.reshape(one.rows, one.columns) if one.columns else array)
    return found


def layers_in(arrays: Sequence[Floats]) -> list[Layer]:
    """Return layers from arrays that are a weight and a bias in turn.

    Raises:
        WireError: They are not, or a layer does not read what the one before it makes.
    """
    pairs = list(zip(arrays[::2], arrays[1::2], strict=False))
    fits = bool(pairs) and len(arrays) % 2 == 0
    fits = fits and all(w.ndim == 2 and b.shape == w.shape[:1] for w, b in pairs)  # noqa: PLR2004
    if not fits or any(a[0].shape[0] != b[0].shape[1] for a, b in pairwise(pairs)):
        raise WireError("layers came that are none", reason="shape")
    return pairs


def send(connection: socket.socket, message: Message) -> None:
    """Send a message with its length before it."""
    data = message.to_bytes()
    connection.sendall(len(data).to_bytes(_LENGTH, "big") + data)


def receive(connection: socket.socket, *, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of the next message; none where the other end has closed.

    Args:
        connection: Where from.
        most: How many bytes it may have.

    Raises:
        WireError: It is longer than one may be, or breaks off.
    """
    head = exactly(connection, _LENGTH)
    if not head:
        return b""
    size = int.from_bytes(head, "big")
    if size > most:
        raise WireError(f"a message of {size:,} bytes is announced", reason="size")
    data = exactly(connection, size)
    if len(data) < size:
        raise WireError("a message breaks off", reason="size")
    return data


def exactly(connection: socket.socket, size: int) -> bytes:
    """Return this many bytes; fewer where the other end has closed before."""
    parts, have = list[bytes](), 0
    while have < size:
        part = connection.recv(min(size - have, 1 << 20))
        if not part:
            break
        parts.append(part)
        have += len(part)
    return b"".join(parts)
