"""How sums over homes are computed: a question to some homes, and each group's opened sum.

A :class:`Channel` is the only thing that knows whether the numbers were added under masks or,
in a simulation, without cryptography; what comes out is the same, bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from flwr.app import Message
from flwr.serverapp import Grid
from numpy.typing import NDArray

from fedhome.counted import counted, was
from fedhome.errors import OpeningError, SecAggError
from fedhome.flower.messages import broadcast_messages, error_of, with_sum_record, words_of
from fedhome.plan.protocol import least_in_a_sum
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import tiers_of
from fedhome.questions.contributions import form_bytes
from fedhome.questions.question_table import TRAIN
from fedhome.secagg.form import Form, Total
from fedhome.secagg.graph import groups
from fedhome.secagg.shell_roster import purpose_of
from fedhome.server.rounds.alike_homes import AlikeHomes
from fedhome.server.rounds.left_out import LeftOut
from fedhome.server.rounds.reply_stream import replies_of
from fedhome.server.rounds.sum_journal import KeptSum, SumJournal, name_of


class SumRequest(NamedTuple):
    """What is summed.

    Args:
        kind: Type of the message.
        round: Number of the round.
        sum_number: Number of the sum: it rises with every sum that homes are asked for.
        form: What lies in the vector.
        settings: Hash of the settings that come with the question.
        model_hash: SHA-256 of the parameters that the question is about; zeros where none are.
        least: How many homes must have answered, over all groups, before any sum is opened: what
            was opened is not asked again.
        timeout_s: How long replies are waited for.
        shell: Which shell of a sliced model is summed.
    """

    kind: str
    round: int
    sum_number: int
    form: Form
    settings: bytes
    model_hash: bytes
    least: int
    timeout_s: float | None
    shell: int = 0

    @property
    def purpose(self) -> str:
        """What a manifest calls it; shells have nothing in common, and each is summed once."""
        return purpose_of(self.kind.rpartition(".")[2], self.shell)


@dataclass(kw_only=True)
class GroupSum:
    """One group's sum.

    Args:
        messages: The messages to its homes.
        number: Its number.
        members: All homes that belong to it, asked or not.
        words: The opened sum; None where it could not be opened.
        form: What lies in the words.
        homes: How many homes are in it.
        arrived: Their names; empty where they are not known any more.
        failed: Messages that a home answered with an error, and which.
        late: Names of those that had not answered when the question was closed.
        unlike: Names of those that are left out, since the sum would tell few homes apart from
            another one about this model.
        missing: Why each of the members that are not in it is not, by name, as far as it is known.
        again: Why it is taken without asking its homes; empty where they are asked.
        reason: Why it could not be opened.
        notes: What was noticed on the way, such as a member with a bad share.
    """

    messages: list[Message]
    number: int = 0
    members: tuple[str, ...] = ()
    words: NDArray[Any] | None = None
    form: Form | None = None
    homes: int = 0
    arrived: tuple[str, ...] = ()
    failed: list[tuple[Message, str]] = field(default_factory=list)
    late: tuple[str, ...] = ()
    unlike: tuple[str, ...] = ()
    missing: dict[str, str] = field(default_factory=dict)
    again: str = ""
    reason: str = ""
    notes: list[str] = field(default_factory=list)

    @property
    def total(self) -> Total:
        """What the opened sum amounts to.

        Raises:
            ParameterError: It is no sum of as many homes.
        """
        assert self.words is not None, "an opened sum has words"
        assert self.form is not None, "an opened sum has a form"
        return self.form.decode(self.words, self.homes)


@dataclass
class Traffic:
    """Bytes of payload, from all homes and to all homes."""

    up: int = 0
    down: int = 0


class WaitingSum(Protocol):
    """A sum of one group whose homes have answered."""

    def open(self, group: GroupSum) -> None:
        """Open it and fill in the group's sum.

        Raises:
            SecAggError: It cannot be opened.
        """


class Channel(ABC):
    """Sums over homes.

    Args:
        grid: How messages travel.
        plan: The plan.
        names: Name of the home behind each node.
        seed: The epoch's seed, which decides who is in which group.
        journal: Keeps what was opened; None: in memory.
        left_out: Homes that are asked nothing more; None: kept in memory.

    Attributes:
        unopened: Homes that answered the last question, in sums that were not opened.
    """

    def __init__(
        self,
        grid: Grid,
        plan: Plan,
        names: Mapping[int, str],
        *,
        seed: bytes,
        journal: SumJournal | None = None,
        left_out: LeftOut | None = None,
    ) -> None:
        self.grid = grid
        self.plan = plan
        self.names = names
        self.seed = seed
        self.journal = SumJournal() if journal is None else journal
        self.left_out = LeftOut() if left_out is None else left_out
        self.traffic = Traffic()
        self.late = 0
        self.unopened = 0

    @cached_property
    def alike(self) -> AlikeHomes:
        """Chooses over which homes a sum may be after another one about the same model."""
        return AlikeHomes(self.plan, self.journal, fleet=self.fleet, asked=self._may_be_asked)

    def _may_be_asked(self) -> set[str]:
        """Return the names of the fleet's homes that are not left out, there or not."""
        return {*self.homes}.difference(self.left_out.reasons)

    @property
    def homes(self) -> Collection[str]:
        """Names of the fleet's homes."""
        return self.names.values()

    @property
    def fleet(self) -> int:
        """Homes in the fleet."""
        return len(self.names)

    def tiers(self) -> Mapping[str, int]:
        """Return the number of each home's tier, from the smallest, where a plan has slices."""
        homes = sorted(self.names.values())
        return dict(zip(homes, tiers_of(self.plan, homes).tolist(), strict=True))

    def ask(self, messages: Sequence[Message], request: SumRequest) -> list[GroupSum]:
        """Ask homes, group by group, and return each group's sum.

        What was opened before is not asked again. No sum is opened before it is known whether
        enough homes answered in all.
        """
        by_name = {self.names[m.metadata.dst_node_id]: m for m in messages}
        parts = groups(self.seed, sorted(self.names.values()), self.plan.aggregation.groups)
        self.late = self.unopened = 0
        sums, answered = [], []
        for number, members in enumerate(parts):
            own = [by_name[name] for name in members if name in by_name]
            if own:
                group = GroupSum(messages=own, number=number, members=members)
                sums.append(group)
                answered.append(self._answered(group, request))
        homes = sum(group.homes for group in sums)
        for group, waiting in zip(sums, answered, strict=True):
            if waiting is None:
                continue
            if homes < request.least:
                self.unopened += group.homes
                group.homes = 0
                group.reason = f"{counted(homes, 'home')} answered, but {request.least} are needed"
                continue
            self._open(group, waiting)
        return sums

    def _answered(self, group: GroupSum, request: SumRequest) -> WaitingSum | None:
        """Return a group's sum as it can be opened; None where it was, or cannot be."""
        name = name_of(request.purpose, request.model_hash, group.number)
        kept = self.journal.opened(name)
        if kept is not None:
            group.words, group.homes, group.form = kept.words, kept.homes, kept.form
            group.missing = self.journal.missing(name)
            group.again = (
                f"a sum of {request.purpose!r} about this model was opened before, and is taken "
                "again: homes answer once"
            )
            return None
        least = self.plan.aggregation.min_cohort
        if len(group.messages) < least:
            group.reason = (
                f"{counted(len(group.messages), 'home')} "
                f"{was(len(group.messages))} asked, but {least} are the fewest"
            )
            return None
        try:
            homes = self.fitting([self._name(one) for one in group.messages], group, request)
            group.messages = [one for one in group.messages if self._name(one) in homes]
            if group.unlike and not request.shell:
                self.alike.check_share(len(homes), members=len(group.members))
            self.journal.tried(name)
            return self.collect(group, request)
        except SecAggError as error:
            group.homes, group.reason = 0, error.message
            return None

    def fitting(self, homes: Sequence[str], group: GroupSum, request: SumRequest) -> set[str]:
        """Return which homes of a group a sum may be over: see :mod:`.alike_homes`.

        Raises:
            OpeningError: ``alike``: too few.
        """
        kept = self.alike.fitting(
            homes,
            purpose=request.purpose,
            model_hash=request.model_hash,
            group=group.number,
            notes=group.notes,
        )
        group.unlike = tuple(sorted({*group.unlike, *homes}.difference(kept)))
        return kept

    def _name(self, message: Message) -> str:
        return self.names[message.metadata.dst_node_id]

    def names_of(self, purpose: str, model_hash: bytes) -> list[str]:
        """Return the names of all groups' sums about a model."""
        count = self.plan.aggregation.groups
        return [name_of(purpose, model_hash, number) for number in range(count)]

    def knows(self, request: SumRequest) -> bool:
        """Return whether every group's sum was opened before, so that no home is asked."""
        names = self.names_of(request.purpose, request.model_hash)
        return all(self.journal.opened(name) is not None for name in names)

    def _open(self, group: GroupSum, waiting: WaitingSum) -> None:
        try:
            waiting.open(group)
        except SecAggError as error:
            group.words, group.homes, group.reason = None, 0, error.message

    def keep(self, group: GroupSum, request: SumRequest) -> None:
        """Keep a sum that was opened."""
        assert group.form is not None, "an opened sum has a form"
        assert group.words is not None, "an opened sum has words"
        name = name_of(request.purpose, request.model_hash, group.number)
        kept = KeptSum.of(
            request.purpose, request.model_hash, group.form, group.words, homes=group.homes
        )
        self.journal.keep_opened(name, kept)

    @abstractmethod
    def collect(self, group: GroupSum, request: SumRequest) -> WaitingSum:
        """Ask one group's homes, and set how many answered.

        Args:
            group: The group.
            request: What is summed.

        Raises:
            SecAggError: There is no sum to open.
        """

    def replies(
        self, messages: list[Message], timeout_s: float | None, *, enough: int | None = None
    ) -> Iterator[tuple[int, Message]]:
        """Send messages; yield replies as they come, each with the index of its message.

        Arguments as of :func:`replies_of`.
        """
        yield from replies_of(self.grid, messages, timeout_s, enough=enough)
        if messages and messages[0].metadata.message_type == TRAIN:
            self.late += int(getattr(self.grid, "late", 0))


class IdealChannel(Channel):
    """Adds up what homes encode, without masks: for simulations, which hold all homes anyway."""

    def collect(self, group: GroupSum, request: SumRequest) -> WaitingSum:
        """Ask one group's homes for their words and add them.

        Raises:
            OpeningError: ``a-min``: too few answered.
        """
        settings: dict[str, int | str | bytes] = {
            "form": form_bytes(request.form),
            "round": request.round,
        }
        content = with_sum_record(group.messages[0].content, settings)
        nodes = [message.metadata.dst_node_id for message in group.messages]
        copies = broadcast_messages(content, nodes, request.kind)
        form, behind = request.form, getattr(self.grid, "homes_behind", lambda _: 1)
        total = np.zeros(form.words, form.packing.dtype)
        width = total.nbytes
        self.traffic.down += (4 * form.elements) * len(copies)
        for index, reply in self.replies(copies, request.timeout_s):
            if reply.has_error():
                group.failed.append((group.messages[index], error_of(reply)))
                continue
            total += words_of(reply)
            group.homes += behind(reply)
            self.traffic.up += width * behind(reply)
        least = least_in_a_sum(self.plan, fleet=len(self.names), roster=len(copies))
        least = max(least, fewest_with_noise(form))
        if group.homes < least:
            raise OpeningError(
                f"{group.homes} of {len(copies)} homes uploaded, {least} are needed",
                reason="a-min",
            )
        failed = {id(message) for message, _ in group.failed}
        group.arrived = tuple(
            self.names[message.metadata.dst_node_id]
            for message in group.messages
            if id(message) not in failed
        )
        return _IdealSum(self, request, total)


@dataclass(frozen=True)
class _IdealSum:
    """A sum that was added up without masks."""

    channel: IdealChannel
    request: SumRequest
    total: NDArray[Any]

    def open(self, group: GroupSum) -> None:
        """Give it to the group."""
        group.words, group.form = self.total, self.request.form
        name = name_of(self.request.purpose, self.request.model_hash, group.number)
        self.channel.journal.keep_homes(name, group.arrived)
        self.channel.keep(group, self.request)


def fewest_with_noise(form: Form) -> int:
    """Return how many homes must be in a sum for its noise to be enough; 0 without noise."""
    return 0 if form.noise is None else form.noise.homes
