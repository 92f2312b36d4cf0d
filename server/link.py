"""The SuperLink as a process of its own: ``main(folder)`` runs it until it is told to stop."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fedhome.flower_link import serve_superlink
from server.place import Place

DATABASE = "superlink.db"


def main(arguments: Sequence[str]) -> int:
    """Run the SuperLink of a server's folder.

    Its database lies in the folder, if it has one, and so does whatever else Flower keeps.
    """
    place = Place(Path(arguments[0]))
    os.environ["FLWR_HOME"] = str(place.link)
    settings = place.settings
    database = place.link / DATABASE if settings.database else None
    serve_superlink(database, settings.link_port, place.secret)
    return 0
