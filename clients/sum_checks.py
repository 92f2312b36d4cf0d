"""What a home checks before it takes part in a sum: its plan has this question, and such a sum."""

from __future__ import annotations

from typing import Protocol

from fedhome.clients.asked_question import AskedQuestion
from fedhome.errors import ManifestError
from fedhome.plan.settings import Plan
from fedhome.questions import private_sums
from fedhome.questions.question_table import summed
from fedhome.questions.settings import check_inputs, check_settings
from fedhome.secagg.form import Form
from fedhome.secagg.scalars import Scalar


class SumTerms(Protocol):
    """What a home reads in a manifest that it accepted."""

    @property
    def form(self) -> Form:
        """What lies in the vector."""

    @property
    def round(self) -> int:
        """Number of the round, which names the rounding."""

    @property
    def a_min(self) -> int:
        """Fewest homes in the sum."""


def check_question(question: AskedQuestion, plan: Plan) -> None:
    """Refuse a question that a home's plan does not have, whatever the sum.

    Args:
        question: What is asked.
        plan: The home's plan.

    Raises:
        ManifestError: ``inputs``, ``settings`` or ``model``.
        UpdateError: There is no such question.
    """
    row = summed(question.kind)
    check_inputs(question.settings, plan)
    check_settings(row.faults(question.settings, plan))
    if row.about_model != (question.start is not None):
        raise ManifestError(
            f"{question.kind!r} came {'without the' if row.about_model else 'with a'} model",
            reason="model",
        )


def check_sum(
    terms: SumTerms,
    question: AskedQuestion,
    scalars: tuple[Scalar, ...],
    elements: int,
    plan: Plan,
) -> None:
    """Refuse a sum over other numbers than a question's, by another greatest weight, or too small.

    Args:
        terms: The terms of the sum.
        question: What is asked.
        scalars: The bounded numbers that it sums.
        elements: How many numbers of an update it sums.
        plan: The home's plan.

    Raises:
        ManifestError: ``form``, ``encoding`` or ``settings``.
    """
    check_form(terms.form, question.kind, scalars, elements)
    if terms.form.noise is None:  # else single homes are hidden by it
        _check_weight(question.kind, terms.form.fixed.weight_cap, plan)
        _check_fewest(question, terms.a_min, plan.aggregation.min_cohort)


def _check_weight(kind: str, greatest: int, plan: Plan) -> None:
    """Refuse another greatest weight of a home than the plan names, whatever is summed.

    By two of them sums over the same homes would differ by what those have that count for more.

    Raises:
        ManifestError: ``encoding``.
    """
    named = plan.aggregation.greatest_weight if summed(kind).weighted else 1
    if named not in {None, greatest}:
        raise ManifestError(
            f"a sum for {kind!r} was asked for in which a home counts for {greatest} at most; by "
            f"this home's plan it is {named}",
            reason="encoding",
            hint="home and server must run the same plan",
        )


def _check_fewest(question: AskedQuestion, homes: int, cohort: int) -> None:
    """Refuse a sum over too few homes for what it counts.

    Raises:
        ManifestError: ``settings``.
    """
    fewest = summed(question.kind).fewest(question.settings, cohort)
    if homes < fewest:
        raise ManifestError(
            f"a sum for {question.kind!r} over {homes} homes would tell single ones: with its "
            f"settings it takes {fewest}",
            reason="settings",
            hint="home and server must run the same version of fedhome",
        )


def check_form(form: Form, kind: str, scalars: tuple[Scalar, ...], elements: int) -> None:
    """Refuse a vector that holds anything but what this question sums.

    Args:
        form: What lies in the vector.
        kind: Type of the message.
        scalars: The bounded numbers that the question sums.
        elements: How many numbers of an update it sums.

    Raises:
        ManifestError: It does.
    """
    scalars = private_sums.fitting(form, kind, scalars)
    if form.scalars != scalars or form.elements != elements:
        raise ManifestError(
            f"a sum for {kind!r} was asked for over other numbers than this home adds up",
            reason="form",
            hint="home and server must run the same plan and the same version of fedhome",
        )
