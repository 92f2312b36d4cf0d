"""A grid that answers with sums over groups of homes, around any other grid.

A strategy sees one reply for each group: its exact mean, its summed weight, its mean metrics.
Nothing of a single home passes through here. Any strategy that works on sums runs unmodified;
one that needs single updates sees each group as if it were a home.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from fedhome.errors import EngineError, FedHomeError, PrivacyBudgetError
from fedhome.flower.grid_around import GridAround
from fedhome.flower.messages import (
    EXAMPLES,
    array_record,
    content_of,
    failure,
    identify,
    read_flat,
    reply,
)
from fedhome.plan.protocol import least_in_a_sum, quorum_of
from fedhome.plan.settings import Plan
from fedhome.plan.transfer_plan import bits_of
from fedhome.questions.empty_handed import EMPTY_HANDED
from fedhome.questions.outcomes import MOST_BINS, bins_for
from fedhome.questions.question_table import CENSUS, TRAIN, SummedQuestion, summed
from fedhome.questions.settings import INPUTS, SHELL, inputs_hash, settings_hash
from fedhome.questions.shells import shell_layout
from fedhome.questions.transfer import count_of, decoded
from fedhome.run.events import EventLog
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.form import Form, Total
from fedhome.secagg.scalars import Scalar
from fedhome.server.rounds.fitting_homes import UnfitHomes
from fedhome.server.rounds.noise_budget import NoiseBudget
from fedhome.server.rounds.shell_sums import ShellSums
from fedhome.server.rounds.sum_scale import Scale
from fedhome.server.rounds.sums import Channel, GroupSum, SumRequest, Traffic
from fedhome.server.rounds.suspects import Suspects
from fedhome.server.rounds.usable_sums import UsableSums
from fedhome.wire.layout import Layout, model_hash
from fedhome.wire.names import SHAPE

_ALIKE = (
    "the homes' examples could not be counted, and homes count them once under a directory: all "
    "homes count alike until the next one"
)


class SecureGrid(GridAround):
    """Answers with opened sums.

    Args:
        channel: Computes sums, over the grid that messages travel on.
        plan: The plan.
        layout: Layout of the parameters.
        log: The run's log.
        observe: Answers a question home by home, past the protocol, as a simulation looks at its
            own homes; None where there is nobody to ask.

    Attributes:
        unfit: Homes whose inputs are not the plan's; None: there are none.
        sums: Asks for sums.
        spent_budget: Why no sum with noise is asked for any more; None: it is.
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
        super().__init__(channel.grid)
        self.channel = channel
        self.plan = plan
        self.layout = layout
        self.log = log
        self.observe = observe
        self.scale = Scale(plan.aggregation)
        self.budget = NoiseBudget.of(plan, homes=channel.fleet, parameters=layout.size, log=log)
        self.unfit: UnfitHomes | None = None
        self.shells = ShellSums.of(plan, layout, channel.tiers, log)
        self.suspects = Suspects(
            plan,
            seed=channel.seed,
            names=channel.names.values(),
            fleet=channel.fleet,
            left_out=channel.left_out,
            log=log,
            folder=channel.journal.folder,
        )
        self.sums = UsableSums(channel, plan=plan, suspects=self.suspects, log=log)
        self.late = self.unopened = 0
        self.spent_budget: PrivacyBudgetError | None = None
        self._behind: dict[str, int] = {}
        self._waiting: dict[str, Message] = {}
        self._sent = 0

    @property
    def left_out(self) -> set[str]:
        """Names of the homes that are asked for nothing that is summed.

        Raises:
            StateError: The list of them cannot be read.
        """
        names = self.channel.names
        unfit = set() if self.unfit is None else {names[node] for node in self.unfit.nodes}
        return unfit.union(self.channel.left_out.reasons)

    def spent(self, model: NDArray[np.float32]) -> bool:
        """Return whether homes train no more from a model, and nothing came of it when they did.

        Args:
            model: Its parameters, float32 ``[size]``.
        """
        names = self.channel.names_of(TRAIN, model_hash(model))
        return any(self.channel.journal.spent(name) for name in names)

    def checkpointed(self, *models: NDArray[np.float32]) -> None:
        """Forget sums that a checkpoint holds the outcome of: all but those about some models.

        Args:
            models: The parameters that homes may still be asked about, float32 ``[size]`` each.
        """
        self.channel.journal.keep_only(map(model_hash, models))

    @property
    def traffic(self) -> Traffic:
        """Bytes since the start, from all homes and to all homes."""
        return self.channel.traffic

    def bins_of_scores(self) -> int:
        """Return into how many bins homes' scores may fall: see :mod:`fedhome.questions.outcomes`.

        With noise a bin tells no single home, however few they are.
        """
        if self.budget is not None:
            return MOST_BINS
        group = len(self.suspects.staying) // self.plan.aggregation.groups
        least = least_in_a_sum(self.plan, fleet=self.channel.fleet, roster=group)
        return bins_for(least, cohort=self.plan.aggregation.min_cohort)

    def noise_of_counts(self, kind: str, config: Mapping[str, Any]) -> dict[str, float]:
        """Return the standard deviation of a count's noise in a question, as a log tells it.

        Args:
            kind: Type of the question's messages; its numbers are flags.
            config: The settings that come with it.
        """
        if self.budget is None:
            return {}
        scalars = summed(kind).scalars(config, self.plan.personalise)
        return {"noise_homes": self.budget.homes_of_noise(kind, scalars)}

    def homes_behind(self, response: Message) -> int:
        """Return how many homes a reply stands for."""
        return self._behind.get(response.metadata.reply_to_message_id, 1)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes of the homes to ask: not of those that are left out."""
        names = self.channel.names
        nodes = list(self.channel.grid.get_node_ids())
        if self.unfit is not None:
            nodes = self.unfit.without(nodes)
        asked = self.suspects.asked({names[node] for node in nodes if node in names})
        return [node for node in nodes if names.get(node) in asked]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer messages at once and keep the replies until they are pulled."""
        sent = list(messages)
        for response in self.send_and_receive(sent):
            self._waiting[response.metadata.reply_to_message_id] = response
        return [message.metadata.message_id for message in sent]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies to these messages that are there."""
        return [self._waiting.pop(name) for name in message_ids if name in self._waiting]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Answer messages, those with the same content and type together."""
        batches: dict[tuple[int, str], list[Message]] = {}
        sent = list(messages)
        self._behind.clear()
        self.late = self.unopened = 0
        for message in sent:
            self._sent += 1
            identify(message, f"sum-{self._sent}")
            key = (id(message.content), message.metadata.message_type)
            batches.setdefault(key, []).append(message)
        return [
            response
            for (_, kind), batch in batches.items()
            for response in self._replies(kind, batch, timeout)
        ]

    def _replies(
        self, kind: str, messages: list[Message], timeout_s: float | None
    ) -> list[Message]:
        if kind == SHAPE:  # shapes of a home's data, which are the plan's, not the home's
            return list(self.channel.grid.send_and_receive(messages, timeout=timeout_s))
        arrays, config = content_of(messages[0])
        try:
            start = read_flat(self.layout, arrays)
            round_number = _round_of(config, self.scale.sum_number)
            refused = self._census(messages, round_number, timeout_s)
            if self.budget is None and self.scale.weight_cap is None:
                return refused
            row = summed(kind)
            request = self._request(
                row,
                row.lanes(config, self.plan.personalise),
                settings=config,
                model=model_hash(start),
                round_number=round_number,
                least=quorum_of(self.plan, len(messages)) if row.update else 1,
                timeout_s=timeout_s,
            )
            if self.budget is not None and not self.channel.knows(request):
                self.budget.spend(kind, request.form, round_number)
        except PrivacyBudgetError as error:
            self.spent_budget = error
            return [failure(message, error.message) for message in messages]
        except EngineError:  # no home's refusal: a simulation that cannot go on
            raise
        except FedHomeError as error:
            return [failure(message, error.message) for message in messages]
        responses: list[Message] = []
        totals: list[Total] = []
        for group, total in self.sums.ask(messages, request):
            responses += [failure(message, reason) for message, reason in group.failed]
            if total is None:
                continue
            totals.append(total)
            mean = None
            if row.update:
                mean = decoded(self.plan, total.mean, self.layout, config)
                if self.shells is not None:
                    mean = self._learnt(request, messages, start, total)
            responses.append(self._group_reply(row, group, total, start, mean))
        self.late += self.channel.late
        self.unopened += self.channel.unopened
        if kind == TRAIN and self.budget is None:
            self.scale.learn(totals)
        return responses

    def _learnt(
        self,
        first: SumRequest,
        messages: list[Message],
        start: NDArray[np.float32],
        total: Total,
    ) -> NDArray[np.float64]:
        """Return how a sliced model moves ``[size]``: shell by shell, each by its own sum.

        Args:
            first: The sum of the first shell, which all homes carry.
            messages: Who was asked for it.
            start: The model ``[size]``.
            total: What it came to.
        """
        assert self.shells is not None, "a plan with slices has them"
        late, unopened = self.channel.late, self.channel.unopened
        moved = np.zeros(len(start))
        moved[self.shells.places(0)] = total.mean
        for shell in range(1, self.shells.count):
            asked = self.shells.asked(shell, messages, self.channel.names)
            if not asked:
                continue
            settings = content_of(asked[0])[1]
            request = self._request(
                summed(TRAIN),
                summed(TRAIN).lanes(settings, self.plan.personalise),
                settings=settings,
                model=first.model_hash,
                round_number=first.round,
                least=quorum_of(self.plan, len(asked)),
                timeout_s=first.timeout_s,
            )
            for _, found in self.sums.ask(asked, request):
                if found is not None:
                    moved[self.shells.places(shell)] = found.mean
        self.channel.late, self.channel.unopened = late, unopened  # the same homes, asked again
        return moved

    def _census(
        self, messages: list[Message], round_number: int, timeout_s: float | None
    ) -> list[Message]:
        """Find out how many examples homes have at most, once in a run.

        Returns:
            What homes say that refuse; the scale knows what came of it.
        """
        if self.scale.weight_cap is not None or self.budget is not None:
            return []  # with noise every home counts once
        asked = {INPUTS: inputs_hash(self.plan)}
        content = RecordDict({"config": ConfigRecord(dict(asked))})
        row = summed(CENSUS)
        request = self._request(
            row,
            row.lanes({}, self.plan.personalise),
            settings=asked,
            model=bytes(32),
            round_number=round_number,
            least=1,
            timeout_s=timeout_s,
        )
        by_node = {message.metadata.dst_node_id: message for message in messages}
        counting = [Message(content, dst_node_id=node, message_type=CENSUS) for node in by_node]
        totals, refused = [], list[Message]()
        for group, total in self.sums.ask(counting, request):
            refused += [
                failure(by_node[message.metadata.dst_node_id], reason)
                for message, reason in group.failed
            ]
            if total is not None:
                totals.append(total)
        if totals:
            self.scale.count(totals)
            self.log.append("weights-counted", weight_cap=self.scale.weight_cap)
        elif all(
            map(self.channel.journal.spent, self.channel.names_of(request.purpose, bytes(32)))
        ):
            self.scale.count_alike()
            self.log.append("note", text=_ALIKE)
        return refused

    def _request(
        self,
        row: SummedQuestion,
        scalars: tuple[Scalar, ...],
        *,
        settings: Mapping[str, Any],
        model: bytes,
        round_number: int,
        least: int,
        timeout_s: float | None,
    ) -> SumRequest:
        self.scale.sum_number += 1
        layout = shell_layout(self.plan, self.layout, settings) if row.update else self.layout
        form = Form(
            elements=count_of(self.plan, layout, settings) if row.update else 0,
            layout=bytes.fromhex(layout.hash),
            fixed=FixedPoint(
                bits=bits_of(self.plan),
                clip=self.scale.clip,
                norm=self.plan.aggregation.clip_in,
                weight_cap=(self.scale.weight_cap or 1) if row.weighted else 1,
            ),
            scalars=scalars,
            homes=len(self.channel.names),
        )
        return SumRequest(
            kind=row.name,
            round=round_number,
            sum_number=self.scale.sum_number,
            form=form if self.budget is None else self.budget.form_of(row.name, form),
            settings=settings_hash(settings),
            model_hash=model,
            least=least,
            timeout_s=timeout_s,
            shell=int(settings.get(SHELL, 0)),
        )

    def _group_reply(
        self,
        row: SummedQuestion,
        group: GroupSum,
        total: Total,
        start: NDArray[np.float32],
        moved: NDArray[np.float64] | None,
    ) -> Message:
        """Return a group's reply, in the name of its first home that did not fail."""
        failed = {id(message) for message, _ in group.failed}
        first = next(message for message in group.messages if id(message) not in failed)
        arrays: ArrayRecord | None = None
        if moved is not None:
            mean = (start + moved).astype(np.float32)
            arrays = array_record(self.layout, mean, lazy=True)
        values = {name: one for name, one in total.values.items() if name != EMPTY_HANDED.name}
        metrics = {EXAMPLES: max(total.weight, 1), **row.metrics(values, group.homes)}
        response = reply(first, metrics, arrays)
        self._behind[response.metadata.reply_to_message_id] = group.homes
        return response


def _round_of(config: ConfigRecord, sum_number: int) -> int:
    value = config.get("server-round")
    return value if isinstance(value, int) else sum_number
