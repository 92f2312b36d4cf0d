"""The home's own keys for its devices: an authority, a certificate, and a secret of the home's.

Whoever asks knows the home's authority and trusts no other; whoever is asked takes requests with
the home's secret alone, which goes over TLS to a device that has shown the home's certificate.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Sequence
from pathlib import Path

from fedhome.errors import StateError
from fedhome.ops.tls import CA, CERTIFICATE, KEY, make_certificates
from fedhome.pipeline.part_messages import TOKEN_BYTES
from fedhome.store import disk

TOKEN = "home.token"  # noqa: S105 - a file's name


def make_keys(folder: Path, names: Sequence[str]) -> None:
    """Make the keys of a home's pipeline; ``ca.key`` need not go to any device.

    Args:
        folder: Where to; made if it is not there.
        names: Host names and addresses of the devices that are asked.

    Raises:
        StateError: ``in-use``: there are keys already; or the folder cannot be written.
    """
    if (folder / TOKEN).exists():
        raise StateError(
            f"{folder} has keys already", reason="in-use", hint="name another folder for new ones"
        )
    make_certificates(folder, names)
    disk.put(folder / TOKEN, secrets.token_bytes(TOKEN_BYTES))


def token_of(folder: Path) -> bytes:
    """Return the home's secret, 32 bytes.

    Raises:
        StateError: ``missing``, ``altered``, or ``permissions``: others may read it.
    """
    token = disk.read(folder / TOKEN)
    disk.check_private(folder / TOKEN)
    if len(token) != TOKEN_BYTES:
        raise StateError(f"{folder / TOKEN} is damaged", reason="altered", hint="copy it again")
    return token


def asking(folder: Path) -> ssl.SSLContext:
    """Return how a device asks: it trusts the home's authority alone, and checks names.

    Raises:
        StateError: The folder holds no authority.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_verify_locations(folder / CA)
    except (OSError, ssl.SSLError):
        raise _no_keys(folder) from None
    return context


def answering(folder: Path) -> ssl.SSLContext:
    """Return how a device answers: with the home's certificate.

    Raises:
        StateError: The folder holds none; or ``permissions``: others may read its key.
    """
    if (folder / KEY).exists():
        disk.check_private(folder / KEY)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(folder / CERTIFICATE, folder / KEY)
    except (OSError, ssl.SSLError):
        raise _no_keys(folder) from None
    return context


def _no_keys(folder: Path) -> StateError:
    return StateError(
        f"{folder} does not hold a home's keys",
        reason="missing",
        hint="`fedhome pipeline keys FOLDER NAMES` makes them",
    )
