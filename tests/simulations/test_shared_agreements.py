"""Homes of one process agree once for both ends, and have the keys that they would have alone."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fedhome.errors import BundleError
from fedhome.secagg import Policy
from fedhome.secagg.masks import pair_seed, shared_secret
from fedhome.simulations.engines import shared_reads
from fedhome.simulations.engines.shared_reads import Reading

SALT = b"s" * 32


def _homes(count: int) -> list[tuple[X25519PrivateKey, bytes]]:
    keys = [X25519PrivateKey.from_private_bytes(bytes([one + 1]) * 32) for one in range(count)]
    return [(key, key.public_key().public_bytes_raw()) for key in keys]


def test_seeds_are_those_of_homes_that_agree_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    homes, agreed = _homes(4), []

    def counted(*arguments: object) -> bytes:
        agreed.append(arguments)
        return shared_secret(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(shared_reads, "shared_secret", counted)
    reading = Reading(Policy())
    for salt in (SALT, b"t" * 32):
        for key, public in homes:
            for _, other in homes:
                if other != public:
                    found = reading.pair_seed(key, public, other, salt)
                    assert found == pair_seed(key, public, other, salt)
    assert len(agreed) == 6  # a pair of four homes once for both, and for both sums


def test_a_seed_waits_for_its_other_home_alone_and_for_its_sum_alone() -> None:
    (a, pa), (b, pb) = _homes(2)
    reading = Reading(Policy())
    reading.pair_seed(a, pa, pb, SALT)
    assert len(reading._seeds) == 1
    reading.pair_seed(b, pb, pa, SALT)
    assert reading._seeds == {}
    reading.pair_seed(a, pa, pb, SALT)  # the other one does not come
    reading.pair_seed(a, pa, pb, b"t" * 32)
    assert len(reading._seeds) == 1


def test_a_key_that_gives_everyone_the_same_secret_is_refused_to_each_home() -> None:
    reading = Reading(Policy())
    for key, public in _homes(2):
        with pytest.raises(BundleError, match="public key cannot be used"):
            reading.pair_seed(key, public, bytes(32), SALT)
