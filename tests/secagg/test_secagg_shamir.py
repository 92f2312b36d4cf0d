"""Shamir's sharing: any threshold of shares gives the secrets back, and fewer say nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedhome.errors import ParameterError
from fedhome.secagg.shamir import LIMBS, PRIME, coefficients_of, combine, evaluate, limbs_of

_SECRETS = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=3)


def split(
    secrets: list[bytes],
    *,
    members: int,
    threshold: int,
    random: Callable[[int], bytes] = os.urandom,
) -> NDArray[np.uint32]:
    """Return shares of secrets, uint32 ``[members, 9 * secrets]``."""
    coefficients = coefficients_of(limbs_of(secrets), threshold, random)
    return evaluate(coefficients, members).astype(np.uint32)


def _polynomial(coefficients: list[int], x: int) -> int:
    return sum(c * pow(x, power, PRIME) for power, c in enumerate(coefficients)) % PRIME


@given(_SECRETS, st.data())
def test_any_threshold_of_shares_gives_the_secrets_back(
    secrets: list[bytes], data: st.DataObject
) -> None:
    members = data.draw(st.integers(1, 150))
    threshold = data.draw(st.integers(1, members))
    count = data.draw(st.integers(threshold, members))
    shares = split(secrets, members=members, threshold=threshold)
    assert shares.shape == (members, LIMBS * len(secrets))
    chosen = data.draw(st.permutations(range(1, members + 1)))[:count]
    points = np.array(chosen)
    assert combine(points, shares[points - 1]) == secrets


def test_shares_are_values_of_the_polynomial_with_the_secret_at_zero() -> None:
    secret = (5 + (7 << 30) + (1 << 255)).to_bytes(32, "little")
    drawn = np.random.default_rng(0).bytes(4 * 2 * LIMBS)
    shares = split([secret], members=4, threshold=3, random=lambda count: drawn[:count])
    random = np.frombuffer(drawn, "<u4").astype(object) & PRIME
    limbs = [5, 7, 0, 0, 0, 0, 0, 0, 1 << 15]
    for limb in range(LIMBS):
        coefficients = [limbs[limb], random[limb], random[LIMBS + limb]]
        wanted = [_polynomial(coefficients, x) for x in (1, 2, 3, 4)]
        assert shares[:, limb].tolist() == wanted


def test_products_stay_exact_at_the_greatest_numbers() -> None:
    # Every coefficient is p - 1 and many terms are added: float64 must not round once.
    members, threshold = 300, 290
    most = (PRIME - 1).to_bytes(4, "little")
    secret = b"\xff" * 32
    shares = split([secret], members=members, threshold=threshold, random=lambda n: most * (n // 4))
    first = [(1 << 30) - 1] + [PRIME - 1] * (threshold - 1)
    for x in (1, 2, 299, 300):
        assert shares[x - 1, 0] == _polynomial(first, x)
    points = np.arange(11, 301)
    assert combine(points, shares[10:]) == [secret]


@pytest.mark.parametrize("at_once", [1, 70, 1 << 18])
def test_however_few_columns_are_multiplied_at_once_shares_are_the_same(
    monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr("fedhome.secagg.shamir._ONE_THREAD", at_once)
    coefficients = np.arange(70 * 11, dtype=np.int64).reshape(70, 11) * 2_788_979 % PRIME
    points = [[pow(x, n, PRIME) for n in range(70)] for x in range(1, 91)]
    by_hand = np.array(points, object) @ coefficients.astype(object) % PRIME
    assert evaluate(coefficients, 90).tolist() == by_hand.tolist()


def test_shares_of_no_secret_give_none_back() -> None:
    assert combine(np.array([1, 2]), np.zeros((2, 0), np.uint32)) == []


def test_fewer_shares_give_something_else() -> None:
    secret = bytes(range(32))
    shares = split([secret], members=5, threshold=3)
    for pair in combinations(range(5), 2):
        points = np.array(pair) + 1
        assert combine(points, shares[list(pair)]) != [secret]


def test_shares_below_the_threshold_look_the_same_whatever_the_secret() -> None:
    # One member of two: over all draws its share is uniform, for either secret (chi-square).
    for secret in (bytes(32), b"\xff" * 32):
        shares = np.concatenate(
            [split([secret] * 100, members=2, threshold=2)[0] for _ in range(10)]
        )
        counts, _ = np.histogram(shares, bins=64, range=(0, PRIME))
        expected = len(shares) / 64
        # 63 degrees of freedom: above 138 once in ten million times.
        assert ((counts - expected) ** 2 / expected).sum() < 138


def test_coefficients_are_drawn_anew_where_they_are_outside_the_field() -> None:
    full, kept, last = b"\xff" * 4, (5).to_bytes(4, "little"), (6).to_bytes(4, "little")
    asked = []

    def random(count: int) -> bytes:
        asked.append(count)
        return (full + kept * (LIMBS - 1), full, last)[len(asked) - 1]

    shares = split([bytes(32)], members=2, threshold=2, random=random)
    assert asked == [4 * LIMBS, 4, 4]
    assert shares.tolist() == [[6] + [5] * 8, [12] + [10] * 8]


def test_a_wrong_share_shows_and_leaves_other_secrets_alone() -> None:
    secrets = [bytes([n]) * 32 for n in range(4)]
    shares = split(secrets, members=5, threshold=3)
    points = np.array([1, 3, 5])
    wrong = shares[points - 1]
    wrong[1, 2 * LIMBS] ^= 1
    opened = combine(points, wrong)
    assert opened[:2] + opened[3:] == secrets[:2] + secrets[3:]
    assert opened[2] != secrets[2]


def test_numbers_that_are_none_of_a_secret_give_none() -> None:
    rows = np.zeros((4, LIMBS), np.uint32)
    rows[0, 0] = 1 << 30  # a limb of 31 bits
    rows[1, LIMBS - 1] = 1 << 16  # more than 256 bits
    rows[2, LIMBS - 1] = (1 << 16) - 1
    opened = combine(np.array([1]), rows.reshape(1, -1))  # one share: it is the value itself
    assert opened == [None, None, bytes(30) + b"\xff\xff", bytes(32)]


def test_a_share_outside_the_field_counts_as_its_remainder() -> None:
    secret = bytes(range(32))
    shares = split([secret], members=3, threshold=2)[:2]
    small = shares < 2**32 - PRIME
    lifted = np.where(small, shares + np.uint32(PRIME), shares)
    assert small.any()
    assert combine(np.array([1, 2]), lifted) == [secret]


@pytest.mark.parametrize("points", [[1, 1], [0, 1], [-1, 1], [PRIME, 1]])
def test_a_member_twice_or_none_is_refused(points: list[int]) -> None:
    with pytest.raises(ParameterError) as refused:
        combine(np.array(points), np.zeros((2, LIMBS), np.uint32))
    assert refused.value.reason == "points"


def test_shapes_that_do_not_belong_together_are_refused() -> None:
    for shape in ((1, LIMBS), (2, LIMBS + 1), (2 * LIMBS,)):
        with pytest.raises(ParameterError) as refused:
            combine(np.array([1, 2]), np.zeros(shape, np.uint32))
        assert refused.value.reason == "shares"
    for secret, members, threshold in (
        (bytes(31), 3, 2),
        (bytes(32), 3, 4),
        (bytes(32), 3, 0),
    ):
        with pytest.raises(ParameterError) as refused:
            split([secret], members=members, threshold=threshold)
        assert refused.value.reason == "shares"
