"""The SuperLink as a process of its own: ``main(folder)`` runs it until it is told to stop."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from fedhome.flower.superlink import serve_superlink
from fedhome.ops.processes import allow_many_files
from fedhome.server.daemon.server_folder import ServerFolder


def main(arguments: Sequence[str]) -> int:
    """Run the SuperLink of a server's folder.

    Its state is in memory alone; whatever else Flower keeps lies in the folder.
    """
    server_folder = ServerFolder(Path(arguments[0]))
    os.environ["FLWR_HOME"] = str(server_folder.link)
    allow_many_files()
    serve_superlink(server_folder.link, server_folder.secret)
    return 0
