"""A real server whose run and homes a test plays, message by message."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.common.constant import HEARTBEAT_MAX_INTERVAL

import fedhome.server.daemon.flower_bundle
from fedhome.clients.agent.announce import join
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.fleet.state_file import FileStore
from fedhome.flower.fleet_connection import FleetConnection
from fedhome.flower.node_key import NodeKey
from fedhome.flower.run_grid import RunGrid, run_grid
from fedhome.ops.processes import Processes
from fedhome.server.daemon.server_folder import ServerFolder
from fedhome.simulations.homes import generate
from fedhome.simulations.local_fleet import prepare, start
from helpers.living import tiny_plan
from helpers.patience import PATIENCE_S

SOON_S = PATIENCE_S


@dataclass
class Fleet:
    """A server, and nodes of its homes that a test plays."""

    server: ServerFolder
    places: list[HomeFolder]
    nodes: list[int]
    grid: RunGrid
    link: int = 0  # number of the SuperLink's process

    def connect(self, number: int, *, key: NodeKey | None = None) -> FleetConnection:
        place = self.places[number]
        key = place.node_key() if key is None else key
        # No heart beats in these homes, and Flower drops the answer of one that it takes for dead.
        return FleetConnection(
            place.settings.server, place.authorities, key, heartbeat_s=HEARTBEAT_MAX_INTERVAL
        )

    @contextlib.contextmanager
    def home(self, number: int) -> Iterator[FleetConnection]:
        connection = self.connect(number)
        connection.activate(self.nodes[number])
        try:
            yield connection
        finally:
            connection.close()

    def ask(self, number: int, content: RecordDict) -> str:
        """Send a question to a home; return Flower's name of it."""
        asked = Message(content, dst_node_id=self.nodes[number], message_type="query")
        (name,) = self.grid.push_messages([asked])
        return name

    def answer_to(self, name: str) -> Message:
        deadline = time.monotonic() + SOON_S
        while time.monotonic() < deadline:
            for answer in self.grid.pull_messages([name]):
                return answer
            self.grid.wait(1.0)
        raise AssertionError(name)


def claimed(home: HomeFolder) -> int:
    """Claim a home's node, and return its number."""
    with FileStore.open(home.path, home=home.settings.home) as store:
        welcome = join(
            home.settings.server,
            home.authorities,
            fleet=home.anchor.fleet,
            keys=store.keys,
            node=home.node_key(),
            saves=store.state.version,
        )
    return welcome.node


@contextlib.contextmanager
def exchange_fleet(root: Path) -> Iterator[Fleet]:
    """Run a server of three homes, and open a run on it."""
    plan = tiny_plan(3, 1, min_cohort=3)
    tables = generate(homes=3, days=plan.data.days, seed=plan.seed)
    place, homes = prepare(root, plan, tables)
    with Processes() as processes:
        start(processes, place, [])
        app = fedhome.server.daemon.flower_bundle.app_bundle()
        with run_grid(place.link, place.secret, app) as grid:
            assert isinstance(grid, RunGrid)
            link = processes.children["link"].process
            assert link is not None
            yield Fleet(place, homes, [claimed(home) for home in homes], grid, link.pid)


def words(number: int) -> RecordDict:
    return RecordDict({"told": ConfigRecord({"number": number})})


def numbers(size: int, seed: int) -> RecordDict:
    array = np.random.default_rng(seed).integers(0, 1 << 30, size // 4, dtype=np.int32)
    return RecordDict({"array": ArrayRecord([array])})
