"""What strategies are made of: a wrapper's inside is found, and nothing else is taken for it."""

from __future__ import annotations

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import FedAvg, Strategy

from fedhome.flower.broadcast import fast_broadcasts
from fedhome.flower.strategy_layers import layers_of


class _Named(FedAvg):
    """A user's own: what it does is a word, under the name that wrappers use."""

    def __init__(self, strategy: str = "careful") -> None:
        super().__init__()
        self.strategy = strategy


class _Ring(FedAvg):
    def __init__(self) -> None:
        super().__init__()
        self.strategy: Strategy = self


def test_layers_come_from_the_outside_in() -> None:
    inner = FedAvg()
    middle = flower.DifferentialPrivacyServerSideFixedClipping(inner, 1.0, 1.0, 3)
    outer = flower.DifferentialPrivacyClientSideFixedClipping(middle, 1.0, 1.0, 3)
    assert list(layers_of(outer)) == [outer, middle, inner]
    assert list(layers_of(inner)) == [inner]


def test_a_word_named_strategy_is_no_layer_and_stops_nothing() -> None:
    named = _Named()
    assert list(layers_of(named)) == [named]
    with fast_broadcasts(named):
        assert "_construct_messages" in vars(named)
    assert "_construct_messages" not in vars(named)


def test_a_strategy_that_holds_itself_ends() -> None:
    ring = _Ring()
    assert list(layers_of(ring)) == [ring]
