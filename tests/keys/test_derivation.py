"""One key from another: HKDF-SHA256, as RFC 5869 and another implementation have it."""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from fedhome.keys.derivation import hkdf, hkdf_all


def test_the_first_case_of_the_standard() -> None:
    found = hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)))
    expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
    assert found.hex() == expected


@given(st.binary(max_size=80), st.binary(min_size=1, max_size=80), st.binary(max_size=80))
def test_hkdf_is_the_standard_one(secret: bytes, salt: bytes, info: bytes) -> None:
    assert hkdf(secret, salt, info) == HKDF(hashes.SHA256(), 32, salt, info).derive(secret)


@given(
    st.lists(st.tuples(st.binary(max_size=80), st.binary(max_size=80)), max_size=5),
    st.binary(min_size=1, max_size=80),
)
def test_several_keys_are_those_that_are_made_one_by_one(
    pairs: list[tuple[bytes, bytes]], salt: bytes
) -> None:
    found = hkdf_all([secret for secret, _ in pairs], salt, [info for _, info in pairs])
    assert found == [HKDF(hashes.SHA256(), 32, salt, info).derive(secret) for secret, info in pairs]


def test_what_is_remembered_of_a_salt_is_not_changed_by_its_use() -> None:
    def expected(secret: bytes, salt: bytes) -> bytes:
        return HKDF(hashes.SHA256(), 32, salt, b"for").derive(secret)

    salts = [bytes([number]) * 32 for number in range(6)]  # more than are remembered
    for salt in (*salts, *salts[::-1]):
        for secret in (b"one" * 11, b"two", b"one" * 11):
            assert hkdf(secret, salt, b"for") == expected(secret, salt)
