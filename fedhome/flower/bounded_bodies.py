"""Bodies of nodes' requests at the SuperLink, of which it holds no more than it waits for."""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import HTTPException, Request
from flwr.supercore.constant import FLEET_HTTP_PUBLIC_KEY_HEADER

from fedhome.flower.indexed_state import IndexedLinkState

UNKNOWN, TOO_LARGE, BUSY = 401, 413, 503


class BoundedBodies:
    """What is being read and handled of each node's requests, in bytes.

    Args:
        state: Returns Flower's state, with what nodes may send.
    """

    def __init__(self, state: Callable[[], IndexedLinkState]) -> None:
        self._state = state
        self._held: Counter[int] = Counter()

    @asynccontextmanager
    async def body(self, request: Request, *, of_reply: bool = False) -> AsyncIterator[bytes]:
        """Read a request's body, which counts until it was handled.

        The key in its head says whose it is; whether that has signed it was looked at by the front,
        and is again by whoever handles it. What is too much is dropped as it comes, and not cut
        off: the front passes it on, and hears the answer at its end. What would be none too much
        if less came beside it may be sent again: of a line that broke, much may still be here.

        Args:
            request: Not read yet.
            of_reply: Whether it can be nothing but an object of a reply that was announced.

        Raises:
            HTTPException: 401: no node has its key, as after a restart; 413: it is more than is
                waited for; 503: it is with what else this node sends now.
        """
        node = self._state().get_node_id_by_public_key(_key(request)) or 0
        held = self._state().held
        allowed = held.left if of_reply else held.room
        pieces, size, whole, fits = list[bytes](), 0, 0, True
        try:
            async for piece in request.stream():
                whole += len(piece)
                room = allowed(node) - self._held[node]
                fits = fits and len(piece) <= room
                if fits:
                    pieces.append(piece)
                    size += len(piece)
                    self._held[node] += len(piece)
                elif size:
                    self._held[node] -= size
                    pieces, size = [], 0
            if not fits:
                refused = TOO_LARGE if whole > allowed(node) else BUSY
                raise HTTPException(refused if node else UNKNOWN, "too-large")
            yield b"".join(pieces)
        finally:
            self._held[node] -= size
            if not self._held[node]:
                del self._held[node]


def _key(request: Request) -> bytes:
    try:
        return b64decode(request.headers[FLEET_HTTP_PUBLIC_KEY_HEADER], validate=True)
    except (KeyError, ValueError):  # binascii's is one
        return b""
