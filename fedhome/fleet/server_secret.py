"""The keys of a fleet's server: made in the owner's folder, sealed, and copied to the server.

``server.fh`` holds them, and ``server.key`` is what it opens by; both lie in ``server/``, which is
all of the owner's folder that a server ever has.
"""

from __future__ import annotations

import os
from pathlib import Path

from fedhome.keys.sealing import KEY_BYTES, SealedFile, SealingKey
from fedhome.keys.signing import ServerKeys
from fedhome.store import disk

SERVER_FILE, SERVER_KEY = "server.fh", "server.key"
_PURPOSE = "server's key"


def create(folder: Path, *, fleet: bytes) -> ServerKeys:
    """Make the first keys of a fleet's server, and return them.

    Args:
        folder: Where they are written.
        fleet: The fleet's number, 16 bytes.

    Raises:
        StateError: A file cannot be written.
    """
    key = os.urandom(KEY_BYTES)
    disk.put(folder / SERVER_KEY, key)
    return _sealed(folder, key, fleet)


def renew(folder: Path, *, fleet: bytes) -> ServerKeys:
    """Make new keys in place of those that are there, and return them.

    Args:
        folder: Where they are.
        fleet: The fleet's number, 16 bytes.

    Raises:
        StateError: A file cannot be read or written.
    """
    return _sealed(folder, disk.read_key(folder / SERVER_KEY), fleet)


def _sealed(folder: Path, key: bytes, fleet: bytes) -> ServerKeys:
    server = ServerKeys.create()
    data = SealingKey(key).seal(server.to_bytes(), purpose=_PURPOSE, name=fleet.hex())
    disk.put(folder / SERVER_FILE, data)
    return server


def server_keys(folder: Path | str) -> ServerKeys:
    """Return the keys of a fleet's server, from the folder that the owner copied to it.

    Raises:
        StateError: A file is missing, damaged, foreign, or readable by others.
    """
    path = Path(folder) / SERVER_FILE
    sealed = SealedFile.from_file(disk.read(path), purpose=_PURPOSE, where=str(path))
    key = disk.unlock(sealed, where=str(path), passphrase=None, key_file=Path(folder) / SERVER_KEY)
    return ServerKeys.from_bytes(key.open(sealed, where=str(path)))
