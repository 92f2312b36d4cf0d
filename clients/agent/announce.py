"""How a home announces its node to its fleet's server, and learns of new directories."""

from __future__ import annotations

import time

from fedhome.errors import LinkError, WireError
from fedhome.fleet.claims import Claim, Welcome
from fedhome.fleet.front_requests import JOIN, ask
from fedhome.flower.node_key import NodeKey
from fedhome.installed_build import installed_build
from fedhome.reasons import NOTHING
from fedhome.secagg import HomeKeys

_OTHER_RELEASE = frozenset({"fields", "label"})
"""Reasons why a message cannot be read that a release with other fields in it wrote."""


def join(
    address: str,
    authorities: bytes,
    *,
    fleet: bytes,
    keys: HomeKeys,
    node: NodeKey,
    saves: int,
    refused: str = NOTHING,
) -> Welcome:
    """Claim a node, and return its number and the fleet's directory.

    Args:
        address: ``host:port`` of the server's front.
        authorities: Certificates that the server's is checked against, PEM.
        fleet: The fleet's number.
        keys: The home's keys.
        node: The node's key.
        saves: How often the home's state was saved.
        refused: Why the home did not connect the last time, in one word.

    Raises:
        LinkError: ``unreachable``; or the server's reason, such as ``not-listed``, ``clock`` or
            ``version``; this also where server and home do not read each other's messages.
        WireError: The answer is no welcome.
    """
    claim = Claim(
        fleet=fleet,
        home=keys.home,
        node_key=node.public,
        time=int(time.time()),
        release=installed_build(),
        refused=refused,
        saves=saves,
    )
    try:
        return Welcome.from_bytes(ask(address, authorities, JOIN, claim.sign(keys)))
    except (LinkError, WireError) as error:
        if error.reason not in _OTHER_RELEASE:
            raise
        raise LinkError(
            f"home and server cannot read each other's messages: this home runs fedhome "
            f"{installed_build()}, and the server another release",
            reason="version",
            hint="upgrade the older one, the server first: the home connects by itself then",
        ) from None
