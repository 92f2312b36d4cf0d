"""All of very many nodes are asked in their own order; all others as Flower asks them."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message
from flwr.serverapp import strategy as flower

from fedhome.flower.broadcast import Broadcast, fast_broadcasts
from fedhome.flower.messages import take_identity
from fedhome.simulations.engines.grid import InProcessGrid

_MANY = 4096


class _Silent(InProcessGrid):
    def answer(self, messages: list[Message]) -> Iterable[Message]:
        raise NotImplementedError

    observe = answer


def _asked(strategy: flower.FedAvg, nodes: int, *, of: str = "train", whole: bool = True) -> Any:
    take_identity(1)
    grid, arrays = _Silent([f"home-{n}" for n in range(nodes)]), ArrayRecord({})
    random.seed(5)
    with fast_broadcasts(strategy, whole=whole):
        configure = getattr(strategy, f"configure_{of}")
        messages = configure(7, arrays, ConfigRecord({"own": 1}), grid)
    assert not {"configure_train", "configure_evaluate"} & set(vars(strategy))
    return messages


def _nodes(messages: Iterable[Message]) -> list[int]:
    return [message.metadata.dst_node_id for message in messages]


@pytest.mark.parametrize("of", ["train", "evaluate"])
def test_all_of_many_are_asked_in_their_order_and_told_what_flower_tells(of: str) -> None:
    averaging = flower.FedAvg(arrayrecord_key="model", configrecord_key="settings")
    messages = _asked(averaging, _MANY, of=of)
    flowers = _asked(averaging, _MANY, of=of, whole=False)
    assert isinstance(messages, Broadcast)
    assert np.array_equal(messages.nodes, np.arange(2, _MANY + 2))
    assert sorted(_nodes(flowers)) == messages.nodes.tolist() != _nodes(flowers)
    (own, theirs) = messages[0].content, flowers[0].content
    assert list(own) == list(theirs) == ["model", "settings"]
    assert dict(own["settings"]) == dict(theirs["settings"]) == {"own": 1, "server-round": 7}
    assert messages[0].metadata.message_type == flowers[0].metadata.message_type == of


@pytest.mark.parametrize(
    ("settings", "nodes"),
    [
        ({}, _MANY - 1),
        ({"fraction_train": 0.5, "fraction_evaluate": 0.5}, _MANY),
        ({"fraction_train": 0.9999, "fraction_evaluate": 0.9999}, _MANY),
    ],
)
@pytest.mark.parametrize("of", ["train", "evaluate"])
def test_else_who_is_asked_is_drawn_as_flower_draws_it(
    settings: dict[str, float], nodes: int, of: str
) -> None:
    averaging = flower.FedAvg(**settings)  # type: ignore[arg-type]
    drawn = _nodes(_asked(averaging, nodes, of=of))
    assert drawn == _nodes(_asked(averaging, nodes, of=of, whole=False))
    assert drawn != sorted(drawn)


def test_nobody_is_asked_where_nobody_is_to_be_asked() -> None:
    averaging = flower.FedAvg(fraction_evaluate=0.0)
    assert list(_asked(averaging, _MANY, of="evaluate")) == []


def test_a_strategy_that_asks_in_its_own_way_draws_as_ever() -> None:
    proximal = flower.FedProx()
    assert _nodes(_asked(proximal, _MANY)) == _nodes(_asked(proximal, _MANY, whole=False))
