"""Chooses the rates of a run in its first rounds, by what homes make of the models that come of it.

Each attempt begins where the run began and has as many rounds as lie between two that are judged.
First homes' rates are tried, at the server's first one; then the server's others, at the best of
homes'. Then the run goes on from the end of the attempt whose model was best, and nothing of the
others is left.

Homes train from the run's first model once. The first round of each later attempt asks nobody: it
takes the first sum again, as many times as far as its rates say. A second sum about that model, or
one that hardly differs, would show the update of a home that is in one of the two alone
(docs/security.md). At the server's rates that is the very round that homes would have made; at
theirs it is what they would, were their way as straight as the first steps of it, and the strategy
one that goes as many times as far for a sum that is as many times as large. Adaptive ones
(``fedadam``, ``fedyogi``, ``fedadagrad``) do not: at three times homes' rate their first step would
be about the same, and here it is three times as far.

The measure is that of :mod:`fedhome.server.rounds.judging`: validation rows alone, summed as all
losses are.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import RunError
from fedhome.plan.judged_rounds import judged_every
from fedhome.plan.settings import Plan
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
from fedhome.server.rounds.run_memory import RunMemory

NOT_CHOSEN = (
    'a rate is "auto", which has no effect here: a run that begins with another one\'s model does '
    "not judge its rounds, so homes learn at {train:g} times the plan's rate, and the server goes "
    "{server:g} times as far as its strategy says; name the rates that the first run chose"
)


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
        log: The run's log.
        warm: Whether the run began with another one's model: then nothing is tried.
    """

    def __init__(self, plan: Plan, memory: RunMemory, log: EventLog, *, warm: bool) -> None:
        self._plan, self._memory, self._log = plan, memory, log
        self._able = searches(plan) and not warm
        self._idle = searches(plan) and warm

    def begin(self, state: Checkpoint) -> None:
        """Take note of where the run begins, before its first round.

        Raises:
            RunError: An earlier version has begun the search, and asked homes otherwise.
        """
        if self._idle and not state.round:
            first = first_rates(self._plan)
            told = NOT_CHOSEN.format(train=first.train, server=first.server)
            self._log.append("note", text=told)
        if self._able and not state.trials:
            state.trials = {"losses": [], "chosen": None, "over": 0, "moved": False}
            self._place(flat=state.flat, number=0).put(state, "begin")
        if self.searching(state) and "moved" not in state.trials:
            raise RunError(
                "this run broke off while rates were tried, by an earlier version of fedhome: its "
                "attempts began from other sums",
                hint="begin a new run; or end this one with the version that began it",
            )

    def rates(self, state: Checkpoint) -> Rates:
        """Return the rates of the next round."""
        if not self._able:
            return first_rates(self._plan)
        chosen = state.trials["chosen"]
        return self._attempt(state, len(state.trials["losses"]) if chosen is None else chosen)

    def searching(self, state: Checkpoint) -> bool:
        """Return whether rates are being tried: then no round is in vain."""
        return self._able and state.trials.get("chosen") is None

    def first_round(self, state: Checkpoint) -> dict[str, Any] | None:
        """Take the first sum again where an attempt begins; return the round's row.

        Args:
            state: The run before the round; it is moved.

        Returns:
            The row, without what a test of the model adds; None: homes are to be asked, for it is
            no attempt's first round, or there is no sum as yet.
        """
        if not self.searching(state) or state.trials["moved"] or "step" not in state.trials:
            return None
        began_at = time.perf_counter()
        rates, first = self.rates(state), _Place.take(state, "step")
        further = rates.train / state.trials["stepped_at"]
        state.flat = _between(state.flat, first.flat, further * rates.server)
        self._memory.to_strategy(first.memory, first.arrays, first.clip, further=further)
        state.made, state.trials["moved"] = state.round + 1, True
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

    def applied(self, state: Checkpoint, after: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the model that a round ends with, ``[size]``.

        Args:
            state: The run before the round's sum.
            after: What the strategy makes of it, ``[size]``.
        """
        rates = self.rates(state)
        if self.searching(state):
            if "step" not in state.trials:
                self._place(flat=after, number=state.round + 1).put(state, "step")
                state.trials["stepped_at"] = rates.train
            state.trials["moved"] = True
        return _between(state.flat, after, rates.server)

    def after_round(self, state: Checkpoint, loss: float | None) -> None:
        """Go to the next attempt after the last round of one, or on with the best after the last.

        Args:
            state: The run after the round.
            loss: What homes make of its model; None: it is not judged.
        """
        if not self.searching(state) or state.round % judged_every(self._plan):
            return
        losses, tried = state.trials["losses"], self.rates(state)
        losses.append(loss)
        self._log.append(
            RATES_TRIED, round=state.round, train=tried.train, server=tried.server, loss=loss
        )
        best = _least(losses)
        if best == len(losses) - 1:
            self._place(flat=state.flat, number=state.made).put(state, "best")
        if len(losses) < attempts(self._plan):
            self._go_to(state, _Place.take(state, "begin"))
            state.trials["moved"] = False
            return
        self._go_to(state, _Place.take(state, "best"))
        state.trials |= {"chosen": best, "over": state.round}
        state.trials = {name: state.trials[name] for name in ("losses", "chosen", "over")}
        state.trial_arrays = {}
        rates = self._attempt(state, best)
        self._log.append(
            RATES_CHOSEN,
            round=state.made,
            train=rates.train,
            server=rates.server,
            loss=losses[best],
            tried=len(losses),
        )

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


def _between(
    before: NDArray[np.float32], after: NDArray[np.float32], share: float
) -> NDArray[np.float32]:
    """Return a model on the way from one to another, or beyond, ``[size]``; 1 is the other."""
    if share == 1:
        return after
    start = before.astype(np.float64)
    return (start + share * (after - start)).astype(np.float32)
