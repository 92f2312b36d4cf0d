"""Sums under masks: the server's side of the protocol, carried over a Flower grid.

For each group of homes: one-time keys are fetched where the server holds none, a signed manifest
opens the sum, uploads are added as they arrive, and the committee opens what was added.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from flwr.app import Message
from flwr.serverapp import Grid

from fedhome.errors import FedHomeError, ManifestError, OpeningError, WireError
from fedhome.flower.fast_replies import contents_asking
from fedhome.flower.messages import blobs_of, broadcast_messages, messages_to, with_sum_record
from fedhome.keys.signing import signature_holds
from fedhome.plan.protocol import least_in_a_sum, policy_of, quorum_of
from fedhome.plan.settings import Plan
from fedhome.secagg import (
    Aggregator,
    Bundle,
    Directory,
    OpenedSum,
    ServerKeys,
    Verify,
)
from fedhome.secagg.shell_roster import tier_numbers
from fedhome.secagg.workings import ServerWorkings
from fedhome.server.rounds.answered_elsewhere import AnsweredElsewhere
from fedhome.server.rounds.bundle_stock import WRONG_SHARES, BundleStock, no_help
from fedhome.server.rounds.counters import Serials
from fedhome.server.rounds.left_out import LeftOut
from fedhome.server.rounds.sum_journal import KeptSum, SumJournal, name_of
from fedhome.server.rounds.sum_manifests import SumManifests, no_release
from fedhome.server.rounds.sums import (
    Channel,
    GroupSum,
    SumRequest,
    WaitingSum,
)
from fedhome.wire.names import HELP

_EACH_TIME = ServerWorkings()
_FALSE = "it dealt shares of another secret than it had committed to"
_NOT_ASKED = "it was not asked: it was away or left out, as the log told then"
_LATE = "it had not answered when the question was closed"
_UNLIKE = "with it the sum would tell few homes apart from another one about this model"
_NOT_KEPT = "the reason is not known any more"


class ProtocolChannel(Channel):
    """Sums that the server learns and nothing else.

    Args:
        grid: How messages travel.
        plan: The plan.
        names: Name of the home behind each node.
        directory: The fleet's directory.
        keys: The server's own keys.
        run: Identifies the run, 16 bytes.
        verify: Checks a signature; a simulation may remember answers.
        serials: Remembers which bundles were used; None: nothing outlives this process.
        journal: Keeps sums until a checkpoint holds what came of them; None: in memory.
        left_out: Homes that are asked nothing more, over runs; None: kept in memory.
        clock: Seconds since 1970.
        newest: Returns number and hash of the newest release; None: there are no releases.
        workings: As of `BundleStock`.
    """

    def __init__(
        self,
        grid: Grid,
        plan: Plan,
        names: Mapping[int, str],
        *,
        directory: Directory,
        keys: ServerKeys,
        run: bytes,
        verify: Verify = signature_holds,
        serials: Serials | None = None,
        journal: SumJournal | None = None,
        left_out: LeftOut | None = None,
        clock: Callable[[], float] = time.time,
        newest: Callable[[], tuple[int, bytes]] | None = None,
        workings: ServerWorkings = _EACH_TIME,
    ) -> None:
        super().__init__(grid, plan, names, seed=directory.seed, journal=journal, left_out=left_out)
        self.directory = directory
        self.keys = keys
        self._serials = serials
        self._verify, self._workings = verify, workings
        self._clock = clock
        self._nodes = {name: node for node, name in names.items()}
        self._manifest_of = SumManifests(
            plan,
            directory,
            fleet=self.fleet,
            run=run,
            clock=clock,
            newest=newest or no_release,
        ).manifest
        self.stock = BundleStock(
            directory,
            ask=self._ask_each,
            there=self._connected,
            clock=clock,
            verify=verify,
            used=serials.used if serials else None,
            workings=workings,
        )
        self._elsewhere = AnsweredElsewhere(self.journal, directory.corrupt)
        self.journal.begin_epoch(directory.hash)

    @property
    def fleet(self) -> int:
        """Homes in the directory, also those that are not there."""
        return len(self.directory.names)

    @property
    def homes(self) -> tuple[str, ...]:
        """Names of the homes in the directory."""
        return self.directory.names

    def tiers(self) -> Mapping[str, int]:
        """Return the number of each home's tier as the directory says it, and so all homes."""
        return tier_numbers(self.directory, policy_of(self.plan).tiers)

    def ask(self, messages: Sequence[Message], request: SumRequest) -> list[GroupSum]:
        """Ask homes, group by group; first finish what was begun to be opened before.

        Members open no older keys after newer ones: what is half opened would stay so for ever.
        """
        own = self.names_of(request.purpose, request.model_hash)
        notes: list[str] = []
        for name in self.journal.half_opened:
            if name not in own and not self._finished(name, request.timeout_s, notes):
                reason = "a sum that was begun before is not open yet: nothing else is asked"
                return [GroupSum(messages=list(messages), reason=reason, notes=notes)]
        return super().ask(messages, request)

    def _finished(self, name: str, timeout_s: float | None, notes: list[str]) -> bool:
        """Open a sum that was half opened, or give it up; False if there is still hope."""
        summed = self._resumed(name, notes)
        if summed is None:
            return True
        try:
            opened = self.opened(summed, name=name, timeout_s=timeout_s, notes=notes)
        except OpeningError as error:
            return self.hopeless(summed, error, name, notes)
        manifest = summed.manifest
        kept = KeptSum.of(
            manifest.purpose,
            manifest.model_hash,
            manifest.form,
            opened.words,
            homes=len(opened.homes),
        )
        self.journal.keep_opened(name, kept)
        return True

    def hopeless(
        self, summed: Aggregator, error: OpeningError, name: str, notes: list[str]
    ) -> bool:
        """Give a sum up that members cannot open any more; False if they may."""
        for home in summed.false:
            self.stock.left_out[home] = _FALSE
            notes.append(f"{home} made shares of another secret than it committed to: left out")
        self.left_out.add(summed.false, _FALSE)
        over = bool(summed.false) or (error.reason == "shares" and summed.asked_all)
        if not over and self._clock() < summed.manifest.expires:
            return False
        notes.append(f"a sum that was half opened is given up: {error.message}")
        self.journal.give_up(name)
        return True

    def collect(self, group: GroupSum, request: SumRequest) -> WaitingSum:
        """Run the protocol with one group's homes, up to the sum of what they sent.

        Raises:
            SecAggError: There is no sum to open.
        """
        name = name_of(request.purpose, request.model_hash, group.number)
        summed = self._resumed(name, group.notes)
        if summed is not None:
            known = self.journal.missing(name)
            absent = sorted(set(group.members).difference(summed.arrived))
            group.missing = {home: known.get(home, _NOT_KEPT) for home in absent}
            group.again = (
                f"a sum of {request.purpose!r} about this model was half opened before, and is "
                "opened now: homes answer once"
            )
        else:
            summed = self._uploads(group, request, name)
            group.missing = self._missing_from(group, summed.arrived)
            self.journal.keep_missing(name, group.missing)
        group.homes = len(summed.arrived)
        return _MaskedSum(self, request, summed)

    def _missing_from(self, group: GroupSum, arrived: Collection[str]) -> dict[str, str]:
        """Return why members of a group are not in its sum."""
        failed = {self._name(message): reason for message, reason in group.failed}
        why = dict.fromkeys(group.members, _NOT_ASKED) | failed | dict.fromkeys(group.late, _LATE)
        why |= dict.fromkeys(group.unlike, _UNLIKE)
        return {home: reason for home, reason in why.items() if home not in arrived}

    def _resumed(self, name: str, notes: list[str]) -> Aggregator | None:
        """Return a sum that was about to be opened when something came between; None without."""
        kept = self.journal.closed(name)
        if kept is None:
            return None
        try:
            return Aggregator.resume(
                kept, self.directory, verify=self._verify, workings=self._workings
            )
        except (WireError, ManifestError) as error:
            notes.append(f"a sum that was half opened is given up: {error.message}")
            self.journal.give_up(name)
            return None

    def _uploads(self, group: GroupSum, request: SumRequest, own: str) -> Aggregator:
        messages = {self._name(message): message for message in group.messages}
        count = len(group.messages)
        least = least_in_a_sum(self.plan, fleet=self.fleet, roster=count)
        least = min(count, max(least, quorum_of(self.plan, count)))
        ready, why = self.stock.ready(messages, request.timeout_s, group.notes, least=least)
        self.left_out.add(self.stock.checks.cheats, WRONG_SHARES)
        group.failed += [(messages[name], reason) for name, reason in why.items()]
        messages = {name: one for name, one in messages.items() if name in ready}
        bundles = self.stock.take(messages)
        if self._serials is not None:
            self._serials.keep(bundles)
        after = bool(self.alike.before(request.purpose, request.model_hash, group.number))
        manifest = self._manifest_of(
            bundles, request, pool=len(group.members), group=group.number, after=after
        ).sign(self.keys)
        summed = self._sum_of(manifest, bundles)
        content = with_sum_record(next(iter(messages.values())).content, {"manifest": manifest})
        names = list(messages)
        nodes = [self._nodes[name] for name in names]
        requests = broadcast_messages(content, nodes, request.kind)
        self.traffic.down += len(requests) * (len(manifest) + 4 * request.form.elements)
        enough = max(summed.manifest.a_min, quorum_of(self.plan, len(names)))
        uploads: dict[str, bytes] = {}
        self._elsewhere.begin(own)
        for index, reply in self.replies(requests, request.timeout_s, enough=enough):
            name = names[index]
            try:
                blobs = blobs_of(reply)
                self.traffic.up += sum(map(len, blobs.values()))
                summed.receive(name, upload := blobs.get("upload", b""))
            except FedHomeError as error:
                group.failed.append((messages[name], error.message))
                self._elsewhere.hear(own, name, error.message)
                continue
            if after:  # some may have to be left out
                uploads[name] = upload
            self._keep_next(name, blobs, group.notes)
        failed = {self._name(message) for message, _ in group.failed}
        group.late = tuple(sorted(set(names).difference(failed, summed.arrived)))
        fitting = self.fitting(summed.arrived, group, request)
        if fitting.issuperset(summed.arrived):
            summed.polls()  # no upload after this one: it is known whether enough came
            return summed
        fewer = self._sum_of(manifest, bundles)
        for name in sorted(fitting):
            fewer.receive(name, uploads[name])
        fewer.polls()
        return fewer

    def _sum_of(self, manifest: bytes, bundles: Mapping[str, Bundle]) -> Aggregator:
        return Aggregator(
            manifest,
            self.directory,
            bundles,
            verify=self._verify,
            workings=self._workings,
        )

    def _keep_next(self, name: str, blobs: Mapping[str, bytes], notes: list[str]) -> None:
        """Keep the keys for the next sum that came along with a home's part of this one."""
        try:
            if "bundle" in blobs:
                self.stock.add(name, blobs["bundle"])
        except FedHomeError as error:
            notes.append(
                f"{name} is in the sum, and its keys for the next one are of no use: "
                f"{error.message}; it is asked for others"
            )

    def opened(
        self, summed: Aggregator, *, name: str, timeout_s: float | None, notes: list[str]
    ) -> OpenedSum:
        """Let the members open a sum.

        Args:
            summed: The sum.
            name: Its name in the journal.
            timeout_s: How long members' answers are waited for.
            notes: Takes what was noticed on the way.

        Raises:
            OpeningError: Too few of them help, or too few of their shares are right.
        """
        ask = partial(self._ask_members, name=name, timeout_s=timeout_s, notes=notes)
        if not summed.elected:
            checks = self.stock.check_requests()
            polls = {
                member: {"request": poll} | ({"check": checks[member]} if member in checks else {})
                for member, poll in summed.polls().items()
            }
            ask(polls, summed.receive_vote, until=lambda: summed.elected)
        requests = {one: {"request": data} for one, data in summed.requests().items()}
        # From the first share on, members help to open this sum and no other about this model.
        self.journal.keep_homes(name, summed.arrived)
        self.journal.keep_closed(name, summed.snapshot())
        ask(requests, summed.receive_opening, until=lambda: summed.enough)
        self.stock.judge(summed.wrong, notes)
        return summed.open()

    def _ask_members(
        self,
        records: Mapping[str, Mapping[str, bytes]],
        receive: Callable[[str, bytes], None],
        *,
        name: str,
        timeout_s: float | None,
        notes: list[str],
        until: Callable[[], bool],
    ) -> None:
        """Ask members about a sum, and take what comes back until it is enough."""
        liars = self.stock.checks.liars
        asked = {member: one for member, one in records.items() if member not in liars}
        for member, reply in self._ask_each(HELP, asked, timeout_s):
            try:
                blobs = blobs_of(reply)
                receive(member, blobs.get("answer", b""))
                if "checked" in blobs:
                    self.stock.checks.receive(member, blobs["checked"])
            except FedHomeError as error:
                notes.append(no_help(member, reply, "did not help to open", error))
                self._elsewhere.hear(name, member, error.message)
            if until():
                return

    def _ask_each(
        self,
        kind: str,
        records: Mapping[str, Mapping[str, bytes]],
        timeout_s: float | None,
        *,
        enough: int | None = None,
    ) -> Iterator[tuple[str, Message]]:
        """Ask homes, each its own question; see `bundle_stock.AskHomes`."""
        names = [name for name in records if name in self._nodes]
        asked = [records[name] for name in names]
        self.traffic.down += sum(len(part) for record in asked for part in record.values())
        nodes = [self._nodes[name] for name in names]
        messages = messages_to(nodes, contents_asking(asked), kind)
        for index, reply in self.replies(messages, timeout_s, enough=enough):
            with suppress(FedHomeError):
                self.traffic.up += sum(map(len, blobs_of(reply).values()))
            yield names[index], reply

    def _connected(self) -> set[str]:
        """Return the names of the homes that are there."""
        return {self.names[node] for node in self.grid.get_node_ids() if node in self.names}


@dataclass(frozen=True)
class _MaskedSum:
    """A sum of what homes sent, under masks that members can take off."""

    channel: ProtocolChannel
    request: SumRequest
    summed: Aggregator

    def open(self, group: GroupSum) -> None:
        """Let the members open it.

        Raises:
            OpeningError: They do not.
        """
        name = name_of(self.request.purpose, self.request.model_hash, group.number)
        try:
            opened = self.channel.opened(
                self.summed, name=name, timeout_s=self.request.timeout_s, notes=group.notes
            )
        except OpeningError as error:
            if error.reason in ("shares", "false"):
                self.channel.hopeless(self.summed, error, name, group.notes)
            raise
        group.words, group.homes = opened.words, len(opened.homes)
        group.arrived = opened.homes
        group.form = self.summed.manifest.form
        self.channel.keep(group, self.request)
