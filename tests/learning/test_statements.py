"""Statements: what goes to outputs comes back, and how wrong they are is the textbooks'."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from fedhome.learning.tasks import Segments
from fedhome.learning.tasks.statements import ENCODINGS
from helpers.examples import share_of


def test_numbers_are_stated_as_they_are() -> None:
    encoding, numbers = ENCODINGS["continuous"], np.array([[1.5], [-2.0]])
    np.testing.assert_array_equal(encoding.stated(numbers), numbers)
    np.testing.assert_array_equal(encoding.output(numbers), numbers)
    truth = encoding.truth(np.array([[1.0], [2.0]], np.float32), 3)
    assert truth.tolist() == [[1.0] * 3, [2.0] * 3]


@settings(max_examples=share_of(100))
@given(st.lists(st.floats(1e-5, 1 - 1e-5), min_size=1, max_size=8))
def test_probabilities_come_back_from_logits(shares: list[float]) -> None:
    encoding, stated = ENCODINGS["binary"], np.array(shares)[:, None]
    np.testing.assert_allclose(encoding.stated(encoding.output(stated)), stated, rtol=1e-6)


@settings(max_examples=share_of(100))
@given(st.lists(st.lists(st.floats(-8, 8), min_size=3, max_size=3), min_size=1, max_size=6))
def test_classes_come_back_from_logits(rows: list[list[float]]) -> None:
    encoding, logits = ENCODINGS["multi-class"], np.array(rows)
    stated = encoding.stated(logits)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(stated, expected, rtol=1e-9)
    np.testing.assert_allclose(encoding.stated(encoding.output(stated)), stated, atol=5e-6)


@pytest.mark.parametrize("kind", ["binary", "multi-class"])
def test_what_is_certain_has_an_output_that_is_finite(kind: str) -> None:
    encoding = ENCODINGS[kind]  # type: ignore[index]
    sure = np.array([[0.0], [1.0]]) if kind == "binary" else np.eye(3)
    output = encoding.output(sure)
    assert np.isfinite(output).all()
    np.testing.assert_allclose(encoding.stated(output), sure, atol=3e-6)
    huge = encoding.stated(np.array([[-1e4], [1e4]]) if kind == "binary" else 1e4 * np.eye(3))
    np.testing.assert_array_equal(huge, sure)


@pytest.mark.parametrize("kind", ["binary", "multi-class"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_no_statement(kind: str, bad: float) -> None:
    logits = np.array([[bad], [0.0]]) if kind == "binary" else np.array([[bad, bad], [0.0, 0.0]])
    stated = ENCODINGS[kind].stated(logits)  # type: ignore[index]
    assert np.isfinite(stated[0]).all() == (kind == "binary" and bad == np.inf)
    assert stated[1].tolist() == [0.5] * len(logits[1])


def test_the_squared_distance_of_probabilities_is_the_brier_score() -> None:
    drawn = np.random.default_rng(0)
    stated = drawn.uniform(size=(30, 1))
    y = drawn.integers(0, 2, (30, 1)).astype(np.float32)
    distance = np.mean((stated - ENCODINGS["binary"].truth(y, 1)) ** 2)
    assert distance == pytest.approx(metrics.brier_score_loss(y[:, 0], stated[:, 0]))
    labels = np.array([2, 0])
    truth = ENCODINGS["multi-class"].truth(labels, 3)
    assert truth.tolist() == [[0, 0, 1], [1, 0, 0]]
    given_ = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    assert np.sum((given_ - truth) ** 2, axis=1).tolist() == pytest.approx([0.38, 0.0])


def test_how_wrong_numbers_are_is_their_squared_error() -> None:
    wrong = ENCODINGS["continuous"].wrong(
        np.array([[1.0], [2.0]], np.float32),
        np.array([[3.0], [2.5]]),
        Segments(counts=np.array([2])),
    )
    assert wrong.tolist() == [4.0, 0.25]


def test_the_mean_of_mistakes_is_one_less_the_score() -> None:
    """Balanced accuracy of two classes, accuracy of several, home by home."""
    drawn, counts = np.random.default_rng(1), np.array([20, 9, 1, 6])
    segments, rows = Segments(counts=counts), 36
    y = drawn.integers(0, 2, (rows, 1)).astype(np.float32)
    y[29:30] = 1  # the third home has one class alone
    stated = drawn.uniform(size=(rows, 1))
    wrong = segments.mean(ENCODINGS["binary"].wrong(y, stated, segments))
    labels = drawn.integers(0, 4, rows)
    shares = drawn.dirichlet(np.ones(4), rows)
    mistakes = segments.mean(ENCODINGS["multi-class"].wrong(labels, shares, segments))
    for place, end in enumerate(np.cumsum(counts)):
        own = slice(end - counts[place], end)
        truth, said = y[own, 0] > 0.5, stated[own, 0] > 0.5
        recalls = [
            np.mean(said[truth == yes] == yes) for yes in (False, True) if (truth == yes).any()
        ]
        assert wrong[place] == pytest.approx(1 - np.mean(recalls))
        accuracy = metrics.accuracy_score(labels[own], shares[own].argmax(axis=1))
        assert mistakes[place] == pytest.approx(1 - accuracy)
