"""The rates that a fleet tried and chose, in words: for progress, and for a run's summary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from fedhome.run.events import Event

RATES_TRIED: Final = "rates-tried"
RATES_CHOSEN: Final = "rates-chosen"


def rates_tried(data: Any) -> str:
    """Return what came of one attempt, from its event's data."""
    if data["loss"] is None:
        return f"tried {_rates(data)}: its validation is unknown"
    return f"tried {_rates(data)}: validation {data['loss']:.4f}, once homes have adapted it"


def rates_chosen(data: Any) -> str:
    """Return what a fleet chose, from its event's data."""
    if data["loss"] is None:
        return (
            f"none of {data['tried']} rates was judged: the run goes on with {_rates(data)}, the "
            "first; the log says why"
        )
    return (
        f"of {data['tried']} rates tried, the run goes on with {_rates(data)}, from round "
        f"{data['round']}"
    )


def rates_in(events: Iterable[Event]) -> str:
    """Return what a finished run's fleet chose, and how to name it; empty where it chose none."""
    chosen: list[Any] = [one.data for one in events if one.event == RATES_CHOSEN]
    if not chosen or chosen[-1]["loss"] is None:
        return ""
    data = chosen[-1]
    return (
        f"rates that the fleet chose: train.rate = {data['train']:g}, strategy.rate = "
        f"{data['server']:g}"
    )


def _rates(data: Any) -> str:
    return (
        f"{data['train']:g} times train.learning_rate and {data['server']:g} times the strategy's "
        "step"
    )
