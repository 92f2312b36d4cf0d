"""What an opened sum may amount to: no more than homes that keep to the protocol can add up."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import SumError
from fedhome.secagg import FixedPoint, Form, Scalar
from fedhome.secagg import form as form_module
from fedhome.secagg import scalars as scalars_module
from helpers.secagg_attacker import weaken
from helpers.secagg_world import LAYOUT

SCALARS = (
    Scalar("loss", 0.0, 8.0, weighted=True),
    Scalar("shortened", 0.0, 1.0, weighted=False, bits=1),
)
HOMES = 7


def _form(norm: str = "linf", bits: int = 16) -> Form:
    return Form(5, LAYOUT, FixedPoint(bits, 0.5, norm, 50), SCALARS, HOMES)


def _words(form: Form, seed: int, *, size: float = 0.2) -> Any:
    rng = np.random.default_rng(seed)
    update = rng.normal(0, size, (HOMES, form.elements)).astype(np.float32)
    values = np.column_stack([rng.uniform(0, 8, HOMES), rng.integers(0, 2, HOMES)])
    keys = [bytes([home]) * 32 for home in range(HOMES)]
    return form.encode(update, rng.integers(0, 51, HOMES), values, keys)


@given(
    st.integers(0, 1 << 20),
    st.sampled_from(["linf", "l2"]),
    st.sampled_from([4, 9, 16, 24]),
    st.sampled_from([0.0, 0.2, 1e6]),
)
def test_what_honest_homes_add_up_is_never_beyond(
    seed: int, norm: str, bits: int, size: float
) -> None:
    form = _form(norm, bits)
    total = form.decode(_words(form, seed, size=size).sum(axis=0, dtype=form.packing.dtype), HOMES)
    assert np.abs(total.mean).max() <= 0.5 * (1 + HOMES)


def _tampered(form: Form, honest: Any, lane: int, amount: int) -> Any:
    """Return a sum to one lane of which a home added what it likes."""
    added, nothing = np.zeros_like(honest), np.zeros_like(honest)
    elements = np.zeros(form.scalar_elements + form.elements)
    form.packing.put(nothing, 0, elements, homes=1)
    elements[lane] = amount
    form.packing.put(added, 0, elements, homes=1)
    return (honest + added - nothing).astype(honest.dtype)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("amount", [200_000, -200_000])
def test_a_home_that_adds_more_than_it_may_is_noticed(
    norm: str, amount: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = _form(norm)
    honest = _words(form, 1).sum(axis=0, dtype=form.packing.dtype)
    lanes = range(form.scalar_elements, form.scalar_elements + form.elements)
    for lane in lanes:
        with pytest.raises(SumError, match="that keep to the protocol can add"):
            form.decode(_tampered(form, honest, lane, amount), HOMES)
    monkeypatch.setattr(form_module, "check_elements", lambda *_, **__: None)
    moved = form.decode(_tampered(form, honest, lanes[0], amount), HOMES).mean[0]
    assert abs(moved) > 0.5  # further than all homes together could have moved it


def test_one_home_within_the_bound_sets_the_mean_where_all_together_could_as_the_docs_say() -> None:
    """Nothing tells it from seven homes that all went as far as they may: nobody proves a range."""
    form = _form()
    words = _words(form, 3, size=0.01).sum(axis=0, dtype=form.packing.dtype)
    honest = form.decode(words, HOMES)
    assert np.abs(honest.mean).max() < 0.02
    most = (2**15 - 1) / 50 * honest.weight  # steps of a lane: 16 bits with the sign, cap 50
    for place, mean in enumerate(honest.mean):
        more = int((1 - mean / 0.5) * most)
        words = _tampered(form, words, form.scalar_elements + place, more)
    moved = form.decode(words, HOMES)
    assert moved.weight == honest.weight
    assert moved.mean == pytest.approx([0.5] * form.elements, abs=1e-3)
    # Held to its own range, with a seventh of the weight, it could move it by a seventh of that.


@pytest.mark.parametrize("amount", [1_000, -1_000])
@pytest.mark.parametrize("name", ["weight", "shortened"])
def test_a_weight_or_a_count_out_of_range_is_noticed(
    name: str, amount: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = _form()
    lane = 0 if name == "weight" else form.scalar_elements - 1
    honest = _words(form, 2).sum(axis=0, dtype=form.packing.dtype)
    wrong = _tampered(form, honest, lane, amount)
    with pytest.raises(SumError, match=name):
        form.decode(wrong, HOMES)
    weaken(monkeypatch, scalars_module, "check_numbers", "not -slack <= total <= most + slack")
    monkeypatch.setattr(form_module, "check_elements", lambda *_, **__: None)
    decoded = form.decode(wrong, HOMES)
    found = decoded.weight if name == "weight" else decoded.values[name]
    assert not 0 <= found <= 50 * HOMES
