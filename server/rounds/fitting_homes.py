"""Which homes take part in a run: those whose inputs are the plan's. The others are named.

A home says itself that it does not fit: it refuses questions whose inputs mean something else than
in its own plan, or finds that its readings lack them. It is left out of the run from then on, and
costs the other homes nothing.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple

from flwr.app import ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedhome.counted import counted
from fedhome.errors import RoundError
from fedhome.flower.broadcast import Broadcast
from fedhome.flower.grid_around import GridAround
from fedhome.flower.messages import CONFIG, content_of, error_of
from fedhome.plan.settings import Plan
from fedhome.questions.settings import INPUTS, OTHER_INPUTS, RATE, ROUND, WARM, inputs_hash
from fedhome.reasons import word_in
from fedhome.run.events import EventLog
from fedhome.server.rounds.reply_stream import replies_of
from fedhome.wire.names import SHAPE

_WAIT_S, _POLL_S = 300.0, 1.0
_NO_WIDTHS = "it answers without the width of its model"
_UNFIT = frozenset({"inputs", "unlike"})


class UnfitHomes:
    """The homes that are left out of a run.

    Args:
        log: The run's log, which names each of them once.
        name_of: The name of the home behind a node.
    """

    def __init__(self, log: EventLog, name_of: Callable[[int], str]) -> None:
        self._log, self._name_of = log, name_of
        self.nodes: set[int] = set()

    def hear(self, node: int, reason: str) -> bool:
        """Leave a home out if that is what follows from its refusal; return whether it does."""
        if word_in(reason) not in _UNFIT and OTHER_INPUTS not in reason:
            return False
        self.add(node, reason.partition("\n")[0])
        return True

    def add(self, node: int, reason: str) -> None:
        """Leave a home out, and name it in the log."""
        if node not in self.nodes:
            self.nodes.add(node)
            home = self._name_of(node)
            self._log.append("home-excluded", home=home, reason=f"home {home!r}: {reason}")

    def without(self, nodes: Iterable[int]) -> list[int]:
        """Return the nodes of homes that fit; all where none does: a round then fails."""
        there = list(nodes)
        return [node for node in there if node not in self.nodes] or there


class FittingGrid(GridAround):
    """Any grid, without the homes that are left out.

    Args:
        grid: The grid.
        unfit: These homes.
    """

    def __init__(self, grid: Grid, unfit: UnfitHomes) -> None:
        super().__init__(grid)
        self.unfit = unfit

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes of the homes that fit."""
        return self.unfit.without(self.grid.get_node_ids())


class Shape(NamedTuple):
    """How wide the model of a fleet is.

    Args:
        features: Numbers that go in.
        outputs: Numbers that come out.
    """

    features: int
    outputs: int


def shape_of(grid: Grid, plan: Plan, unfit: UnfitHomes) -> Shape:
    """Ask the homes for the width of their inputs and outputs: the server has no data.

    It is believed where as many homes say the same as a sum takes at least: fewer than these could
    all be an attacker's, and a width that is not the fleet's would end its run. Who refuses since
    its inputs are others, tells no width, or is of another than most, is left out.

    Args:
        grid: How messages travel.
        plan: The plan.
        unfit: Takes the homes that do not fit.

    Raises:
        RoundError: No home connected, or too few say the same.
    """
    least = 1 if plan.aggregation.mode == "plain" else plan.aggregation.min_cohort
    nodes = _connected(grid, least)
    content = RecordDict({CONFIG: ConfigRecord({INPUTS: inputs_hash(plan)})})
    messages = [Message(content, dst_node_id=node, message_type=SHAPE) for node in nodes]
    shapes: dict[int, Shape] = {}
    errors: set[str] = set()
    enough = max(least, (len(nodes) + 1) // 2)
    for index, reply in replies_of(grid, messages, _WAIT_S, enough=enough):
        node = nodes[index]
        if reply.has_error():
            reason = error_of(reply)
            errors.add(reason)
            unfit.hear(node, reason)
        elif (shape := _told_in(reply)) is None:
            errors.add(_NO_WIDTHS)
            unfit.add(node, _NO_WIDTHS)
        else:
            shapes[node] = shape
    # Counted in the order of the nodes: of two equally common ones the same is always taken.
    found = Counter(shapes[node] for node in nodes if node in shapes).most_common(1)
    if not found or found[0][1] < least:
        alike = found[0][1] if found else 0
        raise RoundError(
            f"{counted(alike, 'home')} gave the same width of their model, and {least} must"
            + (f": {'; '.join(sorted(errors)[:3])}" if errors else ""),
            hint="the homes' own logs say more",
        )
    usual = found[0][0]
    for node, shape in shapes.items():
        if shape != usual:
            unfit.add(
                node,
                f"its model has {counted(shape.features, 'input')} and {shape.outputs} "
                "outputs, that of most "
                f"homes {usual.features} and {usual.outputs}",
            )
    return usual


def _told_in(reply: Message) -> Shape | None:
    """Return the widths that a reply tells; None where it tells none."""
    for metrics in reply.content.metric_records.values():
        features, outputs = metrics.get("features"), metrics.get("outputs")
        if type(features) is int and type(outputs) is int and features > 0 and outputs > 0:
            return Shape(features, outputs)
    return None


def tell_inputs(
    messages: Iterable[Message],
    plan: Plan,
    number: int,
    *,
    warm: bool = False,
    rate: float = 1.0,
) -> None:
    """Let messages say what the inputs of the plan mean, also those of a strategy of one's own.

    Args:
        messages: The messages.
        plan: The plan.
        number: The run's round. A strategy may have been told another one: homes are not.
        warm: They ask for a training of a run that began with another one's model: they say at
            which share of the learning rate, too.
        rate: They ask for a training at this multiple of the plan's learning rate.
    """
    told = set[int]()
    more: dict[str, str | float] = {INPUTS: inputs_hash(plan)}
    if warm and plan.train.warm_rate < 1:
        more[WARM] = plan.train.warm_rate
    if rate != 1:
        more[RATE] = rate
    for message in [messages[0]] if isinstance(messages, Broadcast) else messages:
        if id(message.content) in told:
            continue
        told.add(id(message.content))
        settings = content_of(message)[1]
        if ROUND in settings:
            settings[ROUND] = number
        if lacking := more.keys() - settings.keys():
            for name in lacking:
                settings[name] = more[name]
            if not any(record is settings for record in message.content.values()):
                message.content[CONFIG] = settings


def _connected(grid: Grid, least: int) -> list[int]:
    """Return the nodes that are there, once ``least`` are there, or those that came in time."""
    deadline = time.monotonic() + _WAIT_S
    while len(nodes := list(grid.get_node_ids())) < least:
        if time.monotonic() > deadline:
            if nodes:
                return nodes
            raise RoundError(
                f"no home connected within {_WAIT_S:.0f} s", hint="start the homes' clients"
            )
        time.sleep(_POLL_S)
    return nodes
