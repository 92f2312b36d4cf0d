"""What each model states of each home's validation and test rows, computed once for a run's end.

Of validation rows it is what the model says that was fitted to training rows alone; of test rows
what it says when it was fitted to both.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fedhome.data.series.examples import Part
from fedhome.learning.alone import FITTERS, OwnRows, fitted_alone, network
from fedhome.learning.alone.network import AloneSchedule
from fedhome.learning.cohort import OF_MODEL, Cohort
from fedhome.learning.fitted import Constant, Fitted, PerHorizon, Seasonal
from fedhome.learning.home_round import as_used, ends_with
from fedhome.learning.personalise.expert_statements import ExpertStatements, Statements
from fedhome.learning.personalise.sound_params import sound_params
from fedhome.learning.tasks.segments import Floats, Segments
from fedhome.learning.tasks.statements import ENCODINGS, Encoding, finite_or
from fedhome.plan.settings import PersonaliseSettings
from fedhome.run.compared_models import EXPERTS, LAST


class Adaptation(NamedTuple):
    """How homes make the fleet's model their own: a multiple of the plan's rate, and passes."""

    rate: float
    epochs: int


class Adapter(Protocol):
    """What turns the global model into each home's own."""

    def adapt(
        self,
        cohort: Cohort,
        start: NDArray[np.float32],
        *,
        rate: float,
        epochs: int,
        part: Part,
    ) -> NDArray[np.float32]:
        """Return each home's parameters, float32 ``[homes, size]``, learnt from rows of a part.

        It starts from the global ones ``[size]``, or from ``[homes, size]`` where a method keeps
        something of each home's own.
        The rate and the number of passes are the fleet's choice, by a trial.
        """


class OwnStatements(ABC):
    """A personaliser whose homes have no parameters of their own: it says what they state."""

    @abstractmethod
    def said(self, experts: Experts) -> ExpertStatements:
        """Return what its models state, and what they are.

        Args:
            experts: The homes, and the fleet's model as they use it.
        """


class Experts:
    """What models state in the homes of a cohort.

    Args:
        cohort: The homes.
        settings: The plan's settings of personalisation.
        start: The global parameters ``[size]``.
        how: What turns them into each home's own.
        adaptation: The rate and the passes that the fleet chose for that.
    """

    def __init__(
        self,
        cohort: Cohort,
        settings: PersonaliseSettings,
        *,
        start: NDArray[np.float32],
        how: Adapter,
        adaptation: Adaptation,
    ) -> None:
        self.cohort = cohort
        self.settings = settings
        self.start = start
        self._how = how
        self._adaptation = adaptation
        self._task = cohort.learning.task
        self._model = hashlib.sha256(start.tobytes()).hexdigest()[:16]
        cohort.forget_model(but=f"{OF_MODEL}{self._model}")

    @property
    def encoding(self) -> Encoding:
        """How targets are stated."""
        return ENCODINGS[self._task.kind.targets]

    def truth(self, part: Part) -> Floats:
        """Return the statements that would be right, ``[rows, outputs]``."""
        return self.encoding.truth(self.cohort.rows(part).y, self._task.outputs)

    def losses(self, stated: Floats, part: Part) -> Floats:
        """Return the mean squared distance from the truth in each home, ``[homes]``."""
        distance = np.sum((stated - self.truth(part)) ** 2, axis=1)
        return Segments(counts=self.cohort.counts(part)).mean(distance)

    def stated(self, name: str) -> Statements:
        """Return what an expert states.

        Args:
            name: One of :data:`fedhome.run.compared_models.EXPERTS`,
                :data:`fedhome.run.compared_models.LAST`, or a way to be alone.
        """
        return self._recalled(name, _STATED[name]).stated

    def judged(self, name: str) -> Floats:
        """Return what an expert is weighed by ``[validation rows, outputs]``.

        No row has a say in how the model is fitted that states it: a line's penalty or the size of
        trees' leaves is one for each tenth of a home's rows, and chosen by the others.

        Args:
            name: As of `stated`.
        """
        said = self._recalled(name, _STATED[name])
        return said.stated.validation if said.by_others is None else said.by_others

    def models(self, name: str) -> Sequence[NDArray[np.float32] | Fitted | None]:
        """Return what an expert is in each home, fitted to training and validation rows.

        Args:
            name: One of :data:`fedhome.run.compared_models.EXPERTS`, or
                :data:`fedhome.run.compared_models.LAST`.
        """
        return self._recalled(name, _STATED[name]).models

    def of_schedule(self, schedule: AloneSchedule) -> Statements:
        """Return what the network states that a fleet's schedule trained alone."""
        name = f"network {schedule.rates[0]} {schedule.epochs[0]} {schedule.batches[0]}"
        return self._recalled(name, lambda some: some.network_alone(schedule)).stated

    def naive(self) -> Statements:
        """Return the forecast without learning as statements: of classes, how often each came."""
        rows = self.cohort.rows("validation"), self.cohort.rows("test")
        if self._task.kind.targets == "continuous":
            return Statements(*(self._task.naive_output(part.naive).astype(float) for part in rows))
        shares: list[Floats] = []
        known: tuple[Part, ...] = ("train", "train+validation")
        for part, seen in zip(rows, known, strict=True):
            segments = Segments(counts=self.cohort.counts(seen))
            truth = self.truth(seen)
            means = np.stack([segments.mean(column) for column in truth.T], axis=1)
            shares.append(np.repeat(means, part.counts, axis=0))
        return Statements(*shares)

    def without_learning(self) -> Sequence[Fitted]:
        """Return the forecast without learning in each home."""
        if self._task.kind.targets == "continuous" and self._task.series:
            return [Seasonal(0, self._task.outputs)] * len(self.cohort.homes)
        stated, counts = self.naive().test, self.cohort.counts("test")
        return [Constant(stated[place]) for place in np.cumsum(counts) - counts]

    def seasonal(self) -> ExpertStatements:
        """Return what a series was a step, a day, a week or a year ago: which, the rows before say.

        Where nothing was read a season ago it is the last value. Of rows that are no series it is
        the forecast without learning.
        """
        naive = self.naive()
        best = np.zeros((len(self.cohort.homes), 1), np.int64)
        found: list[Floats] = []
        known: tuple[Part, ...] = ("train", "train+validation")
        for part, seen, last in zip(_PARTS, known, naive, strict=True):
            choices = self._seasons(part, last)
            if len(choices) == 1:
                return ExpertStatements(naive, self.without_learning())
            last_before = self._task.naive_output(self.cohort.rows(seen).naive)
            before = self._seasons(seen, last_before.astype(np.float64))
            best = self._best_seasons(before, seen)
            found.append(self._of_seasons(choices, best, part))
        return ExpertStatements(
            Statements(*found), [self._seasonal_model(own.tolist()) for own in best]
        )

    def _best_seasons(self, before: Sequence[Floats], seen: Part) -> NDArray[np.int64]:
        """Return which season is best in each home ``[homes, 1]``; ``[homes, horizons]``."""
        if not self._task.horizons:
            best = np.argmin([self.losses(one, seen) for one in before], axis=0)
            return np.asarray(best, np.int64)[:, None]
        truth, segments = self.truth(seen), Segments(counts=self.cohort.counts(seen))
        return np.stack(
            [
                np.argmin([segments.mean((one[:, at] - truth[:, at]) ** 2) for one in before], 0)
                for at in range(self._task.outputs)
            ],
            axis=1,
        )

    def _of_seasons(self, choices: Sequence[Floats], best: NDArray[np.int64], part: Part) -> Floats:
        if not self._task.horizons:
            return self._picked(choices, best[:, 0], part)
        return np.concatenate(
            [
                self._picked([one[:, [at]] for one in choices], own, part)
                for at, own in enumerate(best.T)
            ],
            axis=1,
        )

    def _seasonal_model(self, seasons: Sequence[int]) -> Fitted:
        if not self._task.horizons:
            return Seasonal(seasons[0], self._task.outputs)
        return PerHorizon(tuple(Seasonal(season) for season in seasons))

    def _seasons(self, part: Part, last: Floats) -> list[Floats]:
        """Return the last value of a series and what it was some seasons earlier."""
        seasons = self.cohort.rows(part).seasons.astype(np.float64)
        columns = np.moveaxis(seasons, 1, 0) if self._task.horizons else seasons.T[:, :, None]
        return [
            np.asarray(last, np.float64),
            *(np.where(np.isnan(column), last, column) for column in columns),
        ]

    def picked(self, choices: Sequence[Statements], best: NDArray[np.int64]) -> Statements:
        """Return for each home what one of several models states: which, ``[homes]``."""
        return Statements(
            *(
                self._picked([choice[place] for choice in choices], best, part)
                for place, part in enumerate(_PARTS)
            )
        )

    def _picked(self, choices: Sequence[Floats], best: NDArray[np.int64], part: Part) -> Floats:
        row_best = np.repeat(best, self.cohort.counts(part))
        return np.stack(choices)[row_best, np.arange(len(row_best))]

    def tuned(self) -> ExpertStatements:
        """Return what the model states that was adapted to each home, refitted where asked."""
        if isinstance(self._how, OwnStatements):
            return self._how.said(self)
        rate, epochs = self._adaptation
        stopped = self._adapted(rate, epochs, "train")
        final = self._adapted(rate, epochs, "train+validation") if self.settings.refit else stopped
        used = self.used()
        return self._kept([stopped, used], [final, stopped, used])

    def used(self) -> NDArray[np.float32]:
        """Return the fleet's model as homes use it, ``[size]`` or ``[homes, size]``."""
        return as_used(self.cohort, self.start)

    def the_global(self) -> ExpertStatements:
        """Return what the fleet's model states as homes use it."""
        used = self.used()
        return self._kept([used], [used])

    def own_network(self) -> ExpertStatements:
        """Return what the network states that each home tuned by its own rows."""
        return self.network_alone(network.own_schedule(self.cohort, self.settings))

    def network_alone(self, schedule: AloneSchedule) -> ExpertStatements:
        """Return what the network states that homes trained alone."""
        trained = network.train(self.cohort, schedule, refit=self.settings.refit)
        return self._kept([trained.stopped], [trained.refitted, trained.stopped])

    def network_again(self) -> ExpertStatements:
        """Return what each home's own network states after another order of batches."""
        schedule = network.own_schedule(self.cohort, self.settings)
        again = network.train_again(self.cohort, schedule, refit=self.settings.refit)
        return self._kept([again], [again])

    def fitted(self, name: str) -> ExpertStatements:
        """Return what a model states that is fitted without a network."""
        parts: tuple[Part, ...] = ("train", "validation", "test")
        each = [list(self.cohort.rows(part).each()) for part in parts]
        homes = [
            OwnRows(
                targets=self._task.kind.targets,
                outputs=self._task.outputs,
                x=(train.x, validation.x, test.x),
                y=(train.y, validation.y, test.y),
            )
            for train, validation, test in zip(*each, strict=True)
        ]
        from threadpoolctl import threadpool_limits  # noqa: PLC0415 - comes with scikit-learn

        # Threads inside of a small fit cost far more than they save; several fits at once would
        # change the process's filters of warnings under each other's feet.
        with threadpool_limits(1):
            found = []
            for home, keeps in zip(homes, self.cohort.keeps(), strict=True):
                one = fitted_alone(FITTERS[name], home)
                # Of thousands of homes, all trees at once would fill memory.
                found.append(one if keeps else one._replace(model=None))
        validation = np.concatenate([one.validation for one in found])
        test = np.concatenate([one.test for one in found])
        naive = self.naive()
        stated = Statements(*map(finite_or, (validation, test), naive))
        by_others = np.concatenate([one.by_others for one in found])
        models = [one.model for one in found]
        return ExpertStatements(stated, models, finite_or(by_others, naive.validation))

    def output(self, stated: Floats) -> NDArray[np.float32]:
        """Return statements as a model's raw outputs."""
        with np.errstate(over="ignore"):
            return np.asarray(self.encoding.output(stated), np.float32)

    def _adapted(self, rate: float, epochs: int, part: Part) -> NDArray[np.float32]:
        own = ends_with(self.cohort, self.start)
        return self._how.adapt(self.cohort, own, rate=rate, epochs=epochs, part=part)

    def _kept(
        self,
        stopped: Sequence[NDArray[np.float32]],
        final: Sequence[NDArray[np.float32]],
    ) -> ExpertStatements:
        """Return what the first parameters state that hold in a home; else no learning does."""
        parts: tuple[Part, ...] = ("validation", "test")
        found: list[Floats] = []
        for candidates, part, naive in zip((stopped, final), parts, self.naive(), strict=True):
            params, holds = sound_params(self.cohort, candidates)
            stated = self.encoding.stated(self.cohort.predict(params, part).astype(np.float64))
            rows = np.repeat(holds, self.cohort.counts(part))
            found.append(finite_or(np.where(rows[:, None], stated, naive), naive))
        # Copies: a home's row would else keep the parameters of all homes in memory.
        models = [
            own.copy() if held and keeps else None
            for own, held, keeps in zip(params, holds, self.cohort.keeps(), strict=True)
        ]
        return ExpertStatements(Statements(*found), models)

    def _recalled(
        self, name: str, compute: Callable[[Experts], ExpertStatements]
    ) -> ExpertStatements:
        """Return what a model states, computing it in the homes where it is not known yet."""
        of_model = name in _OF_MODEL
        about = f"{OF_MODEL}{self._model} {self._adaptation}" if of_model else "alone"

        def found(some: Cohort) -> Sequence[tuple[Statements, object, Floats | None]]:
            said = compute(
                Experts(
                    some,
                    self.settings,
                    start=self.start,
                    how=self._how,
                    adaptation=self._adaptation,
                )
            )
            ends = [np.cumsum(some.counts(part))[:-1] for part in _PARTS]
            halves = [
                np.split(part.astype(np.float32), end)
                for part, end in zip(said.stated, ends, strict=True)
            ]
            models = [
                model if keeps and name in (*EXPERTS, LAST) else None
                for model, keeps in zip(said.models, some.keeps(), strict=True)
            ]
            each = [Statements(*home) for home in zip(*halves, strict=True)]
            by_others: Sequence[Floats | None] = [None] * len(each)
            if said.by_others is not None:
                by_others = np.split(said.by_others.astype(np.float32), ends[0])
            return list(zip(each, models, by_others, strict=True))

        homes = self.cohort.recall(f"{about} {name}", found)
        parts = zip(*(stated for stated, _, _ in homes), strict=True)
        stated = Statements(*(np.concatenate(part).astype(np.float64) for part in parts))
        by_others = [rows.astype(np.float64) for _, _, rows in homes if rows is not None]
        models = [model for _, model, _ in homes]
        return ExpertStatements(stated, models, np.concatenate(by_others) if by_others else None)


_PARTS: tuple[Part, Part] = ("validation", "test")
_OF_MODEL = frozenset({"tuned", "global"})

_STATED: Mapping[str, Callable[[Experts], ExpertStatements]] = {
    "tuned": Experts.tuned,
    "global": Experts.the_global,
    "naive": Experts.seasonal,
    LAST: lambda some: ExpertStatements(some.naive(), some.without_learning()),
    "seasonal": Experts.seasonal,
    "linear": lambda some: some.fitted("linear"),
    "trees": lambda some: some.fitted("trees"),
    "local": Experts.own_network,
    "again": Experts.network_again,
}
