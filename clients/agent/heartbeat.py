"""A home's heartbeat: by it the server knows that the home is there."""

from __future__ import annotations

import threading

from fedhome.errors import LinkError
from fedhome.flower.fleet_connection import HEARTBEAT_S, FleetConnection

_AGAIN_S = 1.0  # after a beat that did not get through


def keep_alive(connection: FleetConnection, gone: threading.Event) -> None:
    """Keep a node alive at the server; a refusal ends the connection.

    A beat that does not get through is tried again soon: two that are missed, and the server takes
    the home for gone, with what it was asked.

    Args:
        connection: The home's.
        gone: Set from outside to end, and from here where the server refuses.
    """
    wait_s = 0.8 * HEARTBEAT_S
    while not gone.wait(wait_s):
        wait_s = 0.8 * HEARTBEAT_S
        try:
            connection.beat()
        except LinkError as error:
            wait_s = _AGAIN_S
            if error.reason in {"refused", "node"}:
                gone.set()
