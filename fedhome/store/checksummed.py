"""Files that hold no secret, with a hash against a damaged disk."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from fedhome.errors import StateError, WireError
from fedhome.store import disk
from fedhome.wire.codec import Digest, Message, octets

_Stored = TypeVar("_Stored", bound=Message)
_PUBLIC = 0o644


@dataclass(frozen=True, kw_only=True)
class ChecksummedFile(Message, label="checked", most=1 << 26):
    """A message's bytes, with their SHA-256."""

    body: Annotated[bytes, octets(most=1 << 25)]
    hash: Digest  # detects a damaged disk; whoever can write here could forge it


def put(path: Path, message: Message) -> None:
    """Write a message's file.

    Raises:
        StateError: As `disk.put`.
    """
    body = message.to_bytes()
    file = ChecksummedFile(body=body, hash=hashlib.sha256(body).digest())
    disk.put(path, file.to_bytes(), mode=_PUBLIC)


def read(path: Path, kind: type[_Stored]) -> _Stored:
    """Return the message that a file holds.

    Raises:
        StateError: ``altered``, or as `disk.read`.
    """
    try:
        file = ChecksummedFile.from_bytes(disk.read(path))
        message = kind.from_bytes(file.body)
    except WireError:
        raise damaged_error(path) from None
    if hashlib.sha256(file.body).digest() != file.hash:
        raise damaged_error(path)
    return message


def damaged_error(path: Path) -> StateError:
    """Return the error for a file that does not hold together."""
    return StateError(
        f"{path} is damaged",
        reason="altered",
        hint="bring it back from a backup; the next directory's epoch still rises",
    )
