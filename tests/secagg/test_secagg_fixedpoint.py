"""Fixed point, scalars and form: what a home encodes, and that its sums are exact."""

from __future__ import annotations

import math
import struct
from dataclasses import replace

import msgpack
import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import ParameterError, UpdateError, WireError
from fedhome.secagg import fixedpoint
from fedhome.secagg.fixedpoint import FixedPoint, lengths
from fedhome.secagg.form import Form
from fedhome.secagg.scalars import Scalar, Scalars

_SCALARS = (
    Scalar("loss", 0.0, 100.0, weighted=True),
    Scalar("examples", 0.0, 2.0**32 - 1, weighted=False),
    Scalar("shift", -2.0, 2.0, weighted=False),
)


def _keys(count: int, seed: int = 0) -> list[bytes]:
    return [np.random.default_rng([seed, number]).bytes(32) for number in range(count)]


def _stream(key: bytes, count: int) -> list[int]:
    """Return the top 24 bits of each word of the keystream."""
    cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    drawn = cipher.update(bytes(4 * count))
    return [int.from_bytes(drawn[4 * n : 4 * n + 4], "little") >> 8 for n in range(count)]


def _reference(fixed: FixedPoint, update: np.ndarray, weight: int, key: bytes) -> list[int]:
    """Round one home's update number by number, as the documentation says."""
    weight = min(weight, fixed.weight_cap)
    size = float(lengths(update[None])[0] if fixed.norm == "l2" else abs(update).max())
    scale = np.float32(weight / fixed.step * min(1.0, fixed.clip / max(size, 1e-99)))
    plain = np.float32(weight / fixed.step)
    bound = min(np.float32(fixed.clip) * plain, np.float32(fixed.most))
    whole = []
    for number, drawn in zip(update, _stream(key, len(update)), strict=True):
        with np.errstate(over="ignore"):
            x = min(max(np.float32(number * scale), -bound), bound)
        floor = math.floor(x)
        whole.append(floor + int(float(np.float32(x - np.float32(floor))) * 2**24 > drawn))
    return whole


_FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    st.lists(st.one_of(_FLOATS, st.floats(-2, 2, width=32)), min_size=1, max_size=30),
    st.integers(2, 24),
    st.sampled_from(["linf", "l2"]),
    st.sampled_from([0.01, 1.0, 300.0]),
    st.integers(0, 150),
)
def test_every_number_is_rounded_as_documented(
    numbers: list[float], bits: int, norm: str, clip: float, weight: int
) -> None:
    fixed = FixedPoint(bits, clip, norm, 100)
    update, key = np.array(numbers, np.float32), _keys(1)[0]
    q = fixed.quantise(update[None], np.array([weight]), [key])
    assert q.dtype == np.int32
    assert q[0].tolist() == _reference(fixed, update, weight, key)
    assert abs(q).max() <= fixed.most


def test_steps_and_clipping_by_hand() -> None:
    fixed = FixedPoint(9, 0.5, "linf", 10)
    assert fixed.most == 255
    assert fixed.step == pytest.approx(0.5 * 10 / 255)
    # Weight 10 of 10: the clip is 255 steps. Weight 4: it is 102 steps, and 0.25 is 51.
    update = np.array([[0.5, -0.5, 0.25, 0.0]] * 3, np.float32)
    weights = np.array([10, 4, 0])
    q = fixed.quantise(update[:, [0, 1, 3]], weights, _keys(3))
    assert q.tolist() == [[255, -255, 0], [102, -102, 0], [0] * 3]
    # Eighteen times too large: all of it is shortened, and its numbers keep their proportions.
    q = fixed.quantise(18 * update, weights, _keys(3))
    assert q[:, [0, 1, 3]].tolist() == [[255, -255, 0], [102, -102, 0], [0] * 3]
    assert np.abs(q[:, 2] - np.array([127.5, 51, 0])).max() <= 1


def test_an_l2_clip_shortens_and_keeps_the_direction() -> None:
    fixed = FixedPoint(16, 1.0, "l2", 1)
    q = fixed.quantise(np.array([[3.0, 4.0], [0.3, 0.4]], np.float32), np.array([1, 1]), _keys(2))
    assert np.abs(q[0] - 32767 * np.array([0.6, 0.8])).max() < 1
    assert np.abs(q[1] - 32767 * np.array([0.3, 0.4])).max() < 1


@pytest.mark.parametrize("fixed", [FixedPoint(16, 1.0, "linf", 64), FixedPoint(16, 9.0, "l2", 64)])
def test_steps_are_coarse_where_most_numbers_come_to_fewer_than_eight(fixed: FixedPoint) -> None:
    """By hand: a step is a 32 767th of the clip for a home of weight 64, and more for others."""
    step = fixed.clip / 32767
    updates = np.float32(
        [
            [7 * step, -7 * step, 0.5, 0],  # two of three, and what is zero says nothing
            [9 * step, 9 * step, 0.5, 0],
            [7 * step, -9 * step, 0.5, 0],
            [0, 0, 0, 0],
            [4e3, 8e3, 4e3, 1],  # shortened: the last one comes to a few steps
            [4e5, 8e5, 4, 1],  # two of four: not most
            [4e5, 4, 4, 1],
        ]
    )
    coarse = [True, False, False, False, False, False, True]
    weights = np.full(len(updates), 64)
    assert fixed.is_coarse(updates, weights).tolist() == coarse
    assert fixed.is_coarse(updates, weights // 2).tolist() == [True, True, True, *coarse[3:]]
    assert fixed.is_coarse(updates, 2 * weights).tolist() == coarse  # no home counts for more


def test_rounding_is_right_on_average() -> None:
    fixed = FixedPoint(9, 255.0, "linf", 1)  # a step is one
    wanted = np.array([0.25, -0.25, 3.9, -100.5, 1e-3], np.float32)
    trials = 4000
    q = fixed.quantise(np.tile(wanted, (trials, 1)), np.ones(trials, np.int64), _keys(trials))
    # Rounding has a variance of f (1 - f) at most 1/4: five deviations of the mean.
    assert np.abs(q.mean(axis=0) - wanted).max() < 5 * 0.5 / math.sqrt(trials)
    assert set(q[:, 2].tolist()) == {3, 4}


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("elements", [1, 37, 5000, 40_000])
def test_a_home_alone_gets_the_same_bits_as_among_others(norm: str, elements: int) -> None:
    fixed = FixedPoint(9, 0.01 if norm == "linf" else 0.01 * elements**0.5, norm, 100)
    draw = np.random.default_rng(3)
    homes = 9 if elements < 10_000 else 3
    updates = draw.normal(0, 0.01, (homes, elements)).astype(np.float32)
    weights, keys = draw.integers(1, 200, homes), _keys(homes)
    together = fixed.quantise(updates, weights, keys)
    for home in range(homes):
        one = slice(home, home + 1)
        assert (fixed.quantise(updates[one], weights[one], keys[one]) == together[one]).all()
    # Rows that are not next to each other in memory make no difference either.
    scattered = np.asfortranarray(updates)
    assert (fixed.quantise(scattered, weights, keys) == together).all()


def test_the_size_of_a_block_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = FixedPoint(9, 0.01, "linf", 100)
    updates = np.random.default_rng(3).normal(0, 0.01, (7, 333)).astype(np.float32)
    weights, keys = np.arange(7) * 20, _keys(7)
    whole = fixed.quantise(updates, weights, keys)
    monkeypatch.setattr(fixedpoint, "_BLOCK", 32)
    assert (fixed.quantise(updates, weights, keys) == whole).all()


@given(st.integers(1, 2500), st.integers(1, 3))
def test_lengths_add_in_the_documented_order(elements: int, homes: int) -> None:
    draw = np.random.default_rng(elements)
    updates = (
        draw.normal(0, 1, (homes, elements)) * 10.0 ** draw.integers(-9, 9, elements)
    ).astype(np.float32)
    for update, length in zip(updates, lengths(updates).tolist(), strict=True):
        sums = [0.0] * 1024
        for number, value in enumerate(update.tolist()):
            sums[number % 1024] += value * value
        while len(sums) > 1:
            half = len(sums) // 2
            sums = [sums[i] + sums[i + half] for i in range(half)]
        assert length == math.sqrt(sums[0])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_update_that_is_not_finite_is_refused(bad: float) -> None:
    updates = np.zeros((3, 50), np.float32)
    updates[2, 49] = bad
    for norm in ("linf", "l2"):
        with pytest.raises(UpdateError, match="not finite"):
            FixedPoint(9, 1.0, norm, 10).quantise(updates, np.ones(3, np.int64), _keys(3))


def test_arguments_that_do_not_belong_together_are_refused() -> None:
    fixed, ones = FixedPoint(9, 1.0, "linf", 10), np.ones(2, np.int64)
    updates = np.zeros((2, 3), np.float32)
    for rows, weights, keys in (
        (updates[0], ones, _keys(2)),
        (updates, ones[:1], _keys(2)),
        (updates, ones, _keys(1)),
        (updates, ones, [bytes(32), bytes(16)]),
    ):
        with pytest.raises(ParameterError) as refused:
            fixed.quantise(rows, weights, keys)
        assert refused.value.reason == "shapes"
    with pytest.raises(UpdateError, match="float64"):
        fixed.quantise(updates.astype(np.float64), ones, _keys(2))  # type: ignore[arg-type]
    for weights in (np.array([1, -1]), np.array([1.5, 1.0])):
        with pytest.raises(ParameterError) as refused:
            fixed.quantise(updates, weights, _keys(2))
        assert refused.value.reason == "weight"


@pytest.mark.parametrize(
    "changed",
    [
        {"bits": 1},
        {"bits": 25},
        {"clip": 0.0},
        {"clip": math.nan},
        {"clip": math.inf},
        {"norm": "l1"},
        {"weight_cap": 0},
        {"weight_cap": 2**31},
    ],
)
def test_settings_outside_their_range_are_refused(changed: dict[str, float]) -> None:
    with pytest.raises(ParameterError):
        replace(FixedPoint(9, 1.0, "linf", 10), **changed)


def test_the_mean_by_hand() -> None:
    fixed = FixedPoint(9, 0.5, "linf", 10)
    mean = fixed.mean(np.array([255, -51, 0]), 20)
    assert mean == pytest.approx([0.25, -0.05, 0.0])
    assert fixed.mean(np.zeros(2, np.int64), 0).tolist() == [0.0, 0.0]


# Scalars


def test_scalars_by_hand() -> None:
    scalars = Scalars(_SCALARS, 9, 100)
    # 100 has 7 bits; (2^32 - 1) * 100 has 39; 2^32 - 1 has 32: digits of 8 bits.
    assert scalars.digits == (1, 5, 4, 4)
    values = np.array([[50.0, 7.0, -2.0], [100.0, 2.0**32 - 1, 2.0]])
    encoded = scalars.encode(values, np.array([3, 100]))
    # Halfway on the grid of 2^32 - 1 rounds to the even 2^31; times three.
    assert encoded[0].tolist() == [3, 0, 0, 0, 128, 1, 7, 0, 0, 0, 0, 0, 0, 0]
    assert encoded[1, :6].tolist() == [100, *(((2**32 - 1) * 100).to_bytes(5, "little"))]
    assert encoded[1, 6:].tolist() == [255] * 8
    weight, decoded = scalars.decode(encoded.sum(axis=0, dtype=np.int64), 2)
    assert weight == 103
    assert decoded["loss"] == pytest.approx((3 * 50 + 100 * 100) / 103)
    assert decoded["examples"] == 2**32 + 6
    assert decoded["shift"] == 0.0


@given(
    st.lists(
        st.tuples(st.floats(), st.floats(), st.floats(), st.integers(0, 1000)),
        min_size=1,
        max_size=20,
    ),
    st.integers(2, 20),
)
def test_decoded_scalars_are_within_the_grid(
    homes: list[tuple[float, float, float, int]], bits: int
) -> None:
    scalars = Scalars(_SCALARS, bits, 1000)
    values = np.array([home[:3] for home in homes])
    weights = np.array([home[3] for home in homes])
    encoded = scalars.encode(values, weights)
    assert encoded.min() >= 0
    assert encoded.max() < 2 ** (bits - 1)
    weight, decoded = scalars.decode(encoded.sum(axis=0, dtype=np.int64), len(homes))
    assert weight == weights.sum()
    low, high = np.array([(s.low, s.high) for s in _SCALARS]).T
    kept = np.clip(np.where(np.isnan(values), high, values), low, high)
    grid = (high - low) / (2**32 - 1)
    if weight:
        assert abs(decoded["loss"] - (kept[:, 0] @ weights) / weight) <= grid[0]
    else:
        assert math.isnan(decoded["loss"])
    for place, name in ((1, "examples"), (2, "shift")):
        assert abs(decoded[name] - math.fsum(kept[:, place])) <= grid[place] * len(homes)


def test_a_value_that_is_no_number_counts_as_the_highest() -> None:
    scalars = Scalars((Scalar("loss", 0.0, 8.0, weighted=True),), 9, 10)
    for value, decoded in ((math.nan, 8.0), (math.inf, 8.0), (-math.inf, 0.0), (9.0, 8.0)):
        encoded = scalars.encode(np.array([[value]]), np.array([7]))
        assert scalars.decode(encoded[0].astype(np.int64), 1) == (7, {"loss": decoded})


def test_scalars_that_cannot_be_are_refused() -> None:
    for name, low, high in (
        ("", 0.0, 1.0),
        ("a", 1.0, 1.0),
        ("a", 0.0, math.inf),
        ("a", math.nan, 1.0),
        ("a", -1e308, 1e308),
    ):
        with pytest.raises(ParameterError):
            Scalar(name, low, high, weighted=False)
    with pytest.raises(ParameterError):
        Scalars((_SCALARS[0], _SCALARS[0]), 9, 10)
    scalars = Scalars(_SCALARS[:1], 9, 10)
    for values, weights in (
        (np.zeros((1, 2)), [1]),
        (np.zeros((2, 1)), [1]),
        (np.zeros((1, 1)), [11]),
        (np.zeros((1, 1)), [-1]),
    ):
        with pytest.raises(ParameterError):
            scalars.encode(values, np.array(weights))
    with pytest.raises(ParameterError):
        scalars.decode(np.zeros(scalars.elements + 1, np.int64), 1)


# Form


def _wrapping_sum(words: np.ndarray) -> np.ndarray:
    return np.add.reduce(words, axis=0, dtype=words.dtype)  # otherwise it is a sum of 64 bits


def _form(bits: int = 9, homes: int = 10, elements: int = 20, norm: str = "linf") -> Form:
    return Form(elements, bytes(range(32)), FixedPoint(bits, 0.5, norm, 100), _SCALARS, homes)


def _homes(form: Form, count: int, seed: int = 1) -> tuple[np.ndarray, ...]:
    draw = np.random.default_rng(seed)
    return (
        draw.normal(0, 0.3, (count, form.elements)).astype(np.float32),
        draw.integers(0, 130, count),
        draw.random((count, 3)) * [100, 1000, 2],
    )


@pytest.mark.parametrize(
    ("bits", "homes", "elements", "norm"),
    [
        (9, 10, 20, "linf"),
        (9, 100, 0, "linf"),
        (8, 1000, 50, "l2"),
        (16, 300, 333, "linf"),
        (24, 40, 1000, "l2"),
        (9, 3, 70_000, "l2"),
        (8, 600, 35_000, "linf"),
    ],
)
def test_the_total_is_the_sum_of_what_homes_encode_alone(
    bits: int, homes: int, elements: int, norm: str
) -> None:
    form = _form(bits, homes, elements, norm)
    count = min(homes, 40)
    updates, weights, values = _homes(form, count)
    keys = _keys(count)
    total = form.total(updates, weights, values, keys)
    alone = [
        form.encode(updates[i : i + 1], weights[i : i + 1], values[i : i + 1], keys[i : i + 1])
        for i in range(count)
    ]
    together = form.encode(updates, weights, values, keys)
    assert together.shape == (count, form.words)
    assert (np.concatenate(alone) == together).all()
    assert total.dtype == together.dtype
    assert (total == _wrapping_sum(together)).all()


@given(st.integers(0, 2**32), st.sampled_from([(9, 128), (8, 8192), (16, 5000), (24, 200)]))
def test_what_is_decoded_is_the_weighted_mean(seed: int, size: tuple[int, int]) -> None:
    form = _form(*size)
    updates, weights, values = _homes(form, 7, seed)
    weights[0] = 5
    decoded = form.decode(form.total(updates, weights, values, _keys(7, seed)), 7)
    counted = np.minimum(weights, 100)
    assert decoded.weight == counted.sum()
    shortened = updates * np.minimum(1, 0.5 / np.abs(updates).max(axis=1))[:, None]
    wanted = (shortened * counted[:, None]).sum(axis=0) / decoded.weight
    # Rounding moves each home by less than a step, and float32 by its last bits.
    error = form.fixed.step * 7 / decoded.weight + 1e-6
    assert np.abs(decoded.mean - wanted).max() < error
    assert decoded.values["examples"] == pytest.approx(values[:, 1].sum(), abs=7)
    assert decoded.values["loss"] == pytest.approx(
        (values[:, 0] * counted).sum() / decoded.weight, abs=1e-6
    )


def test_the_error_of_the_mean_is_as_promised() -> None:
    form = Form(2000, bytes(32), FixedPoint(8, 0.05, "linf", 10), (), 1000)
    draw = np.random.default_rng(5)
    updates = draw.uniform(-0.05, 0.05, (1000, 2000)).astype(np.float32)
    weights = np.full(1000, 10)
    words = form.total(updates, weights, np.zeros((1000, 0)), _keys(1000))
    error = form.decode(words, 1000).mean - updates.mean(axis=0, dtype=np.float64)
    promised = form.fixed.step * math.sqrt(1000) / (2 * 10_000)
    assert 0.5 * promised < np.sqrt((error**2).mean()) <= promised


def test_a_form_without_elements_sums_scalars_alone() -> None:
    form = _form(elements=0)
    words = form.encode(None, np.array([3]), np.array([[1.0, 2.0, 0.5]]), ())
    assert words.shape == (1, form.scalar_elements)
    decoded = form.decode(words[0], 1)
    assert (decoded.weight, decoded.values["examples"], decoded.mean.shape) == (3, 2.0, (0,))
    with pytest.raises(ParameterError):
        _form(elements=1).encode(None, np.array([3]), np.zeros((1, 3)), _keys(1))


def test_more_homes_than_the_form_allows_are_refused() -> None:
    form = _form(homes=10)
    with pytest.raises(ParameterError) as refused:
        form.total(*_homes(form, 11), _keys(11))
    assert refused.value.reason == "wraps"
    with pytest.raises(ParameterError) as refused:
        form.decode(np.zeros(form.words, form.packing.dtype), 11)
    assert refused.value.reason == "wraps"


def test_a_form_whose_sums_would_wrap_cannot_be_made() -> None:
    with pytest.raises(ParameterError) as refused:
        _form(bits=24, homes=257)
    assert refused.value.reason == "wraps"
    for changed in ({"layout": bytes(31)}, {"elements": -1}, {"scalars": _SCALARS + _SCALARS}):
        with pytest.raises(ParameterError):
            replace(_form(), **changed)


@pytest.mark.long
@given(
    st.floats(1e-9, 1e9),
    st.integers(2, 9),
    st.booleans(),
    st.floats(-1e6, 1e6),
    st.text(min_size=1, max_size=16),
)
def test_a_form_survives_the_wire(
    clip: float, bits: int, weighted: bool, low: float, name: str
) -> None:
    scalars = (Scalar(name, low, low + 1.5, weighted, bits),)
    form = Form(7, bytes(32), FixedPoint(bits, clip, "l2", 5), scalars, 3)
    for read in (form.to_plain(), msgpack.unpackb(msgpack.packb(form.to_plain()))):
        assert Form.from_plain(read) == form
        assert Form.from_plain(read).to_plain() == form.to_plain()


def _broken() -> list[object]:
    elements, layout, fixed, scalars, homes, none = _form().to_plain()
    name, low, high, weighted, grid = scalars[0]
    sigma = struct.pack(">d", 3.0)
    return [
        None,
        b"form",
        (elements, layout, fixed, scalars, homes),
        (elements, layout, fixed, scalars, homes, none, 1),
        (True, layout, fixed, scalars, homes, none),
        (1.0, layout, fixed, scalars, homes, none),
        (-1, layout, fixed, scalars, homes, none),
        (elements, "layout", fixed, scalars, homes, none),
        (elements, layout[1:], fixed, scalars, homes, none),
        (elements, layout, fixed[:3], scalars, homes, none),
        (elements, layout, (99, *fixed[1:]), scalars, homes, none),
        (elements, layout, (fixed[0], 0.5, *fixed[2:]), scalars, homes, none),
        (elements, layout, (fixed[0], fixed[1][1:], *fixed[2:]), scalars, homes, none),
        (elements, layout, (fixed[0], b"\x7f\xf8" + bytes(6), *fixed[2:]), scalars, homes, none),
        (elements, layout, fixed, scalars + scalars, homes, none),
        (elements, layout, fixed, ((name, low, high, 2, grid),), homes, none),
        (elements, layout, fixed, ((name, high, low, weighted, grid),), homes, none),
        (elements, layout, fixed, (("n" * 65, low, high, weighted, grid),), homes, none),
        (
            elements,
            layout,
            fixed,
            tuple((f"{n}", low, high, 0, 1) for n in range(1025)),
            homes,
            none,
        ),
        (elements, layout, fixed, ((name, low, high, weighted),), homes, none),
        (elements, layout, fixed, ((name, low, high, weighted, 0),), homes, none),
        (elements, layout, fixed, ((name, low, high, weighted, 33),), homes, none),
        (elements, layout, fixed, scalars, 0, none),
        (elements, layout, fixed, scalars, 2**40, none),
        (elements, layout, fixed, scalars, homes, (sigma,)),
        (elements, layout, fixed, scalars, homes, (1.0, 5)),
        (elements, layout, fixed, scalars, homes, (b"\x7f\xf8" + bytes(6), 5)),
        (elements, layout, fixed, scalars, homes, (sigma, 0)),
        (elements, layout, fixed, scalars, homes, (sigma, 5)),  # a weight would show
    ]


@pytest.mark.parametrize("plain", _broken())
def test_anything_else_is_no_form(plain: object) -> None:
    with pytest.raises(WireError) as refused:
        Form.from_plain(plain)
    assert refused.value.reason == "form"


def test_a_flag_takes_one_digit_and_counts_exactly() -> None:
    scalars = Scalars(
        tuple(Scalar(f"f{n}", 0.0, 1.0, weighted=False, bits=1) for n in (0, 1)), 9, 1
    )
    assert scalars.digits == (1, 1, 1)
    digits = scalars.encode(np.array([[1.0, 0.0], [1.0, 1.0], [0.4, 0.6]]), np.ones(3, np.int64))
    assert scalars.decode(digits.sum(axis=0, dtype=np.int64), 3) == (3, {"f0": 2.0, "f1": 2.0})
