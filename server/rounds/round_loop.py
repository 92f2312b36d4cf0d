"""Drives a Flower strategy's four methods, round by round: select, ask, sum, apply, log, keep.

Flower's own ``Strategy.start`` can neither resume nor stop early, and one malformed reply ends
it; so the loop is ours, and any strategy runs in it unmodified.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import numpy as np
from flwr.app import ConfigRecord, Message
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy
from numpy.typing import NDArray

from fedhome import rng
from fedhome.errors import RoundError
from fedhome.flower.broadcast import fast_broadcasts
from fedhome.flower.messages import array_record
from fedhome.learning.own_state import StatesInMemory
from fedhome.plan.judged_rounds import evaluates_in, judges_in
from fedhome.plan.private_plan import is_private
from fedhome.plan.protocol import quorum_of
from fedhome.plan.settings import Plan
from fedhome.questions.question_table import EVALUATE, TRAIN
from fedhome.run.absent import DROPPED
from fedhome.run.events import Event, EventLog
from fedhome.run.folder import RunFolder
from fedhome.server.daemon.publishing import Candidate
from fedhome.server.rounds import checkpoint
from fedhome.server.rounds.checkpoint import Checkpoint
from fedhome.server.rounds.fitting_homes import UnfitHomes, tell_inputs
from fedhome.server.rounds.judging import NOT_JUDGED, judged_loss
from fedhome.server.rounds.model_questions import ModelQuestions
from fedhome.server.rounds.patience import Patience
from fedhome.server.rounds.rate_trials import RateTrials
from fedhome.server.rounds.replies import SoundReplies, counts_of, sound_replies
from fedhome.server.rounds.round_choice import RoundChoice
from fedhome.server.rounds.round_costs import RoundCosts
from fedhome.server.rounds.run_memory import RunMemory
from fedhome.server.rounds.secure_grid import SecureGrid
from fedhome.server.rounds.strategy_answers import finite_number, messages_to_homes
from fedhome.server.rounds.strategy_step import UNTESTED, StrategyStep
from fedhome.server.rounds.sum_journal import MOST_TRIES
from fedhome.wire.layout import Layout

_MOST_FAILURES = 5  # rounds in a row without a quorum, after which a run without patience ends
_MOST_SEARCHING = 20  # the same while homes that spoil sums are searched for


class RoundLoop:
    """The rounds of one run.

    Args:
        plan: The plan.
        strategy: Any Flower strategy.
        grid: How messages travel.
        layout: Layout of the parameters.
        initial: Parameters to begin with, float32 ``[size]``.
        warm: They are what another run came to: homes learn at the plan's warm rate.
        folder: The run's folder.
        log: The run's log.
        unfit: Takes the homes whose inputs turn out to be others; None: there are none.
        states: What the method keeps in a simulation's homes; None in a fleet, whose homes keep it.
        patience: Waits for homes, and before a failed round is repeated. None, as for homes of a
            simulation, for which nothing is worth waiting: a failed round counts, and a few in a
            row end the run.
        looked_at: Nodes of the homes that judge rounds; None: all.
        name_of: The name of the home behind a node; where nobody knows it, Flower's number.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        strategy: Strategy,
        grid: Grid,
        layout: Layout,
        initial: NDArray[np.float32],
        warm: bool = False,
        folder: RunFolder,
        log: EventLog,
        unfit: UnfitHomes | None = None,
        patience: Patience | None = None,
        states: StatesInMemory | None = None,
        looked_at: Sequence[int] | None = None,
        name_of: Callable[[int], str] = "node {}".format,
    ) -> None:
        self._looked_at, self._name_of = looked_at, name_of
        self.plan = plan
        self.strategy = strategy
        self.grid = grid
        self.layout = layout
        self.folder = folder
        self.log = log
        self._unfit, self._patience, self._warm = unfit, patience, warm
        self._choice = RoundChoice(plan, warm=warm)
        self._memory = RunMemory(strategy, grid, states)
        self._step = StrategyStep(plan, strategy, layout, log)
        self._rates = RateTrials(plan, self._memory, self._step, log, warm=warm)
        self.state = Checkpoint(round=0, flat=initial, best=initial)
        self._failures = 0
        self._why: Counter[str] = Counter()
        log.subscribe(self._hear)

    def resume(self) -> bool:
        """Continue from the run's last checkpoint; False if there is none.

        Raises:
            RunError: The checkpoint is damaged or of another model.
        """
        loaded = checkpoint.load(self.folder, self.layout)
        if loaded is None:
            return False
        self.state = loaded
        self._memory.give_back(loaded)
        return True

    def run(self) -> NDArray[np.float32]:
        """Run all rounds that are left, and return the global parameters ``[size]``.

        Raises:
            RoundError: Too many rounds in a row failed.
        """
        state, plan = self.state, self.plan
        if self._warm and plan.rounds.judge_every and not state.round:
            self.log.append("note", text=NOT_JUDGED)
        self._rates.begin(state)
        while state.round < plan.rounds.count and not self._choice.stops(state):
            loss = self._round(state.round + 1)
            state.round += 1
            self._after_round(loss)
            last = state.round == plan.rounds.count or self._choice.stops(state)
            if last or state.round % plan.rounds.checkpoint_every == 0:
                self._memory.keep(state)
                checkpoint.save(self.folder, self.layout, state)
                if isinstance(self.grid, SecureGrid):
                    self.grid.checkpointed(state.flat, state.best)
        if not state.made:
            self.log.append(
                "note",
                text="no round gave a model: what is kept is the one that the run began with; the "
                "log's round-failed, sum-failed, reply-dropped and round-unused events say why",
            )
        if self._choice.stops(state):
            self.log.append("early-stop", round=state.round, best_loss=state.best_loss)
        if not self._choice.picks(self.state):
            return state.flat
        if state.best_round != state.made:
            told = {"loss": state.best_loss, "adapted": self._choice.judges}
            self.log.append("model-picked", round=state.best_round, **told)
        return state.best

    @property
    def ends_with(self) -> int:
        """The round whose model the run ends with; 0: none gave one."""
        return self.state.best_round if self._choice.picks(self.state) else self.state.made

    def candidate(self) -> Candidate | None:
        """Return what the run ended with; None where no round gave a model."""
        state = self.state
        if not state.made:
            return None
        if self._choice.picks(self.state):
            made = next(row for row in state.rows if row["round"] == state.best_round)
            flat, number, loss = state.best, made["round"], made["validation_loss"]
        else:
            made = state.rows[state.made - 1]
            flat, number, loss = state.flat, state.round, state.rows[-1]["validation_loss"]
        if loss is None and not is_private(self.plan):  # with noise it would be paid for twice
            loss = self._measure(number, flat)
        return Candidate(flat=flat, round=made["round"], homes=made["homes_answered"], loss=loss)

    def _measure(self, number: int, flat: NDArray[np.float32]) -> float | None:
        """Return the homes' validation loss with a model; None where they do not give it."""
        for _ in range(MOST_TRIES if self.plan.rounds.evaluate_fraction > 0 else 0):
            if self._patience is None:
                return cast("float | None", self._evaluate(number, flat)["validation_loss"])
            self._patience.await_homes(number)
            self._why.clear()
            loss: float | None = self._evaluate(number, flat)["validation_loss"]
            if loss is not None:
                self._patience.held()
                return loss
            if isinstance(self.grid, SecureGrid) and self.grid.sums.over:
                break  # homes answer no second time
            self._patience.pause(number, homes=0, needed=1, reason=self._reason)
        return None

    def _after_round(self, loss: float | None) -> None:
        state = self.state
        self.log.append("round-closed", **state.rows[-1])
        self._choice.learn(state, loss, vain=not self._rates.searching(state))
        self._rates.after_round(state, loss)

    def _judged(self, number: int, costs: RoundCosts) -> float | None:
        """Return homes' loss with a round's model once they adapt it; None: it is not judged."""
        judges = self._choice.judges and judges_in(self.plan, number)
        if not judges or not self.state.made:
            return None
        questions = ModelQuestions(
            plan=self.plan,
            grid=self.grid,
            log=self.log,
            model=array_record(self.layout, self.state.flat),
            round=number,
            patience=self._patience,
            nodes=self._looked_at,
            name_of=self._name_of,
        )
        with costs.aside():
            return judged_loss(questions, number)

    def _round(self, number: int) -> float | None:
        """Do a round, and add its row; return the loss by which it is held against others.

        The model is judged before it is tested as it is. Where a home goes away between the two it
        is the second that may have to be done without (docs/security.md): not the one that counts.
        A test of some homes is before: after it all that are in it, and enough others, judge.
        """
        costs, row = RoundCosts(self.grid), None
        while row is None:
            if self._patience is not None:  # also before a test alone, where an attempt begins
                self._patience.await_homes(number)
            row = self._rates.first_round(self.state) or self._trained(number)
        tested_by_all = self.plan.rounds.evaluate_fraction == 1
        judged = self._judged(number, costs) if tested_by_all else None
        tested_at = time.perf_counter()
        tests = evaluates_in(self.plan, number)
        row |= self._evaluate(number, self.state.flat) if tests else UNTESTED
        row["seconds_evaluate"] = time.perf_counter() - tested_at
        costs.put(row)
        self.state.rows.append(row)
        if not self._choice.judges:
            return cast("float | None", row["validation_loss"])
        return judged if tested_by_all else self._judged(number, costs)

    def _trained(self, number: int) -> dict[str, Any] | None:
        """Ask homes to train, and return the round's row so far; None where too few did."""
        self._why.clear()
        self._leave_spent_model(number)
        arrays = array_record(self.layout, self.state.flat)
        # Who was drawn and does not answer is not drawn again and again.
        names = ("train", number, self._failures) if self._failures else ("train", number)
        counted = self._rates.counted(self.state, number)
        self._step.follow(arrays)
        with rng.pinned_globals(self.plan.seed, *names), self._fast_broadcasts():
            messages = self._step.asks(
                self.strategy.configure_train(counted, arrays, ConfigRecord(), self.grid)
            )
        if not messages:
            self._why["the strategy asked no home"] += 1
        rates = self._rates.rates(self.state)
        tell_inputs(messages, self.plan, number, warm=self._warm, rate=rates.train)
        row: dict[str, Any] = {"round": number, "homes_asked": len(messages)}
        sent_at = time.perf_counter()
        replies = list(self.grid.send_and_receive(messages, timeout=self.plan.rounds.deadline_s))
        row["seconds_train"] = time.perf_counter() - sent_at
        sound = self._sound(number, replies, messages, stage=TRAIN)
        row |= counts_of(sound, len(messages), grid=self.grid, parameters=self.layout.size)
        row["train_loss"] = None
        if self._has_quorum(number, row["homes_answered"], len(messages)):
            row["train_loss"] = self._apply(number, sound)
        elif self._patience is not None:
            return None
        return row

    @property
    def _reason(self) -> str:
        """What was said most often of why homes, or sums of theirs, are missing."""
        return next((reason for reason, _ in self._why.most_common(1)), "")

    def _hear(self, event: Event) -> None:
        """Take from the log why homes, or sums of theirs, are missing."""
        if event.event in ("sum-failed", DROPPED):
            self._why[str(event.data.get("reason", ""))] += 1

    def _leave_spent_model(self, number: int) -> None:
        """Go on from a model that differs in last digits, where homes no longer answer about it.

        Of what they answered nothing was opened, or nothing that is of use. What comes of the one
        model is held against what came of the other (:mod:`.alike_homes`).
        """
        while isinstance(self.grid, SecureGrid) and self.grid.spent(self.state.flat):
            self.state.flat = self.grid.channel.alike.next_to(self.state.flat)
            self.log.append(
                "note",
                text=f"round {number}: homes no longer answer about this model, of which no sum "
                "was opened that is of use; the run goes on with its last digits changed",
            )

    def _fast_broadcasts(self) -> AbstractContextManager[None]:
        whole = getattr(self.grid, "takes_broadcasts", False)
        return fast_broadcasts(self.strategy, whole=whole)

    def _apply(self, number: int, sound: SoundReplies) -> float | None:
        self._rates.given(self.state, sound.replies)
        counted = self._rates.counted(self.state, number)
        after, metrics = self._step.take(number, sound.replies, counted=counted)
        if after is None:
            return None
        self.state.flat = self._rates.applied(self.state, after)
        self.state.made = number
        return finite_number(metrics, "train_loss")

    def _has_quorum(self, number: int, homes: int, asked: int) -> bool:
        needed = quorum_of(self.plan, asked)
        if homes >= needed:
            self._failures = 0
            if self._patience is not None:
                self._patience.held()
            return True
        self._failures += 1
        suspects = self.grid.suspects if isinstance(self.grid, SecureGrid) else None
        searching = suspects is not None and suspects.is_searching
        most = _MOST_SEARCHING if searching else _MOST_FAILURES
        if self._patience is None:
            asked_none = {} if asked else {"reason": self._reason}
            self.log.append("round-failed", round=number, homes=homes, needed=needed, **asked_none)
        if suspects is not None and suspects.stuck and self._failures >= most:
            raise RoundError(
                f"round {number}: {suspects.stuck}; this lasted {self._failures} rounds in a row",
                hint="more sums over this fleet would not show which: let the fleet's owner revoke "
                "the likeliest home, or invite more homes",
            )
        if isinstance(self.grid, SecureGrid) and self.grid.spent_budget is not None:
            raise RoundError(
                f"round {number}: {self.grid.spent_budget.message}",
                hint=self.grid.spent_budget.hint,
            )
        if self._patience is not None:
            self._patience.pause(
                number,
                homes=homes,
                needed=needed,
                reason=self._reason,
                searching=searching and self._failures < most,
            )
        elif self._failures >= most:
            raise RoundError(
                f"round {number}: {homes} of {asked} homes answered, {needed} are needed; "
                f"this has happened {self._failures} times in a row",
                hint="the log's reply-dropped and sum-failed events say why the others did not"
                if asked
                else f"{self._reason}: look at what its configure_train returns",
            )
        return False

    def _evaluate(self, number: int, flat: NDArray[np.float32]) -> dict[str, Any]:
        arrays = array_record(self.layout, flat)
        counted = self._rates.counted(self.state, number)
        with rng.pinned_globals(self.plan.seed, "evaluate", number), self._fast_broadcasts():
            answer = self.strategy.configure_evaluate(counted, arrays, ConfigRecord(), self.grid)
            messages = messages_to_homes(self.strategy, answer, of="configure_evaluate")
        tell_inputs(messages, self.plan, number)
        sound: Sequence[Message] = ()
        if messages:
            timeout = self.plan.rounds.deadline_s
            replies = list(self.grid.send_and_receive(messages, timeout=timeout))
            sound = self._sound(number, replies, messages, stage=EVALUATE).replies
        return self._step.tested(sound, counted=counted, decides=self._choice.by_tests)

    def _sound(
        self, number: int, replies: Iterable[Message], sent: Sequence[Message], *, stage: str
    ) -> SoundReplies:
        sound = sound_replies(
            replies,
            sent=sent,
            layout=self.layout if stage == TRAIN else None,
            max_examples=self.plan.rounds.max_examples,
            homes_behind=getattr(self.grid, "homes_behind", None),
        )
        for node, reason in sound.dropped:
            home = self._name_of(node)
            self.log.append(DROPPED, round=number, stage=stage, home=home, reason=reason)
            if self._unfit is not None:
                self._unfit.hear(node, reason)
        return sound
