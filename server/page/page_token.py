"""The token by which the page knows who may see it, where it is not for this machine alone."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from contextlib import suppress
from pathlib import Path

from fedhome.errors import StateError
from fedhome.store import disk

TOKEN = "page.token"  # noqa: S105 - the name of its file
"""Its file in the server's folder."""
_BYTES = 32
_LEAST = 16  # characters, of a token that somebody has chosen


def token_of(folder: Path) -> str:
    """Return the token of a server's page; one is made where there is none.

    Args:
        folder: The server's folder.

    Raises:
        StateError: It can neither be read nor written; or ``altered``: it is too short, as the
            empty file is that a full disk leaves. With no token the page would be everybody's.
    """
    path = folder / TOKEN
    if not path.exists():
        disk.put(path, f"{secrets.token_urlsafe(_BYTES)}\n".encode())
    token = disk.read(path).decode(errors="replace").strip()
    if len(token) < _LEAST:
        raise StateError(
            f"{path} holds no token: {len(token)} characters, and {_LEAST} are needed",
            reason="altered",
            hint="remove it, and another one is made when the server starts",
        )
    return token


def permits(authorization: bytes, token: str) -> bool:
    """Whether a header shows the token, as a bearer's or as the password of any name.

    The comparison takes as long for a token that is nearly right as for any other.

    Args:
        authorization: The header; empty if there is none.
        token: The token; an empty one permits nobody.
    """
    kind, _, value = authorization.strip().partition(b" ")
    shown = b""
    if kind.lower() == b"bearer":
        shown = value.strip()
    elif kind.lower() == b"basic":
        with suppress(binascii.Error):
            shown = base64.b64decode(value.strip(), validate=True).partition(b":")[2]
    return hmac.compare_digest(shown, token.encode()) and bool(token)
