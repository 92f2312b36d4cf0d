"""What of updates is added up: all, or what a plan's stages leave, at both ends of a sum.

A home may keep what it did not send, and add a share of it to its next update. That stays in the
home's sealed state, beside what it was before the last question: the same question gets the same
answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import EngineError, PlanError, UpdateError
from fedhome.learning.home_round import keeps
from fedhome.learning.methods import Method
from fedhome.learning.own_state import HomeStates, OwnState
from fedhome.plan.settings import Plan
from fedhome.plan.transfer_plan import sends_fewer
from fedhome.questions.settings import ROUND
from fedhome.questions.stages import stages_of
from fedhome.wire.layout import Layout

_LEFT = "not-sent"


def check_feedback(plan: Plan, method: Method, layout: Layout) -> None:
    """Refuse a plan in which two would keep something in a home where one can.

    Args:
        plan: The plan.
        method: Its method.
        layout: Layout of its model.

    Raises:
        PlanError: They would.
    """
    if sends_fewer(plan) and plan.transfer.feedback and keeps(method, layout):
        raise PlanError(
            ["transfer.feedback is set, but the method keeps something in each home as well"],
            hint="a home keeps one of them: set transfer.feedback = 0, or a method that keeps "
            "nothing, such as fedavg",
        )


def count_of(plan: Plan, layout: Layout, settings: Mapping[str, Any]) -> int:
    """Return how many numbers of an update a training adds up.

    Args:
        plan: The plan.
        layout: Layout of the model.
        settings: The settings that came with the question.

    Raises:
        UpdateError: They do not name the round, and the plan's stages need it.
    """
    if not sends_fewer(plan):
        return layout.size
    number, count = number_of(settings), layout.size
    for stage in stages_of(plan, layout.size):
        count = min(count, stage.numbers(number))
    return count


def number_of(settings: Mapping[str, Any]) -> int:
    """Return the number of the round that settings name.

    Raises:
        UpdateError: They name none.
    """
    number = settings.get(ROUND)
    if type(number) is not int or number < 1:
        raise UpdateError(
            f"a training came with {ROUND} {number!r}: which numbers of the model travel follows "
            "from the round",
            hint=f"a strategy of your own has to send {ROUND}, as Flower's do",
        )
    return number


def encoded(
    plan: Plan,
    change: NDArray[np.float32],
    *,
    start: NDArray[np.float32],
    settings: Mapping[str, Any],
    homes: Sequence[str],
    states: HomeStates | None,
) -> NDArray[np.float32]:
    """Return what homes add up of their updates, and keep the rest where the plan says so.

    Args:
        plan: The plan.
        change: Their updates, float32 ``[homes, size]``; a row that is not finite stays so.
        start: The model that they came from, float32 ``[size]``.
        settings: The settings that came with the question.
        homes: Names of the homes.
        states: Where they keep what they did not send.

    Returns:
        float32 ``[homes, numbers]``.

    Raises:
        UpdateError: As in `count_of`.
        EngineError: There is something to keep, and nowhere to keep it.
    """
    if not sends_fewer(plan):  # other stages say how fine a number is: the sum's own grid
        return change
    number = number_of(settings)
    if not plan.transfer.feedback:
        return _sent(plan, change, number, _fine(change))
    if states is None:
        raise EngineError(
            "transfer.feedback keeps numbers at home, and here is nowhere to keep them",
            hint="set transfer.feedback = 0",
        )
    of = hashlib.sha256(f"{_LEFT}\0{plan.transfer.stages}\0{change.shape[1]}".encode()).digest()
    asked = hashlib.sha256(b"%d\0" % number + start.tobytes()).digest()
    before = [_before(states.read(home), of, asked, change.shape[1]) for home in homes]
    whole = change + np.float32(plan.transfer.feedback) * np.stack(before)
    fine = _fine(whole)
    sent = _sent(plan, whole, number, fine)
    left = whole - _received(plan, sent, number, change.shape[1])
    for place in np.flatnonzero(fine).tolist():
        kept = OwnState(
            of=of,
            asked=asked,
            arrays={_LEFT: left[place].copy()},
            before={_LEFT: before[place]},
        )
        states.write(homes[place], kept)
    return sent


def decoded(
    plan: Plan, mean: NDArray[np.float64], layout: Layout, settings: Mapping[str, Any]
) -> NDArray[np.float64]:
    """Return the mean update from the mean of what homes sent, float64 ``[size]``.

    Args:
        plan: The plan.
        mean: The mean of what they sent, ``[numbers]``.
        layout: Layout of the model.
        settings: The settings that went with the question.

    Raises:
        UpdateError: As in `count_of`.
    """
    if not sends_fewer(plan):
        return mean
    (change,) = _received(plan, mean[None], number_of(settings), layout.size)
    return np.asarray(change, np.float64)


def _before(state: OwnState | None, of: bytes, asked: bytes, size: int) -> NDArray[np.float32]:
    """Return what a home had not sent before a question; zeros on its first day."""
    if state is None or state.of != of:
        return np.zeros(size, np.float32)
    found = state.before if state.asked == asked else state.arrays
    return np.asarray(found[_LEFT], np.float32)


def _fine(change: NDArray[np.float32]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(change).all(axis=1), np.bool_)


def _sent(
    plan: Plan, change: NDArray[np.float32], number: int, fine: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return what homes send; nothing finite where any number of an update is not."""
    for stage in stages_of(plan, change.shape[1]):
        change = stage.encode(change, number)
    if not fine.all():
        change = np.where(fine[:, None], change, np.float32(np.nan))
    return change


def _received(plan: Plan, carried: NDArray[Any], number: int, size: int) -> NDArray[Any]:
    for stage in reversed(stages_of(plan, size)):
        carried = stage.decode(carried, number)
    return carried
