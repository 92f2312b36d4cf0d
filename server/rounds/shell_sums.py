"""Who is asked for which shell of a sliced model: never fewer homes than a sum may hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from flwr.app import ConfigRecord, Message, RecordDict
from numpy.typing import NDArray

from fedhome.flower.messages import ARRAYS, CONFIG, content_of
from fedhome.plan.protocol import least_in_a_sum
from fedhome.plan.settings import Plan
from fedhome.plan.sliced_plan import is_sliced
from fedhome.questions.settings import SHELL
from fedhome.questions.shells import shells_of
from fedhome.run.events import EventLog
from fedhome.wire.layout import Layout


class ShellSums:
    """The shells of a fleet's model.

    Args:
        plan: The plan, with tiers.
        layout: Layout of the whole model.
        tiers: Returns the number of each home's tier, from the smallest, by its name.
        log: The run's log.
    """

    def __init__(
        self, plan: Plan, layout: Layout, tiers: Callable[[], Mapping[str, int]], log: EventLog
    ) -> None:
        self._plan, self._log = plan, log
        self._shells = shells_of(plan, layout)
        self._tiers = tiers()
        self._told: set[int] = set()

    @classmethod
    def of(
        cls, plan: Plan, layout: Layout, tiers: Callable[[], Mapping[str, int]], log: EventLog
    ) -> ShellSums | None:
        """Return the shells of a fleet's model; None where all homes carry all of it."""
        return cls(plan, layout, tiers, log) if is_sliced(plan) else None

    @property
    def count(self) -> int:
        """How many shells there are."""
        return len(self._shells)

    def places(self, shell: int) -> NDArray[np.int64]:
        """Return where a shell's numbers lie in the model."""
        return self._shells[shell]

    def asked(
        self, shell: int, messages: Sequence[Message], names: Mapping[int, str]
    ) -> list[Message]:
        """Return the messages that ask for a shell; none where too few homes carry it.

        Args:
            shell: The shell.
            messages: Those that asked for the first one.
            names: Name of the home behind each node.
        """
        nodes = [message.metadata.dst_node_id for message in messages]
        carrying = [node for node in nodes if self._tiers[names[node]] >= shell]
        least = least_in_a_sum(self._plan, fleet=len(self._tiers), roster=len(carrying))
        if len(carrying) < least:
            self._tell(shell, len(carrying), least)
            return []
        config = ConfigRecord(dict(content_of(messages[0])[1]))
        config[SHELL] = shell
        arrays = next(iter(messages[0].content.array_records.values()))
        content = RecordDict({ARRAYS: arrays, CONFIG: config})
        kind = messages[0].metadata.message_type
        return [Message(content, dst_node_id=node, message_type=kind) for node in carrying]

    def _tell(self, shell: int, homes: int, least: int) -> None:
        if shell in self._told:
            return
        self._told.add(shell)
        tier = self._plan.slicing.in_order()[shell].name
        self._log.append(
            "note",
            text=f"{homes} homes were asked that carry what tier {tier} has and no smaller one: a "
            f"sum takes {least}, so this part of the model stays as it is while there are no more",
        )
