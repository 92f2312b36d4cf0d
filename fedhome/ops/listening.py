"""Where a process of this machine can listen, and what keeps it from an address."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final

_TAKEN, _REFUSED = os.strerror(errno.EADDRINUSE), os.strerror(errno.EACCES)
FREE_S: Final = 15.0
"""Seconds that a server waits for its address: what a killed one left there ends in that time."""


def what_to_do(why: str) -> str:
    """Return what to do where a server cannot listen at its address.

    Args:
        why: Why not, as of `why_taken`; or the system's words for it.
    """
    if why.startswith(_TAKEN):
        return (
            "end what else listens there, or name a port that is free: port in server.toml, or "
            "page for the page"
        )
    if why.startswith(_REFUSED):
        return (
            "name a port from 1024 on, which every account may use: port in server.toml, or "
            "page for the page"
        )
    return (
        "name an address of this machine, such as 0.0.0.0 for all that it has: host in "
        "server.toml, or page for the page"
    )


def why_taken(host: str, port: int) -> str:
    """Return why nothing can listen at an address now, in the system's words; empty: it can.

    Args:
        host: Address of this machine.
        port: Its port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return "this machine has no such address"
        return error.strerror or str(error)  # of a name, the resolver's words: its errno is its own
    return ""


def free_port() -> int:
    """Return a port of this machine's loopback that is free now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
