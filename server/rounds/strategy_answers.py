"""What a strategy gives back, checked: one of a user's own may forget it, or err in it."""

from __future__ import annotations

from collections.abc import Mapping

from flwr.app import ArrayRecord

from fedhome.errors import PluginError


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
        raise PluginError(f"{named} returned {_kind(answer)}, not a pair", hint=hint)
    model, metrics = answer
    if not isinstance(model, ArrayRecord | None):
        raise PluginError(f"{named} returned {_kind(model)} for the model", hint=hint)
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
    raise PluginError(f"{named} returned {_kind(answer)} for the metrics", hint=hint)


def _kind(answer: object) -> str:
    return "nothing" if answer is None else f"a value of type {type(answer).__name__}"
