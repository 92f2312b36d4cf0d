"""A device that carries a part of the network: it is given layers, and computes with them.

Each connection has layers of its own, which go with it; nothing is written to a disk.
"""

from __future__ import annotations

import hmac
import logging
import socketserver
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fedhome.errors import FedHomeError, WireError
from fedhome.pipeline.home_keys_folder import answering, token_of
from fedhome.pipeline.layer_slice import Floats, LayerSlice
from fedhome.pipeline.part_messages import (
    BACKWARD,
    FORWARD,
    GIVE,
    LOAD,
    MOST_FAULT,
    STRANGE,
    TOKEN_BYTES,
    WELCOME,
    PartAnswer,
    PartRequest,
    exactly,
    layers_in,
    packed,
    receive,
    send,
    unpacked,
)
from fedhome.plugins import look_up

_STRANGER_S: Final = 10.0
_IDLE_S: Final = 600.0
MOST_CONNECTIONS: Final = 32
"""That are served at once; another one is hung up on, so that strangers fill no memory."""
_ROOM: Final = 1 << 20  # of a message beside its numbers
_log = logging.getLogger("fedhome.pipeline")


class _Part:
    """The layers of one connection.

    Args:
        memory_bytes: What they may take.
    """

    def __init__(self, memory_bytes: int) -> None:
        self._memory_bytes = memory_bytes
        self._slice: LayerSlice | None = None

    def answer(self, request: PartRequest) -> list[Floats]:
        """Do what a request asks, and return what came of it.

        Raises:
            FedHomeError: It cannot be done.
        """
        do: Callable[[PartRequest], list[Floats]] = look_up(
            {
                LOAD: self._load,
                FORWARD: self._forward,
                BACKWARD: self._backward,
                GIVE: self._give,
            },
            request.what,
            "request",
        )
        return do(request)

    def _load(self, request: PartRequest) -> list[Floats]:
        arrays = unpacked(request.numbers)
        size = sum(one.nbytes for one in arrays)
        if size > self._memory_bytes:
            raise WireError(
                f"layers of {size:,} bytes came, and this device takes {self._memory_bytes:,}",
                reason="size",
            )
        self._slice = LayerSlice(layers_in(arrays), last=bool(request.last))
        return []

    def _forward(self, request: PartRequest) -> list[Floats]:
        return [self._loaded().forward(_one(request))]

    def _backward(self, request: PartRequest) -> list[Floats]:
        (rate,) = struct.unpack("<d", request.rate)
        return [self._loaded().backward(_one(request), rate)]

    def _give(self, request: PartRequest) -> list[Floats]:
        del request
        return [array for layer in self._loaded().layers for array in layer]

    def _loaded(self) -> LayerSlice:
        if self._slice is None:
            raise WireError("nothing was loaded on this connection", reason="state")
        return self._slice


def _one(request: PartRequest) -> Floats:
    arrays = unpacked(request.numbers)
    if len(arrays) != 1:
        raise WireError("one table of numbers was expected", reason="shape")
    return arrays[0]


class PartServer(socketserver.ThreadingTCPServer):
    """Answers a home's other devices; use it in a ``with``, and let it `serve_forever`.

    Args:
        keys: Folder of the home's keys.
        host: Address to listen at.
        port: Port; 0: any that is free.
        memory_bytes: What the layers of one connection may take.

    Raises:
        StateError: The folder holds no keys.
        OSError: The port cannot be had.
    """

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, keys: Path, *, host: str, port: int, memory_bytes: int = 1 << 26) -> None:
        self.context, self.token = answering(keys), token_of(keys)
        self.memory_bytes = memory_bytes
        self._places = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__((host, port), _Handler)

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return int(self.server_address[1])

    def verify_request(self, request: object, client_address: object) -> bool:
        """Return whether there is a place for one more connection, and take it."""
        del request, client_address
        if self._places.acquire(blocking=False):
            return True
        _log.warning("a connection was hung up on: %d are open", MOST_CONNECTIONS)
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection, and give its place back."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()


class _Handler(socketserver.BaseRequestHandler):
    server: PartServer

    def handle(self) -> None:
        self.request.settimeout(_STRANGER_S)
        try:
            with self.server.context.wrap_socket(self.request, server_side=True) as connection:
                self._answer_all(connection)
        except (OSError, FedHomeError) as error:  # a stranger, or a device that went away
            _log.info("a connection has ended: %s", type(error).__name__)

    def _answer_all(self, connection: ssl.SSLSocket) -> None:
        if not hmac.compare_digest(exactly(connection, TOKEN_BYTES), self.server.token):
            _log.warning("somebody without the home's secret was refused")
            connection.sendall(STRANGE)
            return
        connection.sendall(WELCOME)
        connection.settimeout(_IDLE_S)
        part = _Part(self.server.memory_bytes)
        while data := receive(connection, most=self.server.memory_bytes + _ROOM):
            send(connection, _answered(part, PartRequest.from_bytes(data)))


def _answered(part: _Part, request: PartRequest) -> PartAnswer:
    try:
        return PartAnswer(fault=b"", numbers=packed(part.answer(request)))
    except FedHomeError as error:
        return PartAnswer(fault=error.message.encode()[:MOST_FAULT], numbers=())
