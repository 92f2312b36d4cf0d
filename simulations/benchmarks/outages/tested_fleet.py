"""A fleet of real processes on this machine, that outages are played over."""

from __future__ import annotations

import os
import secrets
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from fedhome.clients.lean_process import LEAN
from fedhome.data.table import HomeTable
from fedhome.fleet.owner_folder import DIRECTORY, Fleet
from fedhome.ops.processes import Child, Processes
from fedhome.plan.settings import Plan
from fedhome.run.events import Event, read_events
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.current_run import RUNNING, Current, Runs
from fedhome.simulations.benchmarks.outages.other_clock import OTHER_CLOCK
from fedhome.simulations.benchmarks.outages.road import Road
from fedhome.simulations.benchmarks.outages.small_disk import SmallDisk, why_no_disks
from fedhome.simulations.benchmarks.outages.working_in import numbers_of
from fedhome.simulations.local_fleet import HOST, prepare

SERVER = "server"
HOMES_DISK, SERVERS_DISK = 16 << 20, 128 << 20
"""Sizes of the disks, bytes."""
PATIENCE_S = 240.0
"""What takes longer hangs: agents that were away for long try again once in a minute."""
PARTS = {
    "front": "fedhome.server.daemon.front",
    "SuperLink": "fedhome.server.daemon.superlink_process",
    "run": "fedhome.server.daemon.deploy",
}
"""The modules of the server's processes, beside the daemon that keeps them alive."""
_AGENT, _WORKER = "fedhome.clients.agent.resident", "fedhome.clients.agent.worker"
_MOVES = ("round-closed", "round-failed", "round-unused", "waiting", "run-resumed", "run-finished")


class TestedFleet:
    """A server's daemon and homes, each home behind a road of its own; and one run at a time.

    Args:
        root: An empty folder.
        plan: The plan that server and homes have.
        tables: The homes' readings.
        processes: Starts and watches the processes; whoever made it ends them.

    Attributes:
        server: The server's folder.
        homes: The homes' folders, by name.
        roads: Their roads, by name.
        logs: Where the processes' own words go.
        passphrase: The owner's.
        disks: The small disks of homes, by name, and of the `SERVER`; none where none can be
            mounted.
    """

    def __init__(
        self, root: Path, plan: Plan, tables: Sequence[HomeTable], processes: Processes
    ) -> None:
        self.root, self.plan, self.processes = root, plan, processes
        self.passphrase = secrets.token_hex(16)
        self.disks: dict[str, SmallDisk] = {}
        if not why_no_disks():
            for table in tables:
                folder = root / "homes" / table.home
                self.disks[table.home] = SmallDisk(folder, HOMES_DISK)
            self.disks[SERVER] = SmallDisk(root / "server", SERVERS_DISK)
        try:
            self.server, homes = prepare(root, plan, tables, passphrase=self.passphrase)
        except BaseException:
            for disk in self.disks.values():
                disk.unmount()
            raise
        self.homes = {home.path.name: home for home in homes}
        self.logs = root / "logs"
        self.logs.mkdir()
        self.roads: dict[str, Road] = {}
        for name, home in self.homes.items():
            road = self.roads[name] = Road(self.server.settings.port)
            road.start()
            home.change_settings(replace(home.settings, server=f"{HOST}:{road.port}"))

    def start(self) -> None:
        """Start everything, and wait for the server."""
        self.start_server()
        for home in self.homes:
            self.start_home(home)

    def start_server(self) -> None:
        """Start the server's daemon, and wait until it is ready."""
        before = self.told(SERVER, "ready at ")
        command = ("fedhome.server.daemon.supervisor", str(self.server.path))
        self.processes.start(SERVER, *command, log=self.log_of(SERVER))
        self.until(lambda: self.told(SERVER, "ready at ") > before, "the server is ready")

    def start_home(self, home: str, *, clock: Path | None = None) -> Child:
        """Start a home's agent.

        Args:
            home: Its name.
            clock: The file of its clock (:mod:`.other_clock`); None: the machine's.
        """
        command = LEAN, _AGENT, str(self.homes[home].path)
        under = (OTHER_CLOCK, str(clock)) if clock else ()
        return self.processes.start(home, *under, *command, log=self.log_of(home))

    def stop(self, name: str) -> None:
        """Ask a process to end (SIGTERM) and wait until it has; nobody starts it again.

        Raises:
            RunError: It does not end.
        """
        child = self.processes.children[name]
        process = child.process
        assert process is not None
        # Watched apart from the others: who watches over those would start it again.
        del self.processes.children[name]
        try:
            child.stop()
            self.until(lambda: process.poll() is not None, f"{name} ends when it is asked to")
        finally:
            child.wait(0.0)

    def kill(self, name: str) -> None:
        """Kill the process of a home, or the server's daemon; it is started again."""
        process = self.processes.children[name].process
        assert process is not None
        process.kill()

    def signal_part(self, part: str, number: signal.Signals) -> bool:
        """Send a signal to one of the server's `PARTS`; whether it was there."""
        return self._signal(numbers_of(self.server.path, PARTS[part]), number)

    def signal_home(self, home: str, number: signal.Signals) -> bool:
        """Send a signal to a home's agent and to its worker; whether one was there."""
        folder = self.homes[home].path
        found = [*numbers_of(folder, _AGENT), *numbers_of(folder, _WORKER)]
        return self._signal(found, number)

    def signal_worker(self, home: str, number: signal.Signals) -> bool:
        """Send a signal to a home's worker; whether there was one."""
        return self._signal(numbers_of(self.homes[home].path, _WORKER), number)

    @staticmethod
    def _signal(numbers: Sequence[int], number: signal.Signals) -> bool:
        for found in numbers:
            with suppress(ProcessLookupError):
                os.kill(found, number)
        return bool(numbers)

    def close(self) -> None:
        """End the roads, and take the disks away: call it once all processes have ended."""
        for road in self.roads.values():
            road.close()
        for disk in self.disks.values():
            disk.unmount_and_keep()

    def log_of(self, name: str) -> Path:
        """Return where a process that is started here says what it does."""
        return self.logs / f"{name}.log"

    def told(self, name: str, words: str) -> int:
        """Return how often such a process has said something."""
        path = self.log_of(name)
        return path.read_bytes().count(words.encode()) if path.exists() else 0

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Wait for something while everything is kept alive.

        Raises:
            RunError: It takes too long: something hangs.
        """
        self.processes.until(done, what=what, timeout_s=PATIENCE_S)

    def sign(self) -> None:
        """Sign the next directory, as the owner does after a restore, and give it to the server."""
        aggregation = self.plan.aggregation
        with Fleet.open(self.owner) as fleet:
            issued = fleet.sign(
                self.passphrase,
                corrupt=aggregation.corrupt,
                dropped=aggregation.dropped,
                committee=aggregation.committee,
                min_cohort=aggregation.min_cohort,
            )
        new = self.server.fleet / "new"
        new.write_bytes(issued.data)
        new.replace(self.server.fleet / DIRECTORY)

    @property
    def owner(self) -> Path:
        """The folder of the fleet's owner."""
        return self.root / "owner"

    @property
    def current(self) -> Current | None:
        """The run in progress, or the last one."""
        return Runs(self.server).current

    @property
    def is_running(self) -> bool:
        """Whether a run is in progress, or is to be taken up again."""
        current = self.current
        return current is not None and (current.state == RUNNING or current.again)

    @property
    def run(self) -> RunFolder:
        """The folder of the run in progress, or of the last one."""
        current = self.current
        assert current is not None, "no run has begun"
        return Runs(self.server).folder(current.run)

    def events(self) -> list[Event]:
        """Return what the run's log says so far."""
        path = self.run.events_path
        return read_events(path, skip_torn=True) if path.exists() else []

    def moves(self) -> Counter[str]:
        """Return how often the run has said that it goes on, or why it does not, by kind."""
        path = self.run.events_path
        text = path.read_bytes() if path.exists() else b""
        kinds = {kind: text.count(b'"event":"%b"' % kind.encode()) for kind in _MOVES}
        return Counter(kinds)

    def is_connected(self, home: str) -> bool:
        """Whether a home's agent says that it is connected."""
        status = self.homes[home].status
        return status is not None and status.state == "connected"
