"""A grid that answers with sums over groups of homes, around any other grid.

A strategy sees one reply for each group: its exact mean, its summed weight, its mean metrics.
Nothing of a single home passes through here. Any strategy that works on sums runs unmodified;
one that needs single updates sees each group as if it were a home.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from numpy.typing import NDArray

from fedhome.errors import EngineError, FedHomeError
from fedhome.flower.messages import EXAMPLES, array_record, content_of, failure, read_flat, reply
from fedhome.learning import update_clipping
from fedhome.plan.settings import Plan
from fedhome.questions import contributions
from fedhome.run.events import EventLog
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.form import Form, Total
from fedhome.secagg.scalars import Scalar
from fedhome.server.rounds.sum_scale import Scale
from fedhome.server.rounds.sums import Channel, GroupSum, Question, Traffic
from fedhome.wire.layout import Layout

_IN_THE_CLEAR = "query"


class SecureGrid(Grid):
    """Answers with opened sums.

    Args:
        channel: What brings sums about, over the grid that messages travel on.
        plan: The plan.
        layout: Layout of the parameters.
        log: The run's log.
        observe: Answers a question home by home, past the protocol: a simulation looks at its
            own homes so. None where there is nobody to ask.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        plan: Plan,
        layout: Layout,
        log: EventLog,
        observe: Callable[[list[Message]], Iterable[Message]] | None = None,
    ) -> None:
        self.channel = channel
        self.plan = plan
        self.layout = layout
        self.log = log
        self.observe = observe
        self.scale = Scale(plan.aggregation)
        self.late = 0
        self._behind: dict[str, int] = {}
        self._waiting: dict[str, Message] = {}
        self._sent = 0

    @property
    def traffic(self) -> Traffic:
        """Bytes since the start, from all homes and to all homes."""
        return self.channel.traffic

    def homes_behind(self, answer: Message) -> int:
        """Return how many homes a reply stands for."""
        return self._behind.get(answer.metadata.reply_to_message_id, 1)

    def set_run(self, run: Run) -> None:
        """Set the run."""
        self.channel.grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run."""
        return self.channel.grid.run

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
        """Return the nodes of all homes."""
        return self.channel.grid.get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer messages at once and keep the replies until they are pulled."""
        asked = list(messages)
        for answer in self.send_and_receive(asked):
            self._waiting[answer.metadata.reply_to_message_id] = answer
        return [message.metadata.message_id for message in asked]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages that are there."""
        return [self._waiting.pop(name) for name in message_ids if name in self._waiting]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Answer messages, those with the same content and type together."""
        together: dict[tuple[int, str], list[Message]] = {}
        asked = list(messages)
        self._behind.clear()
        self.late = 0
        for message in asked:
            self._sent += 1
            message.metadata.__dict__["_message_id"] = f"sum-{self._sent}"
            key = (id(message.content), message.metadata.message_type)
            together.setdefault(key, []).append(message)
        return [
            answer
            for (_, kind), some in together.items()
            for answer in self._answers(kind, some, timeout)
        ]

    def _answers(self, kind: str, asked: list[Message], timeout_s: float | None) -> list[Message]:
        if kind == _IN_THE_CLEAR:  # shapes of a home's data, which are the plan's, not the home's
            return list(self.channel.grid.send_and_receive(asked, timeout=timeout_s))
        arrays, config = content_of(asked[0])
        try:
            start = read_flat(self.layout, arrays)
            round_number = _round_of(config, self.scale.turn)
            if not self._census(asked, round_number, timeout_s):
                return []
            question = self._question(kind, config, start, round_number, timeout_s)
        except EngineError:  # no home's refusal: a simulation that cannot go on
            raise
        except FedHomeError as error:
            return [failure(message, error.message) for message in asked]
        answers: list[Message] = []
        totals: list[Total] = []
        for group in self.channel.ask(asked, question):
            self._tell(group, question)
            answers += [failure(message, reason) for message, reason in group.failed]
            if group.words is not None:
                total = question.form.decode(group.words, group.homes)
                totals.append(total)
                answers.append(self._answer(kind, group, total, start))
        self.late += self.channel.late
        if kind == contributions.TRAIN:
            self.scale.learn(totals)
        return answers

    def _census(self, asked: list[Message], round_number: int, timeout_s: float | None) -> bool:
        """Find out how many examples homes have at most, once in a run; False if that failed."""
        if self.scale.weight_cap is not None:
            return True
        content = RecordDict({"config": ConfigRecord()})
        question = self._ask_of(
            contributions.CENSUS,
            contributions.scalars_of(contributions.CENSUS, {}, 0),
            b"",
            round_number,
            timeout_s,
        )
        messages = [
            Message(content, dst_node_id=m.metadata.dst_node_id, message_type=contributions.CENSUS)
            for m in asked
        ]
        totals = []
        for group in self.channel.ask(messages, question):
            self._tell(group, question)
            if group.words is not None:
                totals.append(question.form.decode(group.words, group.homes))
        if totals:
            self.scale.count(totals)
            self.log.append("weights-counted", weight_cap=self.scale.weight_cap)
        return bool(totals)

    def _question(
        self,
        kind: str,
        config: ConfigRecord,
        start: NDArray[np.float32],
        round_number: int,
        timeout_s: float | None,
    ) -> Question:
        settings = self.plan.personalise
        tried = len(settings.rates) * (1 + settings.epochs)
        scalars = contributions.scalars_of(kind, config, tried)
        model = hashlib.sha256(start.astype("<f4").tobytes()).digest()
        return self._ask_of(kind, scalars, model, round_number, timeout_s)

    def _ask_of(
        self,
        kind: str,
        scalars: tuple[Scalar, ...],
        model: bytes,
        round_number: int,
        timeout_s: float | None,
    ) -> Question:
        settings = self.plan.aggregation
        self.scale.turn += 1
        counted = kind in {contributions.TRAIN, contributions.EVALUATE}
        return Question(
            kind=kind,
            round=round_number,
            turn=self.scale.turn,
            form=Form(
                elements=self.layout.size if kind == contributions.TRAIN else 0,
                layout=bytes.fromhex(self.layout.hash),
                fixed=FixedPoint(
                    bits=settings.bits,
                    clip=self.scale.clip,
                    norm=settings.clip_in,
                    weight_cap=(self.scale.weight_cap or 1) if counted else 1,
                ),
                scalars=scalars,
                homes=len(self.channel.names),
            ),
            model_hash=model or bytes(32),
            timeout_s=timeout_s,
        )

    def _answer(
        self, kind: str, group: GroupSum, total: Total, start: NDArray[np.float32]
    ) -> Message:
        """Answer for a group, in the place of its first home that did not fail."""
        failed = {id(message) for message, _ in group.failed}
        first = next(message for message in group.asked if id(message) not in failed)
        arrays: ArrayRecord | None = None
        if kind == contributions.TRAIN:
            mean = (start + total.mean).astype(np.float32)
            arrays = array_record(self.layout, mean, lazy=True)
        answer = reply(first, _metrics(kind, total, group.homes), arrays)
        self._behind[answer.metadata.reply_to_message_id] = group.homes
        return answer

    def _tell(self, group: GroupSum, question: Question) -> None:
        for note in group.notes:
            self.log.append("note", text=note)
        if group.words is None:
            self.log.append(
                "sum-failed",
                round=question.round,
                stage=question.kind,
                homes=len(group.asked),
                reason=group.reason,
            )


def _metrics(kind: str, total: Total, homes: int) -> dict[str, float | int | list[float]]:
    values: dict[str, Any] = dict(total.values)
    metrics: dict[str, float | int | list[float]] = {EXAMPLES: max(total.weight, 1)}
    if kind == contributions.TRAIN:
        metrics["train_loss"] = values["train_loss"]
        metrics |= update_clipping.share_of(values, homes)
    elif kind == contributions.TRIAL:
        metrics["changes"] = list(values.values())
    elif kind == contributions.OUTCOME:
        metrics |= {"homes": homes, "counts": list(values.values())}
    else:
        metrics |= values
    return metrics


def _round_of(config: ConfigRecord, turn: int) -> int:
    told = config.get("server-round")
    return told if isinstance(told, int) else turn
