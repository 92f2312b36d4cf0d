"""Real homes behind a grid in memory, and a real server's run over them, with clocks of their own.

::

    fleet = WiredFleet(tmp_path, plan)
    with fleet.run() as rounds:            # a process of the run; another one resumes
        rounds.run()

Every message can be lost: before a home gets it, or after it has answered. `fleet.now` is what all
clocks show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedhome.clients import client_app
from fedhome.clients.failure_reason import reason_of
from fedhome.clients.home import ClientHome
from fedhome.clients.secure_sums import Participant
from fedhome.errors import FedHomeError
from fedhome.flower.messages import Run, failure, identify, take_identity
from fedhome.learning.own_state import StatesInMemory
from fedhome.plan.protocol import policy_of
from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.server.rounds.counters import LastingScale, Serials
from fedhome.server.rounds.fitting_homes import UnfitHomes
from fedhome.server.rounds.left_out import LeftOut
from fedhome.server.rounds.masked_sums import ProtocolChannel
from fedhome.server.rounds.round_loop import RoundLoop
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.server.rounds.sum_journal import SumJournal
from fedhome.server.strategies import strategy_of
from helpers import tiny
from helpers.secagg_world import NOW, World, names_of

ROWS = (23, 6, 7)
FIRST_NODE = 2


def secure_plan(**sections: Any) -> Plan:
    """Return a tiny plan with secure sums; sections change it."""
    aggregation = {"mode": "secure", "weight_cap": 64, **sections.pop("aggregation", {})}
    return tiny.plan(aggregation=aggregation, data={"homes": None}).change(**sections)


class Listening(Participant):
    """A home's part in the protocol that remembers what it was to mask."""

    words: NDArray[Any] | None = None
    forge: Callable[[NDArray[Any]], NDArray[Any]] | None = None

    def upload(self, message: Message, joined: Any, words: NDArray[Any]) -> Message:
        """Remember the words, alter them where the home is a cheat, then mask them."""
        self.words = words.copy()
        sent = words if self.forge is None else self.forge(words)
        return super().upload(message, joined, sent)


class Wire(Grid):
    """A grid whose homes answer at once; a lost message has no reply, as after a deadline.

    Args:
        homes: The homes' ClientApps by name.
    """

    def __init__(self, homes: Mapping[str, Callable[[Message], Message]]) -> None:
        self.homes = dict(homes)
        self.deaf: Callable[[str, Message], bool] = lambda _home, _message: False
        self.mute: Callable[[str, Message], bool] = lambda _home, _message: False
        self.away: set[str] = set()
        self.refusals: list[tuple[str, str]] = []
        self._count = 0

    @property
    def names(self) -> dict[int, str]:
        """Name of the home behind each node."""
        return {FIRST_NODE + place: name for place, name in enumerate(sorted(self.homes))}

    def set_run(self, run: Run) -> None:
        """Set nothing."""

    @property
    def run(self) -> Run:
        """There is none."""
        raise NotImplementedError

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Create a message to a home."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes of all homes that are there."""
        return [node for node, name in self.names.items() if name not in self.away]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Refuse: replies are streamed."""
        raise NotImplementedError

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Refuse: replies are streamed."""
        raise NotImplementedError

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Return the replies."""
        del timeout
        return list(self.stream(list(messages))[1])

    def stream(self, messages: list[Message]) -> tuple[list[str], Iterator[Message]]:
        """Send messages; return their names, and the replies that are not lost."""
        names = []
        for message in messages:
            self._count += 1
            names.append(f"wire-{self._count}")
            identify(message, names[-1])
        return names, self._replies(messages)

    def _replies(self, messages: list[Message]) -> Iterator[Message]:
        for message in messages:
            name = self.names[message.metadata.dst_node_id]
            if self.deaf(name, message):
                continue
            try:
                reply = self.homes[name](message)
            except FedHomeError as error:
                reason = getattr(error, "reason", type(error).__name__)
                self.refusals.append((name, str(reason)))
                reply = failure(message, reason_of(error))
            if not self.mute(name, message):
                yield reply


class WiredFleet:
    """A fleet of real homes, its server's lasting files, and one clock.

    Args:
        folder: Where the server's files and the run's folder are.
        plan: The plan of the homes and of the run.
        count: How many homes there are.
        rows: How many training rows each has; None: all the same.
        tiers: Which slice of the model each carries, by the directory and on its device; None: each
            carries the whole.
    """

    def __init__(
        self,
        folder: Path,
        plan: Plan,
        count: int = 7,
        *,
        rows: Mapping[str, int] | None = None,
        tiers: Mapping[str, str] | None = None,
    ) -> None:
        take_identity(1)
        self.plan, self.folder, self.name = plan, folder, "run"
        self.now = float(NOW)
        self.learning = tiny.learning(plan)
        self.states = StatesInMemory()  # each home's, which a real one seals in its folder
        self.world = World.of(count, policy=policy_of(plan), bundles=0)
        self.parts = {
            name: Listening(machine, clock=lambda: self.now)
            for name, machine in self.world.homes.items()
        }
        self.homes = {
            name: ClientHome.of(
                plan,
                tiny.home(name, ((rows or {}).get(name, ROWS[0]), *ROWS[1:])),
                mode="secure",
                participant=part,
                real=True,
                states=self.states,
                tier=(tiers or {}).get(name, ""),
            )
            for name, part in self.parts.items()
        }
        self.wire = Wire({name: self._app(name) for name in names_of(count)})
        if tiers is not None:
            signed = [replace(one, tier=tiers[one.home]) for one in self.world.directory.homes]
            issued = self.world.next_epoch(homes=tuple(signed))
            for part in self.parts.values():
                part.machine.renew(issued)

    def _app(self, name: str) -> Callable[[Message], Message]:
        app = client_app.build(lambda _: self.homes[name])

        def answer(message: Message) -> Message:
            reply = app(message, Context(1, 7, {}, RecordDict(), {}))
            assert isinstance(reply, Message)
            return reply

        return answer

    def next_epoch(self, *, without: Iterable[str] = ()) -> None:
        """Let the owner sign the next directory, with the same homes or without some."""
        left = set(without)
        homes = tuple(entry for entry in self.world.directory.homes if entry.home not in left)
        corrupt = 1
        issued = self.world.next_epoch(
            homes=homes,
            committee=len(homes),
            corrupt=corrupt,
            threshold=(len(homes) + corrupt) // 2 + 1,
        )
        for name in left:
            del self.wire.homes[name]
        for name in self.wire.homes:
            self.parts[name].machine.renew(issued)

    @property
    def events(self) -> str:
        """The run's log."""
        return (self.folder / self.name / "events.jsonl").read_text(encoding="utf-8")

    @contextmanager
    def run(self, **sections: Any) -> Iterator[RoundLoop]:
        """Open the run as a process of the server does: anew, or from its last checkpoint."""
        plan = self.plan.change(**sections) if sections else self.plan
        folder = RunFolder(self.folder / self.name)
        folder.checkpoint_path.mkdir(parents=True, exist_ok=True)
        layout, directory = self.learning.layout, self.world.directory
        with EventLog(folder.events_path) as log:
            channel = ProtocolChannel(
                self.wire,
                plan,
                self.wire.names,
                directory=directory,
                keys=self.world.server,
                run=self.name.encode().ljust(16)[:16],
                serials=Serials(self.folder / "serials", directory),
                journal=SumJournal(folder.sums_path),
                clock=lambda: self.now,
                left_out=LeftOut(
                    self.folder / "left-out",
                    directory=directory,
                    run=self.name,
                    clock=lambda: self.now,
                ),
            )
            grid = SecureGrid(channel, plan=plan, layout=layout, log=log)
            grid.scale = LastingScale(
                plan.aggregation, self.folder / "turns", directory=directory.hash
            )
            grid.unfit = UnfitHomes(log, lambda node: self.wire.names[node])
            loop = RoundLoop(
                plan=plan,
                strategy=strategy_of(plan, len(self.wire.homes)),
                grid=grid,
                layout=layout,
                initial=self.learning.initial,
                folder=folder,
                log=log,
                unfit=grid.unfit,
                name_of=lambda node: self.wire.names[node],
            )
            loop.resume()
            yield loop


def shares_asked(message: Message) -> bool:
    """Return whether a message asks a member for its shares, and not for its vote."""
    from fedhome.flower.messages import sum_record  # noqa: PLC0415
    from fedhome.secagg.sum_messages import Request  # noqa: PLC0415

    if message.metadata.message_type != "query.help":
        return False
    record = sum_record(message)
    request = None if record is None else record.get("request")
    return isinstance(request, bytes) and bool(Request.from_bytes(request).votes)
