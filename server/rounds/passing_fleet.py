"""Enrols simulated homes behind Flower's nodes in a fleet that lasts as long as the run.

Under ``flwr run`` with Flower's simulation nobody owns a fleet, so the ServerApp is its
authority too. Against such a server the protocol promises a home nothing: it could sign homes
of its own invention. It shows that everything works over Flower's own messages.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedhome.errors import FedHomeError, RoundError
from fedhome.flower.messages import blobs_of, config_content
from fedhome.plan.protocol import parameters_of
from fedhome.plan.settings import Plan
from fedhome.secagg import Authority, Directory, HomeEntry, ServerKeys
from fedhome.server.rounds.masked_sums import ProtocolChannel
from fedhome.server.rounds.reply_stream import replies_of
from fedhome.wire.names import DIRECTORY, ENROL


def enrol(grid: Grid, plan: Plan, *, timeout_s: float) -> ProtocolChannel:
    """Enrol every connected home, and return the channel of the run's sums.

    Args:
        grid: Flower's grid.
        plan: The plan.
        timeout_s: How long homes are waited for.

    Raises:
        RoundError: A home refused to enrol, or gave no answer.
        PlanError: The plan's parameters do not hold for this many homes.
    """
    content = RecordDict({"config": ConfigRecord()})
    entries = {
        node: HomeEntry.from_bytes(blobs.get("entry", b""))
        for node, blobs in _ask(grid, ENROL, content, timeout_s).items()
    }
    derived = parameters_of(plan, len(entries))
    authority, server = Authority.create(), ServerKeys.create()
    directory = Directory(
        fleet=os.urandom(16),
        epoch=1,
        seed=os.urandom(32),
        server=server.public,
        committee=derived.committee,
        corrupt=derived.corrupt,
        threshold=derived.threshold,
        homes=tuple(sorted(entries.values(), key=lambda entry: entry.home)),
    )
    settings = {"authority": authority.public, "directory": authority.issue(directory)}
    _ask(grid, DIRECTORY, config_content(settings), timeout_s)
    return ProtocolChannel(
        grid,
        plan,
        {node: entry.home for node, entry in entries.items()},
        directory=directory,
        keys=server,
        run=os.urandom(16),
    )


def _ask(
    grid: Grid, kind: str, content: RecordDict, timeout_s: float
) -> Mapping[int, dict[str, bytes]]:
    nodes = list(grid.get_node_ids())
    messages = [Message(content, dst_node_id=node, message_type=kind) for node in nodes]
    blobs_by_node: dict[int, dict[str, bytes]] = {}
    reasons = set()
    for index, reply in replies_of(grid, messages, timeout_s):
        try:
            blobs_by_node[nodes[index]] = blobs_of(reply)
        except FedHomeError as error:
            reasons.add(error.message)
    if len(blobs_by_node) < len(nodes):
        raise RoundError(
            f"{len(nodes) - len(blobs_by_node)} of {len(nodes)} homes did not enrol: "
            f"{'; '.join(sorted(reasons)[:3]) or 'they gave no answer'}",
            hint='aggregation.mode = "plain" needs no enrolment, and keeps nothing from the server',
        )
    return blobs_by_node
