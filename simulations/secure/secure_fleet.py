"""The parties of a secure simulation, made on the fly: authority, server, homes and their keys.

Everything is real but where it lies: all keys live in processes of this program and end with it.
What a real deployment keeps apart (the authority's key from the server's, each home's from all
others) lies side by side here, so a secure simulation shows what the protocol does and costs; it
protects nobody.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from fedhome.clients.secure_sums import Participant
from fedhome.plan.protocol import parameters_of, policy_of
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import dealt_tiers
from fedhome.rng import generator
from fedhome.run.events import EventLog
from fedhome.secagg import Authority, Directory, ServerKeys, Verify
from fedhome.secagg.workings import ServerWorkings
from fedhome.server.rounds.masked_sums import ProtocolChannel
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.server.rounds.sums import Channel, IdealChannel
from fedhome.simulations.engines.grid import InProcessGrid
from fedhome.simulations.engines.shared_reads import KnownSignatures
from fedhome.simulations.secure.parties import LocalParties, Parties, PartyKeys
from fedhome.simulations.secure.worker_parties import WorkerParties, worker_count
from fedhome.wire.layout import Layout


class SecureFleet:
    """A fleet with its keys, which are made when they are first needed; close it when done.

    Args:
        names: Names of the homes.
        plan: The plan.
        workers: In how many processes the homes' machines live; 0: in this one; None: as the
            plan's ``engine.threads`` says, where there are homes enough.

    Raises:
        PlanError: The plan's parameters do not hold for this many homes.
        EngineError: No worker can be started.
    """

    def __init__(self, names: Sequence[str], plan: Plan, *, workers: int | None = None) -> None:
        self._names, self._plan = tuple(names), plan
        self._derived = parameters_of(plan, len(names))
        self._authority = Authority.create()
        self.server = ServerKeys.create()
        if workers is None:
            cores = plan.engine.threads or len(os.sched_getaffinity(0))
            workers = worker_count(len(names), cores)
        # They start while this process builds its model: nobody waits for them.
        self._workers = WorkerParties(workers) if workers else None

    @property
    def parties(self) -> Parties:
        """The homes' machines; they have the fleet's directory."""
        return self._parties_and_directory[0]

    @property
    def directory(self) -> Directory:
        """The directory that the authority signed."""
        return self._parties_and_directory[1]

    @cached_property
    def verify(self) -> Verify:
        """How the server checks signatures: those that this process made it knows."""
        parties = self.parties
        return parties.verify if isinstance(parties, LocalParties) else KnownSignatures()

    @property
    def workings(self) -> ServerWorkings:
        """How the server works out what homes of this process have worked out: it knows that."""
        parties = self.parties
        return parties.workings if isinstance(parties, LocalParties) else ServerWorkings()

    @cached_property
    def _parties_and_directory(self) -> tuple[Parties, Directory]:
        enrolment = PartyKeys(self._authority.public, policy_of(self._plan))
        parties: Parties
        if self._workers is None:
            parties = LocalParties(dict(enumerate(self._names)), enrolment)
        else:
            self._workers.populate(self._names, enrolment)
            parties = self._workers
        every = range(len(self._names))
        directory = self._new_directory(parties, every)
        parties.renew(every, self._authority.issue(directory))
        return parties, directory

    def participants(self) -> tuple[Participant, ...]:
        """Return each home's part in this process, for the ClientApp's own handlers."""
        self.close()
        parties = self.parties
        assert isinstance(parties, LocalParties), "the machines already live in workers"
        return tuple(
            Participant(party.machine, simulated=True) for party in parties.parties.values()
        )

    def close(self) -> None:
        """End the processes of the homes, and their keys with them."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def _new_directory(self, parties: Parties, positions: Sequence[int]) -> Directory:
        tiers = dealt_tiers(self._plan, self._names)
        entries = [replace(entry, tier=tiers[entry.home]) for entry in parties.entries(positions)]
        return Directory(
            fleet=os.urandom(16),
            epoch=1,
            seed=epoch_seed(self._plan),
            server=self.server.public,
            committee=self._derived.committee,
            corrupt=self._derived.corrupt,
            threshold=self._derived.threshold,
            homes=tuple(sorted(entries, key=lambda entry: entry.home)),
        )


def epoch_seed(plan: Plan) -> bytes:
    """Return the epoch's seed of a simulation: from the plan's seed, so that groups repeat."""
    return generator(plan.seed, "epoch").bytes(32)


def secure_grid(
    grid: InProcessGrid,
    *,
    plan: Plan,
    layout: Layout,
    log: EventLog,
    fleet: SecureFleet | None,
) -> SecureGrid:
    """Return the grid that answers with sums, around one whose homes live in this process.

    Args:
        grid: That one.
        plan: The plan.
        layout: Layout of the parameters.
        log: The run's log.
        fleet: The parties of the protocol; None for ideal sums.
    """
    names = {node: grid.name_of(node) for node in grid.get_node_ids()}
    if fleet is None:
        channel: Channel = IdealChannel(grid, plan, names, seed=epoch_seed(plan))
    else:
        channel = ProtocolChannel(
            grid,
            plan,
            names,
            directory=fleet.directory,
            keys=fleet.server,
            run=os.urandom(16),
            verify=fleet.verify,
            workings=fleet.workings,
        )
    return SecureGrid(channel, plan=plan, layout=layout, log=log, observe=grid.observe)
