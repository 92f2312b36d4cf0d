"""Noise inside a sum: the same words with and without masks, and one home's reach is bounded."""

from __future__ import annotations

import math
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import ManifestError, ParameterError
from fedhome.plan.settings import Plan
from fedhome.privacy.discrete_gaussian import DiscreteGaussian
from fedhome.privacy.noise import Noise, update_norm
from fedhome.questions.contributions import Terms
from fedhome.questions.empty_handed import EMPTY_HANDED, settled
from fedhome.questions.outcomes import outcome_scalars, outcome_terms
from fedhome.questions.private_sums import (
    added,
    cost_of,
    fitting,
    scalars_of,
    sensitivity,
    terms_of,
    within,
)
from fedhome.questions.question_table import (
    BLEND,
    EVALUATE,
    OUTCOME,
    SHRINK,
    TRAIN,
    TRIAL,
    summed,
)
from fedhome.questions.responses import QuestionContext
from fedhome.run.compared_models import ALONE, EXPERTS, FEDERATED, MODELS
from fedhome.secagg.fixedpoint import FixedPoint
from fedhome.secagg.form import Form, Total
from fedhome.secagg.scalars import Scalar

_SCORE = Scalar("score", -1.0, 1.0, weighted=True, bits=7)
_FLAG = Scalar("flag", 0.0, 1.0, weighted=False, bits=7)
PERSONALISE = Plan().personalise


def _form(
    elements: int = 20, *, bits: int = 8, homes: int = 50, sigma: float = 30.0, scalars: int = 2
) -> Form:
    fixed = FixedPoint(bits, 0.5, "l2", 1)
    return Form(elements, bytes(32), fixed, (_SCORE, _FLAG)[:scalars], homes, Noise(sigma, 5))


def _keys(count: int, name: bytes = b"n") -> list[bytes]:
    return [name * 16 + home.to_bytes(16, "big") for home in range(count)]


def _homes(form: Form, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(count)
    updates = draw.normal(0, 0.1, (count, form.elements)).astype(np.float32)
    return updates, np.ones(count, np.int64), draw.random((count, len(form.scalars)))


@pytest.mark.parametrize(
    ("bits", "homes", "sigma", "lanes"),
    [
        (8, 50, 2.0, "u16"),
        (8, 1000, 30.0, "u21x3"),
        (16, 50, 6000.0, "u32"),
        (8, 9, 900.0, "u21x3"),
    ],
)
def test_noisy_words_of_homes_alone_add_up_to_the_total(
    bits: int, homes: int, sigma: float, lanes: str
) -> None:
    form = _form(bits=bits, homes=homes, sigma=sigma)
    assert form.packing.name == lanes
    updates, weights, values = _homes(form, 9)
    keys, noise_keys = _keys(9, b"r"), _keys(9)
    alone = [
        form.encode(updates[i : i + 1], weights[:1], values[i : i + 1], [keys[i]], [noise_keys[i]])
        for i in range(9)
    ]
    total = form.total(updates, weights, values, keys, noise_keys)
    together = form.encode(updates, weights, values, keys, noise_keys)
    assert (np.concatenate(alone) == together).all()
    assert (np.add.reduce(together, axis=0, dtype=together.dtype) == total).all()

    bare = replace(form, noise=None)
    plain = bare.packing.unpack(bare.total(updates, weights, values, keys), elements=23, homes=9)
    noisy = form.packing.unpack(total, elements=23, homes=9)
    assert (noisy - plain)[0] == 0  # the weight carries none
    assert ((noisy - plain)[1:] == DiscreteGaussian.of(sigma).sum(noise_keys, 22)).all()
    assert form.decode(total, 9).weight == 9


def test_a_home_that_failed_to_learn_adds_its_noise_alone() -> None:
    form = _form(scalars=0)
    updates = np.full((1, 20), 0.01, np.float32)
    noise = DiscreteGaussian.of(30.0).draw(_keys(1)[0], 20)
    for wrong in (math.nan, math.inf, -math.inf, 3e38):
        updates[0, 3] = wrong
        words = form.encode(updates, np.ones(1, np.int64), np.zeros((1, 0)), _keys(1), _keys(1))
        assert (form.packing.unpack(words[0], elements=21, homes=1)[1:] == noise).all()


@given(
    st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=60),
    st.integers(4, 20),
    st.floats(1e-6, 1e6),
    st.binary(min_size=32, max_size=32),
)
def test_no_update_is_longer_than_the_noise_is_made_for(
    numbers: list[float], bits: int, clip: float, key: bytes
) -> None:
    fixed = FixedPoint(bits, clip, "l2", 1)
    form = Form(len(numbers), bytes(32), fixed, (), 10, Noise(1.0, 1))
    update = np.array([numbers], np.float32)
    sums = form.element_sums(update, np.ones(1, np.int64), [key])
    assert np.linalg.norm(sums) <= update_norm(fixed.most, len(numbers))
    assert sensitivity(form, TRAIN) == update_norm(fixed.most, len(numbers))


def test_without_its_noise_nothing_is_encoded() -> None:
    form = _form()
    given_ = (*_homes(form, 2), _keys(2))
    for keys in ((), _keys(1), [b"short", b"short"]):
        for make in (form.encode, form.total):
            with pytest.raises(ParameterError) as refused:
                make(*given_, keys)
            assert refused.value.reason == "noise"
    with pytest.raises(ParameterError):
        form.total_of_sums(np.zeros(20), np.ones(2, np.int64), np.zeros((2, 2)))


@pytest.mark.parametrize(
    "changed",
    [
        {"fixed": FixedPoint(8, 0.5, "linf", 1)},
        {"fixed": FixedPoint(8, 0.5, "l2", 2)},
        {"scalars": (replace(_SCORE, bits=8),)},  # two digits: each would tell something
        {"homes": 1 << 25},
    ],
)
def test_a_form_that_noise_does_not_hide_cannot_be_made(changed: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        replace(_form(), **changed)


def test_noise_survives_the_wire() -> None:
    form = _form(sigma=3.25)
    read = Form.from_plain(msgpack.unpackb(msgpack.packb(form.to_plain())))
    assert read == form
    assert read.noise == Noise(3.25, 5)


def test_what_is_asked_with_noise() -> None:
    asked = summed(EVALUATE).scalars({}, PERSONALISE)
    noisy = scalars_of(EVALUATE, asked, 16)
    assert [(s.name, s.low, s.high, s.bits) for s in noisy] == [
        ("loss", 0.0, 4.0, 15),
        ("score", -1.0, 1.0, 15),
    ]
    assert scalars_of(TRAIN, summed(TRAIN).scalars({"server-round": 1}, PERSONALISE), 16) == ()
    assert fitting(replace(_form(), noise=None), EVALUATE, asked) == asked
    for kind in (TRIAL, BLEND, SHRINK, "query.census"):
        with pytest.raises(ManifestError) as refused:
            scalars_of(kind, (), 16)
        assert refused.value.reason == "noise"


def test_with_noise_every_home_counts_once() -> None:
    terms = Terms(np.array([0, 7, 500]), np.ones((3, 3)))  # the last: whether it had nothing
    noisy = _form()
    told = added(noisy, terms)
    assert told.weights.tolist() == [1, 1, 1]
    assert told.values.shape == (3, len(noisy.scalars))
    assert added(replace(noisy, scalars=()), terms).values.shape == (3, 0)  # as of a training
    fixed = replace(noisy.fixed, weight_cap=50)
    bare = replace(noisy, noise=None, fixed=fixed, scalars=(*noisy.scalars, EMPTY_HANDED))
    assert added(bare, terms).weights.tolist() == [0, 7, 50]
    assert added(bare, terms).values.shape == (3, 3)
    # Where nobody is asked who has nothing, as in the later shells of a sliced model.
    assert added(replace(bare, scalars=()), terms).weights.tolist() == [1, 1, 1]


def test_noise_leads_no_mean_out_of_its_range() -> None:
    form, mean = _form(), np.zeros(0)
    led = Total(9, {"score": -1.7, "flag": -3.0}, mean)
    assert within(form, led).values == {"score": -1.0, "flag": -3.0}  # a count may be below zero
    assert within(form, Total(9, {"score": 0.2, "flag": 4.0}, mean)).values["score"] == 0.2
    assert within(replace(form, noise=None), led) is led


def test_one_homes_reach_by_hand() -> None:
    # Two numbers, each at most 63.5 steps (and one of rounding) from its middle.
    evaluation = _form(0)
    assert sensitivity(evaluation, EVALUATE) == pytest.approx(math.sqrt(2) * 64.5)
    # Sixteen flags of 127 steps: the heaviest expert, the best alone, ten scores, and whether
    # three models of the fleet, and the same one trained twice, are better or worse.
    assert sensitivity(_form(0), OUTCOME) == pytest.approx(math.sqrt(16) * 127)
    # Noise of 30 steps from each of 25 homes is one of 150.
    assert cost_of(evaluation, "evaluate", 25) == pytest.approx(
        (math.sqrt(2) * 64.5 / 150) ** 2 / 2
    )
    assert cost_of(replace(evaluation, noise=None), "evaluate", 25) == math.inf
    with pytest.raises(ManifestError):
        cost_of(evaluation, "trial", 25)


def test_no_outcome_sets_more_flags_than_the_noise_is_made_for() -> None:
    draw = np.random.default_rng(3)
    columns = {f"{model}.skill": draw.normal(0, 2, 500) for model in MODELS}
    columns["local.skill"][:9] = np.nan
    columns |= {f"verdict.{model}": draw.integers(-1, 2, 500) for model in FEDERATED}
    columns |= {f"weight.{name}": draw.uniform(0, 1, 500) for name in EXPERTS}
    columns["expert"] = draw.integers(0, len(EXPERTS), 500)
    columns["best"] = draw.integers(0, len(ALONE), 500)
    columns["null"] = draw.integers(-1, 2, 500)
    asked = QuestionContext(Plan(), {"bins": 80}, "skill")
    _, terms = settled(None, outcome_terms(columns, None, asked))
    scalars = (*outcome_scalars({"bins": 80}, PERSONALISE), EMPTY_HANDED)
    flags = terms_of(terms, len(scalars_of(OUTCOME, scalars, 16))).values
    assert set(np.unique(flags)) == {0.0, 1.0}
    assert flags.sum(axis=1).max() == 16
    assert flags.sum(axis=1).min() >= 12  # all verdicts may be that no difference can be told
