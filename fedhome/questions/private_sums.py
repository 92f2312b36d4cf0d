"""What homes add up where each adds noise: fewer numbers, coarser, and every home counts once.

With noise the same questions sum less (docs/security.md says it in words):

- ``train``: the update alone. Not the loss, nor how large the update is.
- ``evaluate``: its numbers; ``outcome``: its flags, not the scores themselves. Each is rounded to
  a step that fits one element. A home without examples, or whose numbers are not finite, counts
  like any other.
- None says how many homes had nothing to add: such a home adds its noise, to the middle of each
  range.
- ``evaluate.trial``, ``evaluate.blend``, ``evaluate.shrink``: they are not asked. The plan says
  how homes adapt the model, and the fleet knows nothing of how experts go together.

Whether a sum is so is read off its form, at both ends.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from fedhome.errors import ManifestError
from fedhome.privacy.accounting import cost_of_sum
from fedhome.privacy.noise import update_norm
from fedhome.questions.contributions import Terms
from fedhome.questions.empty_handed import EMPTY_HANDED, nothing_of
from fedhome.questions.outcomes import FLAGS_SET, flags_alone
from fedhome.questions.question_table import EVALUATE, OUTCOME, SUMMED, TRAIN
from fedhome.secagg.form import Form, Total
from fedhome.secagg.scalars import Scalar

LOSS_RANGE = 4.0
"""Losses count as this at most: noise is in proportion to the range."""
_FLAGS = {OUTCOME: FLAGS_SET}
"""Where the numbers are flags: how many of them a home sets at most."""
ASKED = (TRAIN, EVALUATE, OUTCOME)
"""The questions that are asked where homes add noise."""


def scalars_of(kind: str, scalars: tuple[Scalar, ...], bits: int) -> tuple[Scalar, ...]:
    """Return the numbers that a question sums where homes add noise.

    Args:
        kind: Type of the message.
        scalars: What it sums without noise.
        bits: Bits of an element with its sign.

    Raises:
        ManifestError: ``noise``: it is not asked then.
    """
    if kind not in ASKED:
        raise ManifestError(
            f"{kind!r} was asked for with noise, under which no home answers it",
            reason="noise",
            hint="home and server must run the same plan and the same version of fedhome",
        )
    if kind == TRAIN:
        return ()
    kept = [scalar for scalar in scalars if scalar != EMPTY_HANDED]
    if kind == OUTCOME:
        kept = list(flags_alone(kept))
    return tuple(
        replace(scalar, bits=bits - 1, high=min(scalar.high, LOSS_RANGE)) for scalar in kept
    )


def terms_of(terms: Terms, numbers: int) -> Terms:
    """Return what homes add up where no number says who had nothing to add: each counts once.

    Args:
        terms: What they add up else, and whether they had nothing to add.
        numbers: How many of its numbers are added up all the same: they come first.
    """
    return Terms(np.ones(len(terms.weights), np.int64), terms.values[:, :numbers])


def fitting(form: Form, kind: str, scalars: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
    """Return the numbers that a sum of this form is over, from those without noise.

    Args:
        form: What lies in the vector.
        kind: Type of the message.
        scalars: What the question sums without noise.

    Raises:
        ManifestError: As in `scalars_of`.
    """
    return scalars if form.noise is None else scalars_of(kind, scalars, form.fixed.bits)


def added(form: Form, terms: Terms) -> Terms:
    """Return what homes add to a sum of this form, their weights capped.

    A home that has nothing to add counts as every other where a form does not ask who that is: with
    noise, and in the later shells of a sliced model, whose weights would else differ from the first
    one's by what a tier's homes alone have.

    Args:
        form: What lies in the vector.
        terms: What they add up without noise.
    """
    if form.noise is not None or EMPTY_HANDED not in form.scalars:
        weights, values = terms_of(terms, len(form.scalars))
        return Terms(weights, np.where(np.isneginf(values), nothing_of(form), values))
    return Terms(np.minimum(terms.weights, form.fixed.weight_cap), terms.values)


def within(form: Form, total: Total) -> Total:
    """Return a sum with its means inside their ranges, from which noise may have led them.

    Args:
        form: What lies in the vector.
        total: What it amounts to.
    """
    if form.noise is None:
        return total
    ranges = {s.name: (s.low, s.high) for s in form.scalars if s.weighted}
    inside = {name: min(max(total.values[name], low), high) for name, (low, high) in ranges.items()}
    return replace(total, values={**total.values, **inside})


def sensitivity(form: Form, kind: str) -> float:
    """Return the greatest L2 norm, in steps, of what one home adds before its noise.

    A number between two bounds counts from their middle; flags count from zero.

    Args:
        form: What lies in the vector.
        kind: Type of the message.
    """
    squares, flags = update_norm(form.fixed.most, form.elements) ** 2, _FLAGS.get(kind)
    steps = [scalar.steps for scalar in form.scalars]
    if flags is None:
        squares += sum((step / 2 + 1) ** 2 for step in steps)
    else:
        squares += flags * max(steps, default=0) ** 2
    return math.sqrt(squares)


def cost_of(form: Form, purpose: str, honest: int) -> float:
    """Return what a sum costs each home in privacy; infinite where the form has no noise.

    Args:
        form: What lies in the vector.
        purpose: What is summed, as a manifest names it.
        honest: Homes in the sum that surely add their noise and keep it to themselves.

    Raises:
        ManifestError: ``noise``: it is not asked with noise.
        ParameterError: Noise that hides nothing.
    """
    if form.noise is None:
        return math.inf
    kind = next((name for name in SUMMED if name.rpartition(".")[2] == purpose), purpose)
    if kind not in ASKED:
        raise ManifestError(f"{purpose!r} was asked for with noise", reason="noise")
    return cost_of_sum(sensitivity(form, kind), form.noise.sigma, honest, form.noisy_elements)
