"""Messages to many nodes that differ in their receiver alone, each made when it is looked at.

Of a thousand messages that homes in this process answer together, nobody looks at one: to make,
number and read them takes a sixth as long as it takes the homes to train a small network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, overload

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Strategy
from numpy.typing import NDArray

from fedhome.flower.messages import broadcast_messages, copies_for, identify
from fedhome.flower.strategy_layers import layers_of

_DIGITS = 19  # of an identifier: more messages are never sent
_MANY: Final = 4096  # nodes of which all are asked in their own order, and in none that is drawn


class Broadcast(Sequence[Message]):
    """Messages with one content.

    Args:
        content: It.
        nodes: Whom they are for; at least one.
        kind: Type of the messages.
    """

    def __init__(self, content: RecordDict, nodes: Sequence[int], kind: str) -> None:
        self._first = Message(content=content, message_type=kind, dst_node_id=nodes[0])
        self._nodes = nodes
        self._made: list[Message] | None = None
        self._number: int | None = None

    def __len__(self) -> int:
        return len(self._nodes)

    @overload
    def __getitem__(self, index: int) -> Message: ...

    @overload
    def __getitem__(self, index: slice) -> list[Message]: ...

    def __getitem__(self, index: int | slice) -> Message | list[Message]:
        return self._first if index == 0 else self._all()[index]

    @property
    def nodes(self) -> NDArray[np.int64]:
        """Whom the messages are for, ``[messages]``."""
        return np.array(self._nodes, np.int64)

    def number(self, first: int) -> None:
        """Give the messages their identifiers: numbers in their order, from this one."""
        self._number = first
        for index, message in enumerate([self._first] if self._made is None else self._made):
            identify(message, f"{first + index}")

    def node_of(self, name: str) -> int | None:
        """Return whom the message of an identifier is for; None: it is none of these."""
        number = len(name) <= _DIGITS and name.isascii() and name.isdecimal()
        if self._number is None or not number:
            return None
        index = int(name) - self._number
        here = 0 <= index < len(self) and name == f"{self._number + index}"
        return int(self._nodes[index]) if here else None

    def _all(self) -> list[Message]:
        if self._made is None:
            self._made = copies_for(self._first, self._nodes)
            if self._number is not None:
                self.number(self._number)
        return self._made


@contextmanager
def fast_broadcasts(strategy: Strategy, *, whole: bool = False) -> Iterator[None]:
    """Let Flower's averaging strategies create their messages at a tenth of the cost.

    A round's messages differ in their receiver alone, but Flower checks every argument of every
    one anew. A strategy with its own way to create messages is left unchanged. And where all of
    very many nodes are asked, Flower draws an order of them, which costs more than all else in a
    round on a fast GPU, and means nothing: they are asked in their own.

    Args:
        strategy: The strategy.
        whole: Whether whoever takes the messages is content with a :class:`Broadcast`. A strategy
            that chooses or changes messages in a way of its own is given a list all the same.
    """
    whole = whole and all(
        getattr(type(strategy), name) is getattr(FedAvg, name)
        for name in ("configure_train", "configure_evaluate")
    )
    changed = [
        layer
        for layer in layers_of(strategy)
        if isinstance(layer, FedAvg)
        and type(layer)._construct_messages is FedAvg._construct_messages  # noqa: SLF001
    ]
    for averaging in changed:
        vars(averaging)["_construct_messages"] = _broadcast if whole else broadcast_messages
    asking = changed if whole else []  # then it is the strategy itself
    for averaging in asking:
        vars(averaging)["configure_train"] = _asks(averaging, "train")
        vars(averaging)["configure_evaluate"] = _asks(averaging, "evaluate")
    try:
        yield
    finally:
        for averaging in changed:
            del vars(averaging)["_construct_messages"]
        for averaging in asking:
            del vars(averaging)["configure_train"], vars(averaging)["configure_evaluate"]


def _asks(averaging: FedAvg, kind: str) -> Callable[..., Iterable[Message]]:
    """Return what asks as Flower's averaging does, and all of very many nodes in their own order.

    Args:
        averaging: The strategy.
        kind: Type of the messages: "train" or "evaluate".
    """
    training = kind == "train"
    fraction = averaging.fraction_train if training else averaging.fraction_evaluate
    needed = averaging.min_train_nodes if training else averaging.min_evaluate_nodes
    drawing = FedAvg.configure_train if training else FedAvg.configure_evaluate

    def asked(
        server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        nodes = list(grid.get_node_ids()) if fraction == 1 else []
        if len(nodes) < max(_MANY, needed, averaging.min_available_nodes):
            return drawing(averaging, server_round, arrays, config, grid)
        config["server-round"] = server_round
        content = RecordDict()
        content[averaging.arrayrecord_key] = arrays
        content[averaging.configrecord_key] = config
        return _broadcast(content, nodes, kind)

    return asked


def _broadcast(record: RecordDict, node_ids: Sequence[int], message_type: str) -> Sequence[Message]:
    return Broadcast(record, node_ids, message_type) if node_ids else []


def listed_messages(messages: Iterable[Message]) -> Sequence[Message]:
    """Return messages as a sequence; a broadcast stays one."""
    return messages if isinstance(messages, Broadcast) else list(messages)
