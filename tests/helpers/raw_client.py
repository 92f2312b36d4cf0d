"""Connections that a test makes byte by byte, as no honest client does."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache

from helpers.patience import PATIENCE_S


@contextmanager
def connected(port: int, *, tls: bool = True) -> Iterator[socket.socket]:
    """Connect to a port on loopback."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as plain:
        if not tls:
            yield plain
            return
        with _context().wrap_socket(plain) as secured:
            yield secured


@cache
def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def until_closed(connection: socket.socket) -> bytes:
    """Return all that comes until the other end closes; an error if it never does."""
    parts = []
    with suppress(ConnectionError, ssl.SSLError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def is_closed(connection: socket.socket) -> bool:
    """Whether the other end has closed a connection by now."""
    connection.settimeout(0.0)
    try:
        return not connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except (ConnectionError, ssl.SSLError):
        return True
    finally:
        connection.settimeout(PATIENCE_S)
