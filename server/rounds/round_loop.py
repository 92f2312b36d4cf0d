"""Drives a Flower strategy's four methods, round by round: select, ask, sum, apply, log, keep.

Flower's own ``Strategy.start`` can neither resume nor stop early, and one malformed reply ends
it; so the loop is ours, and any strategy runs in it unmodified.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fedhome import rng
from fedhome.errors import FedHomeError, RoundError
from fedhome.flower.messages import array_record, fast_broadcasts, read_flat
from fedhome.plan.protocol import quorum_of
from fedhome.plan.settings import Plan
from fedhome.run.events import EventLog
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.publishing import Publisher
from fedhome.server.rounds import checkpoint, strategy_memory
from fedhome.server.rounds.checkpoint import Checkpoint
from fedhome.server.rounds.fitting_homes import UnfitHomes, tell_inputs
from fedhome.server.rounds.replies import SoundReplies, sound_replies
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.wire.layout import Layout

_AWAIT_S, _POLL_S = 60.0, 0.5
_MOST_FAILURES = 5  # rounds in a row without a quorum, after which the run gives up
_MOST_SEARCHING = 20  # the same where it is searched for homes that spoil sums


class RoundLoop:
    """The rounds of one run.

    Args:
        plan: The plan.
        strategy: Any Flower strategy.
        grid: How messages travel.
        layout: Layout of the parameters.
        initial: Parameters to begin with, float32 ``[size]``.
        folder: The run's folder.
        log: The run's log.
        publisher: Publishes the models that rounds end with; None: nobody does.
        unfit: Takes the homes whose inputs turn out to be others; None: there are none.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        strategy: Strategy,
        grid: Grid,
        layout: Layout,
        initial: NDArray[np.float32],
        folder: RunFolder,
        log: EventLog,
        publisher: Publisher | None = None,
        unfit: UnfitHomes | None = None,
    ) -> None:
        self.plan = plan
        self.strategy = strategy
        self.grid = grid
        self.layout = layout
        self.folder = folder
        self.log = log
        self._publisher, self._unfit = publisher, unfit
        self.state = Checkpoint(round=0, flat=initial, best=initial)
        self._failures = 0

    def resume(self) -> bool:
        """Continue from the run's last checkpoint; False if there is none.

        Raises:
            RunError: The checkpoint is damaged or of another model.
        """
        loaded = checkpoint.load(self.folder, self.layout)
        if loaded is None:
            return False
        self.state = loaded
        if loaded.memory:
            strategy_memory.recall(self.strategy, loaded.memory, loaded.arrays)
        if loaded.scale and isinstance(self.grid, SecureGrid):
            self.grid.scale.recall(loaded.scale)
        return True

    def run(self) -> NDArray[np.float32]:
        """Run all rounds that are left, and return the global parameters ``[size]``.

        Raises:
            RoundError: Too many rounds in a row failed.
        """
        state, plan = self.state, self.plan
        self._publish()  # a process that ended before it could, after its last checkpoint
        while state.round < plan.rounds.count and not self._ends_early():
            state.rows.append(self._round(state.round + 1))
            state.round += 1
            self._after_round()
            last = state.round == plan.rounds.count or self._ends_early()
            if last or state.round % plan.rounds.checkpoint_every == 0:
                state.memory, state.arrays = strategy_memory.remember(self.strategy)
                if isinstance(self.grid, SecureGrid):
                    state.scale = self.grid.scale.memory()
                checkpoint.save(self.folder, self.layout, state)
                if isinstance(self.grid, SecureGrid):
                    self.grid.checkpointed(state.flat, state.best)
                self._publish()
        if not state.made:
            self.log.append(
                "note",
                text="no round gave a model: what is kept is the one that the run began with; the "
                "log's sum-failed, reply-dropped and round-unused events say why",
            )
        if self._ends_early():
            self.log.append("early-stop", round=state.round, best_loss=state.best_loss)
        picked = plan.rounds.patience is not None and math.isfinite(state.best_loss)
        if picked and self._publisher is not None:
            self._publisher.go_back(state.best, self.layout)
        return state.best if picked else state.flat

    def _publish(self) -> None:
        """Publish the model of the last checkpoint, if a round has made one."""
        state = self.state
        if self._publisher is not None and state.made:
            homes = state.rows[state.made - 1]["homes_answered"]
            self._publisher.publish(state.made, homes, state.flat, self.layout)

    def _ends_early(self) -> bool:
        patience = self.plan.rounds.patience
        return patience is not None and self.state.stale >= patience

    def _after_round(self) -> None:
        state, row = self.state, self.state.rows[-1]
        loss = row["validation_loss"]
        if loss is not None and loss < state.best_loss:
            state.best, state.best_loss, state.stale = state.flat, loss, 0
        else:
            state.stale += 1
        self.log.append("round-closed", **row)

    def _round(self, number: int) -> dict[str, Any]:
        began_at = time.perf_counter()
        before = self._traffic()
        self._await_homes(number)
        self._leave_spent_model(number)
        arrays = array_record(self.layout, self.state.flat)
        with rng.pinned_globals(self.plan.seed, "train", number), fast_broadcasts(self.strategy):
            messages = list(
                self.strategy.configure_train(number, arrays, ConfigRecord(), self.grid)
            )
        tell_inputs(messages, self.plan)
        row: dict[str, Any] = {"round": number, "homes_asked": len(messages)}
        sent_at = time.perf_counter()
        replies = list(self.grid.send_and_receive(messages, timeout=self.plan.rounds.deadline_s))
        answered_at = time.perf_counter()
        sound = self._sound(number, replies, messages, trained=True)
        row |= self._counts(sound, len(messages))
        row["train_loss"] = None
        if self._has_quorum(number, row["homes_answered"], len(messages)):
            row["train_loss"] = self._apply(number, sound)
        applied_at = time.perf_counter()
        row |= self._evaluate(number)
        evaluated_at = time.perf_counter()
        if before is not None and (after := self._traffic()) is not None:
            row |= {"bytes_up": after[0] - before[0], "bytes_down": after[1] - before[1]}
        row["seconds_train"] = answered_at - sent_at
        row["seconds_evaluate"] = evaluated_at - applied_at
        row["seconds_other"] = (sent_at - began_at) + (applied_at - answered_at)
        return row

    def _await_homes(self, number: int) -> None:
        """Wait a while where fewer homes are connected than any sum takes, such as after a kill.

        A round that nobody can answer would be over at once, and five of them end a run.
        """
        if not isinstance(self.grid, SecureGrid) or self.grid.connected is None:
            return
        needed, end = self.grid.fewest_homes, time.monotonic() + _AWAIT_S
        told = False
        while (there := self.grid.connected()) < needed and time.monotonic() < end:
            if not told:
                self.log.append(
                    "note",
                    text=f"round {number} waits for homes: {there} are there, a sum takes {needed}",
                )
                told = True
            time.sleep(_POLL_S)

    def _leave_spent_model(self, number: int) -> None:
        """Go on from a model that differs in last digits, where homes answer no more about it.

        Of what they answered nothing was opened, or nothing that is of use: no sum about the one
        model can be held against one about the other.
        """
        if isinstance(self.grid, SecureGrid) and self.grid.spent(self.state.flat):
            self.state.flat = np.nextafter(self.state.flat, np.float32(np.inf))
            self.log.append(
                "note",
                text=f"round {number}: homes answer no more about this model, of which no sum was "
                "opened that is of use; the run goes on with its last digits changed",
            )

    def _traffic(self) -> tuple[int, int] | None:
        """Return bytes from and to all homes so far, where the grid counts them."""
        if not isinstance(self.grid, SecureGrid):
            return None
        return self.grid.traffic.up, self.grid.traffic.down

    def _apply(self, number: int, sound: SoundReplies) -> float | None:
        with rng.pinned_globals(self.plan.seed, "aggregate", number):
            summed, metrics = self.strategy.aggregate_train(number, sound.replies)
        if summed is None:
            self.log.append("round-unused", round=number, reason="the strategy gave no model")
            return None
        try:
            self.state.flat = read_flat(self.layout, summed, cast=True)
        except FedHomeError as error:
            self.log.append("round-unused", round=number, reason=error.message)
            return None
        self.state.made = number
        return _number(metrics, "train_loss")

    def _has_quorum(self, number: int, homes: int, asked: int) -> bool:
        needed = quorum_of(self.plan, asked)
        if homes >= needed:
            self._failures = 0
            return True
        self._failures += 1
        self.log.append("round-failed", round=number, homes=homes, needed=needed)
        suspects = self.grid.suspects if isinstance(self.grid, SecureGrid) else None
        searching = suspects is not None and suspects.is_searching
        if self._failures >= (_MOST_SEARCHING if searching else _MOST_FAILURES):
            if suspects is not None and suspects.stuck:
                raise RoundError(
                    f"round {number}: {suspects.stuck}; so it was in {self._failures} rounds in a "
                    "row",
                    hint="sums over this fleet show no more: let the fleet's owner revoke the home "
                    "that is likeliest, or invite more homes",
                )
            raise RoundError(
                f"round {number}: {homes} of {asked} homes answered, {needed} are needed; "
                f"so it was {self._failures} times in a row",
                hint="lower rounds.quorum, or see the log's reply-dropped events for the reasons",
            )
        return False

    def _evaluate(self, number: int) -> dict[str, Any]:
        arrays = array_record(self.layout, self.state.flat)
        with rng.pinned_globals(self.plan.seed, "evaluate", number), fast_broadcasts(self.strategy):
            messages = list(
                self.strategy.configure_evaluate(number, arrays, ConfigRecord(), self.grid)
            )
        tell_inputs(messages, self.plan)
        metrics: MetricRecord | None = None
        if messages:
            replies = list(
                self.grid.send_and_receive(messages, timeout=self.plan.rounds.deadline_s)
            )
            sound = self._sound(number, replies, messages, trained=False)
            if sound.replies:
                metrics = self.strategy.aggregate_evaluate(number, sound.replies)
        return {
            "validation_loss": _number(metrics, "loss"),
            "validation_score": _number(metrics, "score"),
        }

    def _sound(
        self, number: int, replies: Iterable[Message], sent: list[Message], *, trained: bool
    ) -> SoundReplies:
        sound = sound_replies(
            replies,
            sent=sent,
            layout=self.layout if trained else None,
            max_examples=self.plan.rounds.max_examples,
            homes_behind=getattr(self.grid, "homes_behind", None),
        )
        for node, reason in sound.dropped:
            self.log.append("reply-dropped", round=number, node=node, reason=reason)
            if self._unfit is not None:
                self._unfit.hear(node, reason)
        return sound

    def _counts(self, sound: SoundReplies, asked: int) -> dict[str, int]:
        payload = 4 * self.layout.size
        late = int(getattr(self.grid, "late", 0))
        answered = sound.homes + int(getattr(self.grid, "unopened", 0))
        return {
            "homes_answered": answered,
            # Of a sum that was opened before, more homes may be in it than are there now.
            "homes_dropped": max(0, asked - answered - late),
            "homes_late": late,
            "bytes_up": payload * (sound.homes + len(sound.dropped)),
            "bytes_down": payload * asked,
        }


def _number(metrics: MetricRecord | None, name: str) -> float | None:
    value = None if metrics is None else metrics.get(name)
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
