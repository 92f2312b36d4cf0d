"""What a home answers to the questions of the protocol itself: for keys, and for a member's help.

Neither Flower nor torch is imported: an agent answers so, and so does a simulation's worker.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fedhome.errors import UpdateError
from fedhome.secagg import HomeParty


def asked_parts(record: Mapping[str, Any] | None) -> dict[str, bytes]:
    """Return what a message asks of the protocol, by name.

    Args:
        record: The message's record for a sum; None where it has none.

    Raises:
        UpdateError: It asks for nothing.
    """
    asked = {} if record is None else dict(record)
    parts = {name: data for name, data in asked.items() if isinstance(data, bytes)}
    if not parts:
        raise _nothing()
    return parts


def answered(asked: Mapping[str, bytes], machine: HomeParty, *, now: float) -> dict[str, bytes]:
    """Return what a home sends, by name.

    Args:
        asked: From :func:`asked_parts`.
        machine: The home's machine.
        now: Unix time, s.

    Raises:
        SecAggError: The home refuses.
        UpdateError: It is asked for nothing that it knows.
    """
    sent: dict[str, bytes] = {}
    if "ring" in asked:
        sent["bundle"] = machine.bundle(asked["ring"], now=now)
    if "share-key" in asked:
        sent["share-key"] = machine.share_key(now=now)
    if "check" in asked:
        sent["checked"] = machine.check(asked["check"], now=now)
    if "dispute" in asked:
        sent["shown-key"] = machine.show_key(asked["dispute"], now=now)
    if "request" in asked:
        sent["answer"] = machine.answer(asked["request"], now=now)
    if not sent:
        raise _nothing()
    return sent


def _nothing() -> UpdateError:
    return UpdateError("a member was asked for help, but not with what")
