"""What a strategy gives back, checked: one of a user's own may forget it, or err in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from flwr.app import ArrayRecord, Message

from fedhome.errors import PluginError
from fedhome.flower.broadcast import Broadcast
from fedhome.own_code import kind_told


def messages_to_homes(strategy: object, answer: object, *, of: str) -> Sequence[Message]:
    """Return the messages that ``configure_train`` or ``configure_evaluate`` is to return.

    Args:
        strategy: Whose answer it is.
        answer: What it returned.
        of: Which of the two.

    Raises:
        PluginError: It is something else.
    """
    named = f"{type(strategy).__name__}.{of}"
    hint = "return messages, as Flower's strategies do: what super()." + of + "(...) returns, say"
    if isinstance(answer, Broadcast):
        return answer
    if not isinstance(answer, Iterable):
        raise PluginError(f"{named} returned {kind_told(answer)}, not messages", hint=hint)
    messages = list(answer)
    for one in messages:
        if not isinstance(one, Message):
            raise PluginError(f"{named} returned {kind_told(one)} among its messages", hint=hint)
    return messages


def model_and_metrics(
    strategy: object, answer: object
) -> tuple[ArrayRecord | None, Mapping[str, object] | None]:
    """Return a model, or None, and metrics, or None: what ``aggregate_train`` is to return.

    Args:
        strategy: Whose answer it is.
        answer: What it returned.

    Raises:
        PluginError: It is something else.
    """
    named = f"{type(strategy).__name__}.aggregate_train"
    hint = "return a pair, as Flower's strategies do: an ArrayRecord, or None, and metrics, or None"
    if not isinstance(answer, tuple) or len(answer) != 2:  # noqa: PLR2004
        raise PluginError(f"{named} returned {kind_told(answer)}, not a pair", hint=hint)
    model, metrics = answer
    if not isinstance(model, ArrayRecord | None):
        raise PluginError(f"{named} returned {kind_told(model)} for the model", hint=hint)
    return model, _metrics(named, metrics, hint)


def metrics_alone(strategy: object, answer: object) -> Mapping[str, object] | None:
    """Return metrics, or None: what ``aggregate_evaluate`` is to return.

    Args:
        strategy: Whose answer it is.
        answer: What it returned.

    Raises:
        PluginError: It is something else.
    """
    named = f"{type(strategy).__name__}.aggregate_evaluate"
    return _metrics(named, answer, "return metrics, as Flower's strategies do, or None")


def _metrics(named: str, answer: object, hint: str) -> Mapping[str, object] | None:
    if answer is None or isinstance(answer, Mapping):
        return answer
    raise PluginError(f"{named} returned {kind_told(answer)} for the metrics", hint=hint)


def finite_number(metrics: Mapping[str, object] | None, name: str) -> float | None:
    """Return a metric; None where it is missing, or no finite number."""
    value = None if metrics is None else metrics.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
