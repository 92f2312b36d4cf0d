"""Chooses the rates of a run in its first rounds, by what homes make of the models that come of it.

Each attempt begins where the run began and has as many rounds as lie between two that are judged.
First homes' rates are tried, at the server's first one; then the server's others, at the best of
homes'. Then the run goes on from the end of the attempt whose model was best, and nothing of the
others is left.

Homes train from the run's first model once. The first round of each later attempt asks nobody: it
takes the first sum again, as many times as far as its rates say. A second sum about that model, or
one that hardly differs, would show the update of a home that is in one of the two alone
(docs/security.md). At the server's rates that is the very round that homes would have made. At
homes', the strategy is given the sum once more, with its memory of then, as if their way were as
straight as the first steps of it (:mod:`fedhome.server.rounds.first_sum`).

Adaptive strategies (``fedadam``) may then go about as far as before. An attempt that would go on
from nearly the model of another one is not made: the sums of both would be nearly the same.

The measure is that of :mod:`fedhome.server.rounds.judging`: validation rows alone, summed as all
losses are.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from fedhome.plan.judged_rounds import judged_every
from fedhome.plan.settings import AUTO, Plan
from fedhome.plan.tried_rates import (
    Rates,
    attempts,
    first_rates,
    searches,
    server_rates,
    train_rates,
)
from fedhome.run.events import EventLog
from fedhome.run.rate_words import RATES_CHOSEN, RATES_TRIED
from fedhome.server.rounds.checkpoint import Checkpoint
from fedhome.server.rounds.first_sum import FirstSum, means_suffice
from fedhome.server.rounds.run_memory import RunMemory
from fedhome.server.rounds.strategy_step import StrategyStep

NOT_CHOSEN = (
    'a rate is "auto", which has no effect here: a run that begins with another one\'s model does '
    "not judge its rounds, so homes learn at {train:g} times the plan's rate, and the server goes "
    "{server:g} times as far as its strategy says; name the rates that the first run chose"
)
_MOVED = "moved/"  # names of the models that attempts come to first
_APART = 0.3
"""How far apart the models of two attempts are after their first round, at least: as a share of how
far the farther one is from where both began. Plans' rates allow a third for steps on one line; the
rest is left to rounding."""
_AGAIN = (
    "round {round} asks no home: it takes the sum of round {first} at other rates, over the same "
    "homes; who missed that round is named there"
)
_NOT_TRIED = (
    "homes' rate {train:g} times train.learning_rate, the server's {server:g}: not tried, since "
)
_TOO_NEAR = (
    "the strategy would go on from nearly the model of an earlier attempt, and sums of both could "
    "show a single home's update. Strategies that adapt their steps hardly go farther where homes "
    "do: choose the server's rates, or train.rates that are farther apart"
)
_NO_MODEL = "the strategy makes no model of what homes would have sent; round-unused says why"


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A model of the run, and what its strategy remembers there.

    Args:
        flat: The model's parameters, float32 ``[size]``.
        memory: The strategy's memory, JSON data.
        arrays: Its arrays.
        clip: Greatest size of an update in sums; None where nothing is summed in fixed point.
        round: The round that made the model; 0: the run begins with it.
    """

    flat: NDArray[np.float32]
    memory: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    clip: float | None
    round: int

    def put(self, state: Checkpoint, name: str) -> None:
        """Put it into a state, by a name."""
        record = {"memory": self.memory, "clip": self.clip, "round": self.round}
        state.trials[name] = record
        arrays = {"flat": self.flat, **{f"strategy/{key}": a for key, a in self.arrays.items()}}
        state.trial_arrays |= {f"{name}/{key}": array for key, array in arrays.items()}

    @classmethod
    def take(cls, state: Checkpoint, name: str) -> _Place:
        """Return what :meth:`put` put there."""
        start = f"{name}/strategy/"
        arrays = {
            key.removeprefix(start): array
            for key, array in state.trial_arrays.items()
            if key.startswith(start)
        }
        flat = state.trial_arrays[f"{name}/flat"].astype(np.float32, copy=False)
        return cls(flat=flat, arrays=arrays, **state.trials[name])


class RateTrials:
    """The rates of a run, and the search for them; all that it knows is in the run's state.

    Args:
        plan: The plan.
        memory: What the run remembers beside its model.
        step: The strategy's step.
        log: The run's log.
        warm: Whether the run began with another one's model: then nothing is tried.
    """

    def __init__(
        self, plan: Plan, memory: RunMemory, step: StrategyStep, log: EventLog, *, warm: bool
    ) -> None:
        self._plan, self._memory, self._step, self._log = plan, memory, step, log
        self._able = searches(plan) and not warm
        self._idle = searches(plan) and warm

    def begin(self, state: Checkpoint) -> None:
        """Take note of where the run begins, before its first round.

        Raises:
            RunError: The strategy cannot be asked again.
        """
        if self._idle and not state.round:
            first = first_rates(self._plan)
            told = NOT_CHOSEN.format(train=first.train, server=first.server)
            self._log.append("note", text=told)
        if self._able and not state.trials:
            self._memory.check_tried(homes=self._plan.train.rate == AUTO)
            state.trials = {"losses": [], "chosen": None, "over": 0, "moved": False, "before": 0}
            state.trials |= {"unlike": []}
            self._place(flat=state.flat, number=0).put(state, "begin")

    def rates(self, state: Checkpoint) -> Rates:
        """Return the rates of the next round."""
        if not self._able:
            return first_rates(self._plan)
        chosen = state.trials["chosen"]
        return self._attempt(state, len(state.trials["losses"]) if chosen is None else chosen)

    def counted(self, state: Checkpoint, number: int) -> int:
        """Return which round a strategy is told: of those that led to the model at hand.

        Adaptive ones go by that number, and know nothing of other attempts' rounds.

        Args:
            state: The run before the round.
            number: The run's round.
        """
        return number - int(state.trials.get("before", 0))

    def searching(self, state: Checkpoint) -> bool:
        """Return whether rates are being tried: then no round is in vain."""
        return self._able and state.trials.get("chosen") is None

    def first_round(self, state: Checkpoint) -> dict[str, Any] | None:
        """Take the first sum again where an attempt begins; return the round's row.

        Attempts that would go on from nearly the model of another one are passed over, and said.

        Args:
            state: The run before the round; it is moved.

        Returns:
            The row, without what a test of the model adds; None: homes are to be asked, for it is
            no attempt's first round, or there is no sum as yet.
        """
        began_at = time.perf_counter()
        while self.searching(state) and not state.trials["moved"] and "step" in state.trials:
            first, rates = _Place.take(state, "step"), self.rates(state)
            model = self._again(state, first, rates)
            if model is None:
                state.trials["unlike"].append(len(state.trials["losses"]))
                self._next(state, None)
                continue
            self._moved(state, model)
            state.flat, state.made = model, state.round + 1
            self._log.append("note", text=_AGAIN.format(round=state.made, first=first.round))
            return {
                "round": state.made,
                "homes_asked": 0,
                "homes_answered": state.rows[first.round - 1]["homes_answered"],
                "homes_dropped": 0,
                "homes_late": 0,
                "bytes_up": 0,
                "bytes_down": 0,
                "train_loss": None,
                "seconds_train": time.perf_counter() - began_at,
            }
        return None

    def given(self, state: Checkpoint, replies: Sequence[Message]) -> None:
        """Take note of what the strategy is about to be given, where it is a search's first sum.

        Args:
            state: The run before the round's sum.
            replies: What the strategy is given.
        """
        if not self.searching(state) or "step" in state.trials:
            return
        kept = FirstSum.of(replies, self._step.layout)
        if means_suffice(self._plan.strategy, self._step.strategy):
            kept = kept.folded()
        self._place(flat=state.flat, number=state.made).put(state, "given")
        state.trials["counted"] = self.counted(state, state.round + 1)
        state.trials["sum"], state.trial_arrays["sum"] = kept.put()

    def applied(self, state: Checkpoint, after: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the model that a round ends with, ``[size]``.

        Args:
            state: The run before the round's sum.
            after: What the strategy makes of it, ``[size]``.
        """
        rates = self.rates(state)
        model = _between(state.flat, after, rates.server)
        if self.searching(state):
            if "step" not in state.trials:
                self._place(flat=after, number=state.round + 1).put(state, "step")
                state.trials["stepped_at"] = rates.train
            if not state.trials["moved"]:
                self._moved(state, model)
        return model

    def after_round(self, state: Checkpoint, loss: float | None) -> None:
        """Go to the next attempt after the last round of one, or on with the best after the last.

        Args:
            state: The run after the round.
            loss: What homes make of its model; None: it is not judged.
        """
        if not self.searching(state) or state.round % judged_every(self._plan):
            return
        tried = self.rates(state)
        self._log.append(
            RATES_TRIED, round=state.round, train=tried.train, server=tried.server, loss=loss
        )
        if _least([*state.trials["losses"], loss]) == len(state.trials["losses"]):
            self._place(flat=state.flat, number=state.made).put(state, "best")
        self._next(state, loss)

    def _next(self, state: Checkpoint, loss: float | None) -> None:
        """Go to the next attempt, or on with the best after the last.

        Args:
            state: The run after an attempt, or where one would begin that is not made.
            loss: What homes make of its model; None: nobody knows.
        """
        losses = state.trials["losses"]
        losses.append(loss)
        if len(losses) < attempts(self._plan):
            self._go_to(state, _Place.take(state, "begin"))
            state.trials |= {"moved": False, "before": state.round}
            return
        self._go_to(state, _Place.take(state, "best"))
        best = _least(losses)
        unlike = state.trials["unlike"]
        before = state.round - judged_every(self._plan)
        state.trials = {"losses": losses, "chosen": best, "over": state.round, "before": before}
        state.trial_arrays = {}
        rates = self._attempt(state, best)
        self._log.append(
            RATES_CHOSEN,
            round=state.made,
            train=rates.train,
            server=rates.server,
            loss=losses[best],
            tried=len(losses) - len(unlike),
        )

    def _again(self, state: Checkpoint, first: _Place, rates: Rates) -> NDArray[np.float32] | None:
        """Return what comes of the first sum at an attempt's rates ``[size]``.

        The strategy then remembers what it would after such a sum. Why there is none is said.

        Args:
            state: The run where an attempt begins.
            first: The strategy's first step.
            rates: The attempt's.

        Returns:
            The model; None where it hardly differs from another attempt's, or there is none.
        """
        not_tried = _NOT_TRIED.format(**rates._asdict())
        further = rates.train / state.trials["stepped_at"]
        after: NDArray[np.float32] | None = first.flat
        if further == 1:
            self._memory.to_strategy(first.memory, first.arrays, first.clip)
        else:
            given = _Place.take(state, "given")
            self._memory.to_strategy(given.memory, given.arrays, first.clip, further=further)
            kept = FirstSum.take(state.trials["sum"], state.trial_arrays["sum"])
            replies = kept.replies(given.flat, self._step.layout, further=further)
            counted = state.trials["counted"]
            after, _ = self._step.take(state.round + 1, replies, counted=counted)
        if after is None:
            self._log.append("note", text=not_tried + _NO_MODEL)
            return None
        model = _between(state.flat, after, rates.server)
        begin = _Place.take(state, "begin").flat
        others = (a for name, a in state.trial_arrays.items() if name.startswith(_MOVED))
        if any(are_near(begin, model, other) for other in others):
            self._log.append("note", text=not_tried + _TOO_NEAR)
            return None
        return model

    def _moved(self, state: Checkpoint, model: NDArray[np.float32]) -> None:
        """Take note of the model from which an attempt asks homes next, ``[size]``."""
        state.trials["moved"] = True
        state.trial_arrays[f"{_MOVED}{len(state.trials['losses'])}"] = model.copy()

    def _attempt(self, state: Checkpoint, number: int) -> Rates:
        """Return the rates of an attempt, from what came of those before it."""
        train, server = train_rates(self._plan), server_rates(self._plan)
        if number < len(train):
            return Rates(train[number], server[0])
        best = _least(state.trials["losses"][: len(train)])
        return Rates(train[best], server[number - len(train) + 1])

    def _place(self, *, flat: NDArray[np.float32], number: int) -> _Place:
        memory, arrays, clip = self._memory.of_strategy()
        return _Place(flat=flat.copy(), memory=memory, arrays=arrays, clip=clip, round=number)

    def _go_to(self, state: Checkpoint, place: _Place) -> None:
        state.flat, state.made = place.flat, place.round
        self._memory.to_strategy(place.memory, place.arrays, place.clip)


def _least(losses: list[float | None]) -> int:
    """Return the place of the least loss, the first of equals; an unknown one is greatest."""
    return int(np.argmin([math.inf if loss is None else loss for loss in losses]))


def are_near(
    begin: NDArray[np.float32], model: NDArray[np.float32], other: NDArray[np.float32]
) -> bool:
    """Return whether attempts may not go on from two models both: their sums could show a home.

    Args:
        begin: The model with which both attempts began, ``[size]``.
        model: The one attempt's after its first round.
        other: The other's.
    """
    start = begin.astype(np.float64)
    far = max(np.linalg.norm(model - start), np.linalg.norm(other - start))
    # Not below alone: two that have not moved at all are one model.
    return bool(np.linalg.norm(model - other.astype(np.float64)) <= _APART * far)


def _between(
    before: NDArray[np.float32], after: NDArray[np.float32], share: float
) -> NDArray[np.float32]:
    """Return a model on the way from one to another, or beyond, ``[size]``; 1 is the other."""
    if share == 1:
        return after
    start = before.astype(np.float64)
    return (start + share * (after - start)).astype(np.float32)
