"""Simulated homes behind Flower's own nodes: keys made at the first request, kept by Flower.

Under ``flwr run`` with Flower's simulation, homes live in processes that come and go; what a
home must remember is in its node's context. Such a home trusts the first authority that it
meets: there is no owner who could have given it a key. A real home never does.
"""

from __future__ import annotations

from flwr.app import ConfigRecord, Context, Message

from fedhome import secagg
from fedhome.clients.secure_sums import Participant
from fedhome.errors import DirectoryError, StateError
from fedhome.flower.messages import blob_reply, content_of
from fedhome.secagg import HomeKeys, HomeState, Policy

_RECORD = "fedhome"


class ContextStore:
    """A home's state in the context of its Flower node.

    Args:
        record: The context's record.
    """

    def __init__(self, record: ConfigRecord) -> None:
        self._record = record

    def save(self, state: HomeState) -> None:
        """Put the state into the context, which Flower keeps between messages."""
        self._record["state"] = state.to_bytes()


def has_directory(context: Context) -> bool:
    """Return whether the home behind a node has taken a directory."""
    return "directory" in _record(context)


def enrol(message: Message, context: Context, home: str) -> Message:
    """Answer with the home's public keys; make them first where there are none."""
    record = _record(context)
    if "keys" not in record:
        record["keys"] = HomeKeys.create(home).to_bytes()
    return blob_reply(message, {"entry": _keys(record).entry().to_bytes()})


def take_directory(message: Message, context: Context, policy: Policy) -> Message:
    """Take the directory of the fleet; its authority too, if it is the first.

    Raises:
        DirectoryError: Another authority than the first, or a directory that does not hold.
    """
    record, values = _record(context), content_of(message)[1]
    authority, directory = values.get("authority"), values.get("directory")
    if not isinstance(authority, bytes) or not isinstance(directory, bytes):
        raise DirectoryError("a directory was announced, but did not come", reason="missing")
    if record.setdefault("authority", authority) != authority:
        raise DirectoryError("a directory came from another authority", reason="signature")
    record["directory"] = directory
    participant_of(context, policy)
    return blob_reply(message, {})


def participant_of(context: Context, policy: Policy) -> Participant:
    """Return the home's part in secure sums, from its node's context.

    Raises:
        StateError: The home is not enrolled.
        DirectoryError: Its directory does not hold.
    """
    record = _record(context)
    authority, directory = record.get("authority"), record.get("directory")
    if not isinstance(authority, bytes) or not isinstance(directory, bytes):
        raise StateError("this home is not enrolled in a fleet", reason="missing")
    state = record.get("state")
    machine = secagg.HomeParty(
        _keys(record),
        authority,
        policy=policy,
        state=HomeState.from_bytes(state) if isinstance(state, bytes) else HomeState(),
        store=ContextStore(record),
    )
    machine.renew(directory)
    return Participant(machine)


def _record(context: Context) -> ConfigRecord:
    record = context.state.get(_RECORD)
    if not isinstance(record, ConfigRecord):
        record = context.state[_RECORD] = ConfigRecord()
    return record


def _keys(record: ConfigRecord) -> HomeKeys:
    data = record.get("keys")
    if not isinstance(data, bytes):
        raise StateError("this home has no keys yet", reason="missing")
    return HomeKeys.from_bytes(data)
