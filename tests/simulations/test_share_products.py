"""Products of shares and factors that are compiled are those of numpy, number by number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fedhome.errors import EngineError
from fedhome.secagg import Policy
from fedhome.secagg.shamir import LIMBS, PRIME
from fedhome.secagg.sharing import CHECKS, SECRETS, SHARE_NUMBERS, combined
from fedhome.simulations.engines import share_products, shared_reads
from fedhome.simulations.engines.share_products import share_products_if_any
from fedhome.simulations.engines.shared_reads import Reading

FACTORS = SECRETS, CHECKS, LIMBS
needs_code = pytest.mark.skipif(share_products_if_any() is None, reason="no machine code")


def test_products_are_those_of_whole_numbers() -> None:
    """Neither way is taken for right by the other."""
    random = np.random.default_rng(1)
    numbers = random.integers(0, PRIME, (2, SECRETS, SHARE_NUMBERS))
    factors = random.integers(0, PRIME, (2, *FACTORS))
    found = combined(numbers, factors)
    for row, secret, check in np.ndindex(found.shape):
        *limbs, own = [*numbers[row, secret, :LIMBS], numbers[row, secret, LIMBS + check]]
        pairs = zip(map(int, limbs), map(int, factors[row, secret, check]), strict=True)
        assert found[row, secret, check] == (int(own) + sum(a * b for a, b in pairs)) % PRIME


@needs_code
@pytest.mark.parametrize(("rows", "own"), [(0, 1), (1, 1), (5, 1), (5, 5)])
@pytest.mark.parametrize("least", [0, PRIME - 1])
def test_compiled_products_are_those_of_numpy(rows: int, own: int, least: int) -> None:
    compiled, random = share_products_if_any(), np.random.default_rng([rows, own])
    assert compiled is not None
    numbers = random.integers(least, PRIME, (rows, SECRETS, SHARE_NUMBERS))
    factors = random.integers(least, PRIME, (own, *FACTORS))
    np.testing.assert_array_equal(compiled.combined(numbers, factors), combined(numbers, factors))
    if rows > 1:  # rows of other arrays, that do not lie together
        np.testing.assert_array_equal(
            compiled.combined(numbers[::2], factors[::2]), combined(numbers[::2], factors[::2])
        )


@needs_code
def test_a_process_compiles_it_after_many_products(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[int]()
    compiled = share_products_if_any()
    monkeypatch.setattr(
        share_products, "share_products_if_any", lambda: (made.append(1), compiled)[1]
    )
    numbers, factors = np.ones((1, SECRETS, SHARE_NUMBERS), np.int64), np.ones((1, *FACTORS), int)
    monkeypatch.setattr(shared_reads, "_MANY_NUMBERS", 2 * numbers.size)
    reading = Reading(Policy())
    found = [reading.combine(numbers, factors).tolist() for _ in range(3)]
    assert found == [combined(numbers, factors).tolist()] * 3
    assert len(made) == 2


def test_where_no_machine_code_may_be_made_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_: str) -> Any:
        raise EngineError("This system does not let the fused engine create machine code.")

    monkeypatch.setattr(share_products, "machine_code", refused)
    share_products_if_any.cache_clear()
    try:
        assert share_products_if_any() is None
    finally:
        share_products_if_any.cache_clear()
