"""A first step with what is a user's own, so that a fault in it is told before a run begins."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from fedhome.errors import PluginError
from fedhome.learning.local import LocalLearning
from fedhome.learning.losses import LOSSES
from fedhome.learning.methods import METHODS
from fedhome.learning.params import Params


def try_own(learning: LocalLearning, features: int) -> None:
    """Try a loss and a method that are not of these tables, on rows of zeros.

    Args:
        learning: What homes are to learn with.
        features: Width of the input.

    Raises:
        PluginError: One of them fails, or returns what it must not.
    """
    method, loss = type(learning.method), learning.loss
    params = learning.tensors(learning.initial.copy())
    batch = learning.blank(features)
    if loss not in LOSSES.values():
        name = f"loss {loss.name!r}"
        try:
            rows: object = loss.rows(learning.predict(params, batch.x), batch.y)
        except Exception as error:
            raise _failed(name, error) from error
        _check(name, {"the rows' losses": rows}, {"the rows' losses": batch.mask})
    if method not in METHODS.values():
        name = f"method {method.__name__}"
        before = learning.tensors(learning.initial.copy())
        zeros = {n: torch.zeros_like(p) for n, p in params.items()}
        try:
            found: object = learning.method.gradient(zeros, params, params)
        except Exception as error:
            raise _failed(name, error) from error
        _check(name, found, before)
        if set(params) != set(before) or any(not torch.equal(params[n], before[n]) for n in before):
            raise PluginError(
                f"{name} changes the parameters that it is given",
                hint="its functions are pure: they return new tensors",
            )


def _check(name: str, found: object, expected: Params) -> None:
    if not isinstance(found, Mapping) or set(found) != set(expected):
        raise PluginError(
            f"{name} returned no tensor for each parameter",
            hint=f"the names are: {', '.join(expected)}",
        )
    for part, like in expected.items():
        value = found[part]
        if not isinstance(value, Tensor) or value.shape != like.shape or value.dtype != like.dtype:
            is_ = (
                f"{value.dtype} {list(value.shape)}"
                if isinstance(value, Tensor)
                else type(value).__name__
            )
            raise PluginError(
                f"{name}: {part} is {is_}, not {like.dtype} {list(like.shape)}",
                hint="what it returns must have the shape and type of what it was given",
            )


def _failed(name: str, error: Exception) -> PluginError:
    return PluginError(
        f"{name} failed at a first step, on zeros: {type(error).__name__}: {error}",
        hint="it is given tensors, and may use operations of torch alone",
    )
