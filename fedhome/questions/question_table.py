"""The table of questions: one row for each thing that a server may ask homes to add up.

A row names the question and the numbers that it sums with their ranges, the home's function, what
people are told of it before they agree, who may ask it, and how often. The ClientApp's handlers,
the consent text, the forms of sums and the vector engine's answers are read off it: a new
question is one row here and one function in :mod:`fedhome.questions.responses`. (Questions that
only keep the protocol going have their rows in :mod:`fedhome.clients.protocol_questions`.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fedhome.errors import UpdateError
from fedhome.learning import update_clipping
from fedhome.plan.judged_rounds import evaluated_rounds, judged_rounds
from fedhome.plan.settings import PersonaliseSettings, Plan
from fedhome.plan.tried_rates import asked_to_train
from fedhome.questions import contributions, mixtures, outcomes, responses
from fedhome.questions.contributions import Terms
from fedhome.questions.empty_handed import EMPTY_HANDED
from fedhome.questions.question import ConsentWords, Question
from fedhome.questions.responses import Columns, QuestionContext, Response
from fedhome.questions.settings import (
    SHELL,
    adaptation_faults,
    census_faults,
    judging_faults,
    no_faults,
    round_faults,
    train_faults,
)
from fedhome.run.compared_models import MODELS
from fedhome.secagg.scalars import Scalar
from fedhome.wire.names import EXAMPLES

if TYPE_CHECKING:
    from fedhome.learning.cohort import Cohort

TRAIN, EVALUATE, CENSUS = "train", "evaluate", "query.census"
TRIAL, OUTCOME = "evaluate.trial", "evaluate.outcome"
BLEND, SHRINK = "evaluate.blend", "evaluate.shrink"
ADAPTED = "evaluate.adapted"

Metrics = dict[str, float | int | list[float]]


@dataclass(frozen=True, kw_only=True)
class SummedQuestion(Question):
    """A question whose answers are added up.

    Args:
        scalars: The bounded numbers that it sums, from the settings that came with it and the
            plan's settings of personalisation.
        respond: The homes' function.
        terms: What homes put into the sum, from their responses, from the updates that they
            hold (float32 ``[homes, size]``, None where the question trains nothing that leaves)
            and from what they were asked with.
        faults: What is wrong with the settings that came with it, for a home of some plan.
        fewest: How many homes a sum with some settings must have, for a plan's fewest in a sum: of
            fewer it would tell single ones.
        rounds: In how many rounds of a whole run it is asked, where it is asked in rounds.
        meaning: What one number says, by its name; None: what ``consent`` says of its stem.
        metrics: What a strategy is told of a sum, from the numbers by name and the number of
            homes in it.
        about_model: Whether it is about a model; else none may come with it.
        update: Whether an update of the model is in the sum.
        weighted: Whether a home's weight is its number of examples; else every home counts once.
        in_the_clear: Whether a home answers where its plan is plain.
        personal: Whether each home holds a model of its own meanwhile, so that only some of
            thousands can answer at a time.
        observed: Whether a simulation looks at its own homes' responses as well, past the sum.
        one_of: What names of flags begin with of which each home that adds something sets just one.
    """

    scalars: Callable[[Mapping[str, Any], PersonaliseSettings], tuple[Scalar, ...]]
    respond: Callable[[Cohort, NDArray[np.float32], QuestionContext], Response]
    terms: Callable[[Columns, NDArray[np.float32] | None, QuestionContext], Terms]
    faults: Callable[[Mapping[str, Any], Plan], Iterator[str]] = no_faults
    fewest: Callable[[Mapping[str, Any], int], int] = lambda settings, cohort: 0  # noqa: ARG005
    rounds: Callable[[Plan], int] = lambda plan: plan.rounds.count
    meaning: Callable[[str], str] | None = None
    metrics: Callable[[Mapping[str, float], int], Metrics] = lambda values, homes: dict(values)  # noqa: ARG005
    about_model: bool = True
    update: bool = False
    weighted: bool = False
    in_the_clear: bool = True
    personal: bool = False
    observed: bool = False
    one_of: tuple[str, ...] = ()

    def lanes(
        self, settings: Mapping[str, Any], personalise: PersonaliseSettings
    ) -> tuple[Scalar, ...]:
        """Return all numbers of its sum: its own, and whether a home had nothing to add.

        Args:
            settings: The settings that came.
            personalise: The plan's.

        Raises:
            UpdateError: Settings that cannot be.
        """
        later = self.update and settings.get(SHELL)  # then nothing that the first shell's sum has
        return () if later else (*self.scalars(settings, personalise), EMPTY_HANDED)

    def times(self, plan: Plan) -> int:
        """Return how often it is asked in a whole run of a plan; 0: never, and homes refuse it."""
        return self.rounds(plan) if self.often == "round" else 1

    def words(self, personalise: PersonaliseSettings) -> list[str]:
        """Return what each number of its sum is, of those that homes of a plan add.

        Args:
            personalise: The plan's settings of personalisation: opponents that it leaves out have
                no numbers.
        """
        numbers = self.consent.numbers
        if not self.personal:
            return list(numbers.values())
        stems = {
            scalar.name.partition("-")[0] for scalar in self.scalars({outcomes.KEY: 0}, personalise)
        }
        return [words for stem, words in numbers.items() if stem in stems]


def _trained(values: Mapping[str, float], homes: int) -> Metrics:
    loss = {name: values[name] for name in ("train_loss",) if name in values}  # none with noise
    return {**loss, **update_clipping.share_of(values, homes)}


_ROWS = (
    SummedQuestion(
        name=CENSUS,
        often="run",
        scalars=contributions.census_scalars,
        respond=responses.census,
        terms=contributions.census_terms,
        faults=census_faults,
        one_of=("examples",),
        about_model=False,
        in_the_clear=False,
        consent=ConsentWords(
            when="at the beginning",
            numbers={"examples": "how many examples it has, by powers of two"},
        ),
    ),
    SummedQuestion(
        name=TRAIN,
        often="round",
        rounds=asked_to_train,
        scalars=contributions.train_scalars,
        respond=responses.train,
        terms=contributions.train_terms,
        faults=train_faults,
        metrics=_trained,
        one_of=("size",),
        update=True,
        weighted=True,
        consent=ConsentWords(
            when="in a round of training",
            secure="how the home would change the model ({update}), and {weight_of_training}",
            plain="the model as the home has trained it ({update}), the number of its training "
            "examples ({most:,} at most), its error in training, and whether the change was "
            "shortened",
            numbers={
                "train_loss": "its error in training",
                **update_clipping.MEANING,
                "size": "how large the change is, by powers of two",
            },
        ),
        clear={
            "arrays": "the model as the home has trained it",
            EXAMPLES: "the number of its training examples",
            "train_loss": "its error in training",
            **update_clipping.MEANING,
        },
    ),
    SummedQuestion(
        name=EVALUATE,
        often="round",
        scalars=contributions.evaluate_scalars,
        respond=responses.evaluate,
        terms=contributions.evaluate_terms,
        faults=round_faults,
        rounds=evaluated_rounds,
        weighted=True,
        consent=ConsentWords(
            when="when the fleet's model is tested",
            secure="{weight_of_validation}",
            plain="the loss and the score of the model on this home's validation rows, and "
            "their number",
            numbers={
                "loss": "the loss of the fleet's model on this home's validation rows",
                "score": "its score on them",
            },
        ),
        clear={
            EXAMPLES: "the number of its validation examples",
            "loss": "the loss of the fleet's model on its validation rows",
            "score": "its score on them",
        },
    ),
    SummedQuestion(
        name=ADAPTED,
        often="round",
        scalars=contributions.evaluate_scalars,
        respond=responses.adapted,
        terms=contributions.evaluate_terms,
        faults=judging_faults,
        rounds=judged_rounds,
        weighted=True,
        personal=True,
        consent=ConsentWords(
            when="when the model of some rounds is tested as homes would make it their own",
            secure="{weight_of_validation}",
            plain="the loss and the score of the model, once adapted to this home, on its "
            "validation rows, and their number",
            numbers={
                "loss": "the loss of the model, once adapted to this home, on its validation rows",
                "score": "its score on them",
            },
        ),
        clear={
            EXAMPLES: "the number of its validation examples",
            "loss": "the loss of the adapted model on its validation rows",
            "score": "its score on them",
        },
    ),
    SummedQuestion(
        name=TRIAL,
        often="run",
        scalars=contributions.trial_scalars,
        respond=responses.trial,
        terms=contributions.trial_terms,
        metrics=lambda values, homes: {"changes": list(values.values())},  # noqa: ARG005
        personal=True,
        consent=ConsentWords(
            when="when the fleet learns how to adapt its model",
            plain="by what factor each of {tried} ways to adapt the model, and each of {alone} "
            "ways to train one without the fleet, changes the loss on this home's validation rows",
            numbers={
                "change": "by what factor each of {tried} ways to adapt the model changes the "
                "loss on this home's validation rows",
                "alone": "the same of {alone} ways to train one without the fleet",
            },
        ),
        clear={
            EXAMPLES: "1: every home counts alike",
            "changes": "by what factor each way to adapt the model, and each way to train one "
            "without the fleet, changes its loss",
        },
    ),
    SummedQuestion(
        name=BLEND,
        often="run",
        scalars=mixtures.blend_scalars,
        respond=responses.blend,
        terms=mixtures.mixture_terms,
        faults=adaptation_faults,
        metrics=lambda values, homes: {"homes": homes, "errors": list(values.values())},
        personal=True,
        consent=ConsentWords(
            when="when the fleet learns how to mix predictions",
            plain="how the errors of {experts} models go together on this home's validation rows",
            numbers={
                "errors": "how the errors of {experts} models go together on this home's "
                "validation rows, two by two",
            },
        ),
        clear={
            EXAMPLES: "1: every home counts alike",
            "errors": "how the errors of each two models go together on its validation rows",
        },
    ),
    SummedQuestion(
        name=SHRINK,
        often="run",
        scalars=mixtures.shrink_scalars,
        respond=responses.shrink,
        terms=mixtures.mixture_terms,
        faults=mixtures.matrix_faults,
        metrics=lambda values, homes: {"homes": homes, "errors": list(values.values())},
        personal=True,
        consent=ConsentWords(
            when="when the fleet learns how far homes mix by their own rows",
            plain="the error of its own mixture on validation rows that it was not fitted to, for "
            "each of {strengths} degrees to which it may follow the fleet's",
            numbers={
                "error": "the error of its own mixture on validation rows that it was not fitted "
                "to, for each of {strengths} degrees to which it may follow the fleet's",
            },
        ),
        clear={
            EXAMPLES: "1: every home counts alike",
            "errors": "the error of its mixture for each degree to which it may follow the fleet's",
        },
    ),
    SummedQuestion(
        name=OUTCOME,
        often="run",
        scalars=outcomes.outcome_scalars,
        respond=responses.outcome,
        terms=outcomes.outcome_terms,
        fewest=outcomes.fewest_homes,
        faults=mixtures.outcome_faults,
        meaning=outcomes.meaning_of,
        metrics=lambda values, homes: {"homes": homes, "counts": list(values.values())},
        personal=True,
        observed=True,
        one_of=("expert", "best", *MODELS),
        consent=ConsentWords(
            when="at the end",
            plain="the weights of its mixture, which model was best alone, whether the fleet "
            "helped or hurt it, the loss and all measures of each model on its test rows, and its "
            "numbers of training, validation and test examples",
            numbers={
                "expert": "which model weighs most in its mixture",
                "best": "which model was best alone",
                "baseline": "the score of no learning on its test rows, itself and as one of at "
                "most {bins} steps: fewer in a small fleet, so that each is expected to hold "
                "several homes",
                **{model: outcomes.WORDS[model] for model in MODELS if model != "baseline"},
                "null": "whether the same model trained twice could be told apart",
                "weight": "the weights of its mixture",
            },
        ),
        clear={
            EXAMPLES: "the number of its test examples",
            "examples-train": "the number of its training examples",
            "examples-validation": "the number of its validation examples",
            "expert": "which model weighs most in its mixture",
            "best": "which model was best alone",
            "null": "whether the same model trained twice could be told apart",
            "weight.*": "the weight of a model in its mixture",
            "verdict.*": "whether a model of the fleet helped or hurt",
            **{
                f"{model}.*": f"loss and measures of {outcomes.CALLED[model]}, on its test rows"
                for model in MODELS
            },
        },
    ),
)

SUMMED: dict[str, SummedQuestion] = {row.name: row for row in _ROWS}
"""Every question whose answers are added up, by the type of its messages."""


def summed(name: str) -> SummedQuestion:
    """Return the row of a question whose answers are added up.

    Args:
        name: Type of its messages.

    Raises:
        UpdateError: There is no such question.
    """
    try:
        return SUMMED[name]
    except KeyError:
        raise UpdateError(f"homes add nothing up for a message of type {name!r}") from None
