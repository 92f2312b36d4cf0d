"""What a home adds that has nothing to add: zeros of no weight, under the same masks as numbers.

Whether a home's own numbers were finite, whether its data fitted the model, whether its code
failed: an error in the clear would tell the server, which can make models so that the answer
depends on a reading. So such a home answers as every other does, and a flag counts, in the sum
alone, how many did.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedhome.questions.contributions import Terms
from fedhome.secagg.form import Form
from fedhome.secagg.scalars import Scalar

EMPTY_HANDED = Scalar("empty-handed", 0.0, 1.0, weighted=False, bits=1)
"""Added to the numbers of every question, after all others: how many homes had nothing to add."""

MEANING = "whether it had nothing to add (then all its other numbers are nothing)"
"""What people are told of it."""


def settled(update: NDArray[np.float32] | None, terms: Terms) -> tuple[Any, Terms]:
    """Return what homes add: nothing for those whose training is not finite, and flags of it.

    A model that others trained may fit a home as badly as it likes: losses and scores that are no
    numbers count as the worst there are.

    Args:
        update: What they learnt, float32 ``[homes, size]``; None where a question trains nothing.
        terms: Their numbers, without the flag.

    Returns:
        The update and the terms with the flag; rows that are fine are as they were.
    """
    fine: NDArray[np.bool_] = np.ones(len(terms.values), np.bool_)
    if update is not None:
        numbers = np.concatenate([update, terms.values], axis=1)
        fine = np.asarray(np.isfinite(numbers).all(axis=1))
    values = np.concatenate([terms.values, ~fine[:, None]], axis=1)
    if fine.all():
        return update, Terms(terms.weights, values)
    values[~fine, :-1] = -np.inf  # of each number the least that it may be: nothing in the sum
    if update is not None:
        update = np.where(fine[:, None], update, np.float32(0))
    return update, Terms(np.where(fine, terms.weights, 0), values)


def nothing_of(form: Form) -> NDArray[np.float64]:
    """Return what a home that has nothing to add says of each number, float64 ``[scalars]``.

    That is the least that a number may be, nothing in the sum. With noise it is the middle of a
    mean's range: from there one home's reach is counted, and to both ends it is as far.

    Args:
        form: What lies in the vector.
    """
    noisy = form.noise is not None
    return np.array(
        [(one.low + one.high) / 2 if noisy and one.weighted else -np.inf for one in form.scalars],
        np.float64,
    )


def empty_terms(homes: int, form: Form) -> Terms:
    """Return the numbers of homes that have nothing to add, with the flag.

    Where homes add noise, or the sum is of a later shell, they all count once and no flag says who
    has nothing besides.

    Args:
        homes: How many they are.
        form: What lies in the vector.
    """
    values = np.tile(nothing_of(form), (homes, 1))
    if form.noise is not None or EMPTY_HANDED not in form.scalars:
        return Terms(np.ones(homes, np.int64), values)
    values[:, -1] = 1.0
    return Terms(np.zeros(homes, np.int64), values)


def empty_words(form: Form, noise_key: bytes | None = None) -> NDArray[Any]:
    """Return the words of a home that has nothing to add, unsigned ``[words]``.

    Args:
        form: What lies in the vector.
        noise_key: For its noise, where the form has any, 32 bytes; None: drawn by the operating
            system.
    """
    terms = empty_terms(1, form)
    update = np.zeros((1, form.elements), np.float32) if form.elements else None
    noise = [os.urandom(32) if noise_key is None else noise_key]
    words: NDArray[Any] = form.encode(update, terms.weights, terms.values, [bytes(32)], noise)[0]
    return words
