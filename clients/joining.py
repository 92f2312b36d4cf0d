"""How a home announces its node to its fleet's server, and learns of new directories."""

from __future__ import annotations

import json
import ssl
import time
from importlib.metadata import version

import httpx

from fedhome.flower_fleet import LinkError, NodeKey
from fedhome.joining import PATH, Claim, Welcome
from fedhome.secagg import HomeKeys

_WAIT_S = 15.0


def join(
    address: str, authorities: bytes, *, fleet: bytes, keys: HomeKeys, node: NodeKey
) -> Welcome:
    """Claim a node, and return its number and the fleet's directory.

    Args:
        address: ``host:port`` of the server's front.
        authorities: Certificates that the server's is checked against, PEM.
        fleet: The fleet's number.
        keys: The home's keys.
        node: The node's key.

    Raises:
        LinkError: ``unreachable``; or ``refused``, with the server's reason.
        WireError: The answer is no welcome.
    """
    claim = Claim(
        fleet=fleet,
        home=keys.home,
        node_key=node.public,
        time=int(time.time()),
        release=version("fedhome"),
    )
    context = ssl.create_default_context(cadata=authorities.decode("ascii"))
    try:
        with httpx.Client(verify=context, timeout=_WAIT_S) as client:
            told = client.post(f"https://{address}{PATH}", content=claim.sign(keys))
    except (httpx.HTTPError, OSError) as error:
        raise LinkError(
            f"the server at {address} cannot be reached: {error or type(error).__name__}",
            reason="unreachable",
        ) from None
    if told.status_code == httpx.codes.FORBIDDEN:
        raise _refusal(told)
    if not told.is_success:
        raise LinkError(f"the server answers {told.status_code}", reason="unreachable")
    return Welcome.from_bytes(told.content)


def _refusal(response: httpx.Response) -> LinkError:
    try:
        told = json.loads(response.text)
        message, hint = str(told["message"])[:300], str(told["hint"])[:300]
    except (ValueError, KeyError, TypeError):
        message, hint = "the server refuses this home", ""
    return LinkError(message, reason="refused", hint=hint)
