"""The noise has the law that it says, to the last bits, and comes from its key alone."""

from __future__ import annotations

import math
from decimal import Decimal, getcontext, localcontext
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from fedhome.errors import ParameterError
from fedhome.privacy import discrete_gaussian
from fedhome.privacy.discrete_gaussian import DiscreteGaussian
from fedhome.privacy.noise import Noise, update_norm

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


def _law(sigma: float, reach: int) -> np.ndarray:
    places = np.arange(-reach, reach + 1)
    weights = np.exp(-(places**2) / (2 * sigma**2))
    return weights / weights.sum()


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.3, 40.0])
def test_a_narrow_law_is_drawn_as_often_as_it_says(sigma: float) -> None:
    count, reach = 200_000, math.ceil(6 * sigma)
    drawn = DiscreteGaussian(sigma).draw(KEY, count)
    seen = np.bincount(np.clip(drawn, -reach, reach) + reach, minlength=2 * reach + 1)
    expected = _law(sigma, reach) * count
    assert (np.abs(drawn) <= reach + 3 * sigma).all()
    kept = expected > 5
    wanted = expected[kept] * seen[kept].sum() / expected[kept].sum()
    p_value = stats.chisquare(seen[kept], wanted).pvalue
    assert p_value > 1e-3  # the key is fixed: this is no matter of luck


@pytest.mark.long
@pytest.mark.parametrize("sigma", [151.0, 6000.0, 3e5, 1e8])
def test_a_wide_law_looks_like_a_gaussian(sigma: float) -> None:
    drawn = DiscreteGaussian(sigma).draw(KEY, 100_000) / sigma
    assert stats.kstest(drawn, "norm").pvalue > 1e-3
    assert abs(np.corrcoef(drawn[:-1], drawn[1:])[0, 1]) < 0.01


@pytest.mark.long
def test_a_narrower_law_is_told_from_a_wider_one() -> None:
    drawn = DiscreteGaussian(5760.0).draw(KEY, 100_000) / 6000.0  # four per cent too little
    assert stats.kstest(drawn, "norm").pvalue < 1e-3


def test_a_table_holds_each_probability_to_128_bits() -> None:
    variance = Fraction(33, 10) ** 2
    table = discrete_gaussian._table(variance)
    reach = math.ceil(13.6 * 3.3)
    masses, capacity = [0] * len(table.own), 1 << (128 - table.column_bits)
    for own, (alias, high, low) in enumerate(
        zip(table.alias.tolist(), table.high.tolist(), table.low.tolist(), strict=True)
    ):
        limit = (high << 64) + low
        masses[own] += limit
        masses[alias + reach] += capacity - limit
    assert sum(masses) == 1 << 128
    with localcontext() as context:
        context.prec = 60
        weights = [
            (-Decimal(x * x) / (2 * Decimal("10.89"))).exp() for x in range(-reach, reach + 1)
        ]
        total = sum(weights)
        for mass, weight in zip(masses, weights, strict=False):
            assert abs(mass - weight / total * (1 << 128)) <= len(masses)


@pytest.mark.long
def test_two_numbers_joined_have_the_law_of_one_to_fifty_digits() -> None:
    """The chance of ``x + k y`` at a point, over the law there, is the same at every point."""
    k, sigma = 25, 151
    fine, rest = Fraction((3 * k) ** 2), (Fraction(sigma**2) - (3 * k) ** 2) / k**2
    ratios = []
    with localcontext() as context:
        context.prec = 80
        twice_fine, twice_rest = (
            2 * Decimal(part.numerator) / Decimal(part.denominator) for part in (fine, rest)
        )
        for point in (0, 1, 7, 12, 13, 151, 700):
            joined = sum(
                (-Decimal((point - k * y) ** 2) / twice_fine - Decimal(y * y) / twice_rest).exp()
                for y in range(-160, 161)
            )
            ratios.append(joined / (-Decimal(point * point) / Decimal(2 * sigma**2)).exp())
        assert max(ratios) / min(ratios) - 1 < Decimal(10) ** -50
    assert getcontext().prec < 80


def test_a_word_that_does_not_decide_takes_more_bits() -> None:
    table = discrete_gaussian._table(Fraction(9))
    limits, shift = table.high, np.uint64(64 - table.column_bits)
    column = int(np.flatnonzero((limits > 0) & (table.alias != table.own))[0])
    word = np.array([(column << int(shift)) + int(limits[column])], np.uint64)
    never = table._replace(low=np.zeros_like(table.low))
    always = table._replace(low=np.full_like(table.low, np.uint64((1 << 64) - 1)))
    assert discrete_gaussian._looked_up(never, word, KEY, 0)[0] == table.alias[column]
    assert discrete_gaussian._looked_up(always, word, KEY, 0)[0] == table.own[column]
    drawn = {discrete_gaussian._more_bits(key, place) for key in (KEY, OTHER) for place in (0, 1)}
    assert len(drawn) == 4


def test_a_key_gives_the_same_noise_again_and_another_gives_another() -> None:
    law = DiscreteGaussian.of(700.0)
    one, other = law.draw(KEY, 40_000), law.draw(OTHER, 40_000)
    assert (law.draw(KEY, 40_000) == one).all()
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
    assert (law.sum([KEY, OTHER], 40_000) == one + other).all()
    assert law.sum([], 3).tolist() == [0, 0, 0]


def test_the_noise_of_many_homes_adds_up_to_its_variance() -> None:
    keys = [bytes([home]) * 32 for home in range(60)]
    total = DiscreteGaussian.of(20.0).sum(keys, 20_000)
    assert total.std() == pytest.approx(20 * math.sqrt(60), rel=0.02)


@pytest.mark.parametrize("sigma", [0.0, 0.49, -1.0, math.nan, math.inf, 2.0**41])
def test_noise_that_cannot_be_drawn_is_refused(sigma: float) -> None:
    for make in (DiscreteGaussian, lambda sigma: Noise(sigma, 5)):
        with pytest.raises(ParameterError) as refused:
            make(sigma)
        assert refused.value.reason == "noise"


def test_room_for_noise_and_norm_by_hand() -> None:
    # Twelve deviations of the noise of four homes' sum are 12 * 2 * sigma: 6 sigma for each.
    assert Noise(20.0, 4).bits(127) == 9  # 127 + 120 = 247 fits 8 bits, and the sign
    assert Noise(22.0, 4).bits(127) == 10  # 127 + 132 = 259 does not
    assert update_norm(32767, 10_000) == pytest.approx(32767 + 100, abs=0.04)
    assert update_norm(32767, 0) == 0
