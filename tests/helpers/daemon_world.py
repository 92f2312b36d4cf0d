"""A server's daemon and its homes as real processes: for tests of the daemon and of its disk."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from fedhome.clients.lean_process import LEAN
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.ops.processes import Processes
from fedhome.server.daemon.server_folder import ServerFolder
from helpers.living import lines_until

FEDHOME = Path(sys.executable).parent / "fedhome"
PASSPHRASE = "a passphrase that is long enough"  # noqa: S105 - of a fleet in a temporary folder


class World(NamedTuple):
    """A server and homes that nobody has started."""

    server: ServerFolder
    homes: list[HomeFolder]
    plan: Path

    @property
    def owner(self) -> Path:
        return self.server.path.parent / "owner"


@contextmanager
def told(*words: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Start a command of `fedhome server`; what is left of it is ended."""
    process = subprocess.Popen(
        [FEDHOME, "server", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def started(world: World) -> Iterator[subprocess.Popen[str]]:
    """Run the daemon, which is ready."""
    with told("start", world.server.path) as daemon:
        lines_until(daemon, "ready at ")
        yield daemon


@contextmanager
def agents(world: World) -> Iterator[None]:
    """Run the homes' agents."""
    with Processes() as processes:
        for home in world.homes:
            folder, name = home.path, home.path.name
            log = world.server.path.parent / f"{name}.log"
            processes.start(name, LEAN, "fedhome.clients.agent.resident", str(folder), log=log)
        yield


def run(world: World, *words: str | Path) -> tuple[str | Path, ...]:
    return ("run", *words, "--server", world.server.path)
