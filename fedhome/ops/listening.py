"""Whether a process can listen at an address of this machine."""

from __future__ import annotations

import errno
import socket
from typing import Final

FREE_S: Final = 15.0
"""Seconds that a server waits for its address: what a killed one left there ends in that time."""

NO_ADDRESS: Final = (
    "end what else listens there; or set host in server.toml to an address of this machine, such "
    "as 0.0.0.0 for all that it has, or port to one that is free"
)
"""What to do where a server cannot listen at its address."""


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
