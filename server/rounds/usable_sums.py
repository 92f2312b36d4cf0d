"""Which opened sums are used: each is held to what its homes, each within its range, can add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from flwr.app import Message

from fedhome.counted import counted
from fedhome.errors import SumError
from fedhome.plan.settings import Plan
from fedhome.questions.counted_flags import check_counts
from fedhome.questions.empty_handed import EMPTY_HANDED
from fedhome.questions.private_sums import within
from fedhome.questions.question_table import summed
from fedhome.run.absent import AGAIN, EMPTY, LATE, PASSED
from fedhome.run.events import EventLog
from fedhome.secagg.form import Total
from fedhome.server.rounds.folded_notes import FoldedNotes
from fedhome.server.rounds.sum_journal import name_of
from fedhome.server.rounds.sums import Channel, GroupSum, SumRequest
from fedhome.server.rounds.suspects import Suspects

_BEYOND = "beyond"
TOO_NEAR = "with them it would tell few homes apart from another sum about nearly the same model"
_IF_NOT_FINITE = (
    "a smaller train.learning_rate may help, or inputs that are scaled (data.scale); in a module "
    "of your own look at logarithms, roots and divisions"
)
NOT_IN_TIME = "they had not answered when the question was closed"


class UsableSums:
    """Asks for sums, and takes those that can be used.

    Args:
        channel: Computes sums.
        plan: The plan.
        suspects: Take note of sums that hold and of those that do not.
        log: The run's log.

    Attributes:
        over: Whether of the last question no sum was of use, and none can be had any more: what was
            opened was beyond what homes can add, and homes open no second one about a model.
    """

    def __init__(self, channel: Channel, *, plan: Plan, suspects: Suspects, log: EventLog) -> None:
        self.over = False
        self.channel, self.plan, self.suspects, self.log = channel, plan, suspects, log
        self._notes = FoldedNotes(log)
        self._empty: dict[tuple[str, int, int], int] = {}

    def ask(
        self, messages: list[Message], request: SumRequest
    ) -> Iterator[tuple[GroupSum, Total | None]]:
        """Yield each group's sum, and what it amounts to: None where it cannot be used."""
        self.over, given_up = False, list[bool]()
        for group in self.channel.ask(messages, request):
            total = None
            if group.words is not None:
                try:
                    total = self._usable(group, request)
                except SumError as error:
                    group.words, group.homes, group.reason = None, 0, error.message
                    name = name_of(request.purpose, request.model_hash, group.number)
                    self.channel.journal.give_up(name)
                    if error.reason == _BEYOND:
                        self.suspects.spoilt(group.number, request.purpose, group.arrived)
                else:
                    self.suspects.held(group.number, request.purpose, group.arrived)
            name = name_of(request.purpose, request.model_hash, group.number)
            given_up.append(total is None and self.channel.journal.spent(name))
            self._log_group(group, request)
            yield group, total
        self.over = bool(given_up) and all(given_up)

    def _usable(self, group: GroupSum, request: SumRequest) -> Total:
        """Return what a group's sum amounts to, and count in it the homes that added something.

        Raises:
            SumError: ``beyond``: homes that keep to the protocol cannot have added it up, or set
                that many flags; or
                ``empty-handed``: fewer homes than the plan's fewest added anything.
        """
        assert group.form is not None, "an opened sum has a form"
        total = within(group.form, group.total)
        # Where noise is added, no flag says who has nothing besides.
        empty = round(total.values.get(EMPTY_HANDED.name, 0.0))
        self._tell_empty_handed(group, request, empty)
        check_counts(summed(request.kind).one_of, group.form, total, group.homes - empty)
        if empty:
            group.homes -= empty
            if group.homes < self.plan.aggregation.min_cohort:
                raise SumError(
                    f"{counted(group.homes, 'home')} added something to a sum: what the others "
                    f"learnt or measured is not finite, or failed; {_IF_NOT_FINITE}",
                    reason="empty-handed",
                )
        return within(request.form, total)

    def _tell_empty_handed(self, group: GroupSum, request: SumRequest, empty: int) -> None:
        """Tell how many homes of a sum had nothing to add, whenever that is another number.

        Which they are, a sum hides: their own logs say it.
        """
        key = (request.kind, request.shell, group.number)
        if empty == self._empty.get(key, 0):
            return
        self._empty[key] = empty
        told = (
            f"{empty} of {group.homes} homes had nothing to add to a sum of {request.kind!r}: "
            "their own logs say why"
        )
        self.log.append(
            EMPTY,
            round=request.round,
            stage=request.kind,
            group=group.number,
            homes=empty,
            reason=told if empty else f"all homes add something to sums of {request.kind!r} again",
        )

    def _log_group(self, group: GroupSum, request: SumRequest) -> None:
        for note in group.notes:
            self._notes.tell(note)
        where = {"round": request.round, "stage": request.kind}
        if group.again:
            kept = {"homes": group.homes, "missing": group.missing}
            self.log.append(AGAIN, **where, **kept, reason=group.again)
        if group.late:
            self.log.append(LATE, **where, homes=list(group.late), reason=NOT_IN_TIME)
        if group.unlike:
            self.log.append(PASSED, **where, homes=list(group.unlike), reason=TOO_NEAR)
        if group.words is None:
            reason, said = group.reason, Counter(text for _, text in group.failed)
            for text, homes in said.most_common(1):
                reason = f"{reason}; {homes} of {len(group.messages)} homes said: {text}"
            self.log.append(
                "sum-failed",
                **where,
                homes=len(group.messages),
                reason=reason,
            )
