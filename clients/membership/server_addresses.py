"""Where a home looks for its server: where its invite says, and where the owner says it has moved.

In ``move.fh`` of the home's folder lies the owner's word, as it came with a release.
"""

from __future__ import annotations

from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.errors import DirectoryError
from fedhome.fleet.server_move import MOVE, ServerMove
from fedhome.keys.roots import Root
from fedhome.store import disk


def addresses_of(home_folder: HomeFolder, root: Root) -> tuple[str, ...]:
    """Return the addresses of a home's server, one or two.

    Args:
        home_folder: The home's folder.
        root: The owner's newest keys that the home knows.

    Raises:
        RunError: The home's settings are damaged.
        StateError: A file cannot be read.
    """
    own, move = home_folder.settings.server, _known(home_folder, root)
    return (own,) if move is None or move.server == own else (own, move.server)


def hear_move(home_folder: HomeFolder, data: bytes, root: Root) -> str | None:
    """Keep the owner's word on where the server moves; return the address if it is new.

    Args:
        home_folder: The home's folder.
        data: As the server hands it over; empty: it does not move.
        root: The owner's newest keys that the home knows.

    Raises:
        DirectoryError: A reason of `ServerMove.verify`: it does not hold, and is not kept.
        StateError: It cannot be kept.
    """
    if not data:
        return None
    move, known = ServerMove.verify(data, root), _known(home_folder, root)
    if known is not None and move.time <= known.time:
        return None
    disk.put(home_folder.path / MOVE, data)
    return move.server


def _known(home_folder: HomeFolder, root: Root) -> ServerMove | None:
    """Return the word that was kept; None where there is none that still holds."""
    path = home_folder.path / MOVE
    if not path.exists():
        return None
    try:
        return ServerMove.verify(disk.read(path), root)
    except DirectoryError:  # damaged, or of keys that count no more: the next one takes its place
        return None
