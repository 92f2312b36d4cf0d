"""A home's heartbeat: by it the server knows that a home that asks nothing is there."""

from __future__ import annotations

import threading

from fedhome.errors import LinkError
from fedhome.flower.fleet_connection import FleetConnection
from fedhome.wire.exchange import HEARTBEAT_S

_AGAIN_S = 1.0  # after a beat that did not get through


def keep_alive(connection: FleetConnection, gone: threading.Event) -> None:
    """Keep a node alive at the server; a refusal ends the connection.

    What it asks or sends is as good as a heartbeat, and so is a question that waits: there is one
    only where it has been quiet for a while, as it works on a long answer. A beat that does not get
    through is tried again soon: two that are missed, and the server takes the home for gone, with
    what it was asked.

    Args:
        connection: The home's.
        gone: Set from outside to end, and from here where the server refuses.
    """
    pause_s = wait_s = 0.8 * HEARTBEAT_S
    while not gone.wait(wait_s):
        left_s = pause_s - connection.quiet_s
        wait_s = left_s if left_s > 0 else pause_s
        if left_s > 0:
            continue
        try:
            connection.beat()
        except LinkError as error:
            wait_s = _AGAIN_S
            if error.reason in {"refused", "node"}:
                gone.set()
