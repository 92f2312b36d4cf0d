"""Masks: both homes derive the same, they cancel, and alone they look like noise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import BundleError, ParameterError
from fedhome.secagg import masks
from fedhome.secagg.masks import add_masks, pair_seeds, self_seed

_SALT = bytes(range(32))


def _keys(count: int) -> list[bytes]:
    return [np.random.default_rng([9, number]).bytes(32) for number in range(count)]


def _stream(key: bytes, count: int) -> bytes:
    """Return a stream by AES-GCM: pieces of 128 KiB, each under its number, without the tag."""
    pieces = []
    for number, start in enumerate(range(0, count, 1 << 17)):
        size = min(1 << 17, count - start)
        pieces.append(AESGCM(key).encrypt(number.to_bytes(12, "big"), bytes(size), None)[:size])
    return b"".join(pieces)


def _wrapping_sum(words: np.ndarray) -> np.ndarray:
    return np.add.reduce(words, axis=0, dtype=words.dtype)  # otherwise it is a sum of 64 bits


def _home(number: int) -> tuple[X25519PrivateKey, bytes]:
    sk = X25519PrivateKey.from_private_bytes(bytes([number]) * 32)
    return sk, sk.public_key().public_bytes_raw()


def test_both_homes_derive_the_same_seed_for_one_manifest() -> None:
    (a, pa), (b, pb) = _home(1), _home(2)
    (seed,) = pair_seeds(a, pa, [pb], _SALT)
    assert [seed] == pair_seeds(b, pb, [pa], _SALT)
    info = b"fedhome/pair/1" + min(pa, pb) + max(pa, pb)
    assert seed == HKDF(hashes.SHA256(), 32, _SALT, info).derive(a.exchange(b.public_key()))
    assert [seed] != pair_seeds(a, pa, [pb], bytes(32))
    c, pc = _home(3)
    assert [seed] != pair_seeds(c, pc, [pb], _SALT)
    assert pair_seeds(b, pb, [pa, pc], _SALT) == [seed, *pair_seeds(c, pc, [pb], _SALT)]


def test_a_self_seed_depends_on_secret_and_manifest() -> None:
    seed = self_seed(bytes(32), _SALT)
    assert seed == HKDF(hashes.SHA256(), 32, _SALT, b"fedhome/self/1").derive(bytes(32))
    assert len({seed, self_seed(bytes(32), bytes(32)), self_seed(_SALT, _SALT)}) == 3


@pytest.mark.parametrize("other", [bytes(32), (1).to_bytes(32, "little"), bytes(31), b""])
def test_a_public_key_that_gives_everyone_the_same_secret_is_refused(other: bytes) -> None:
    sk, pk = _home(1)
    with pytest.raises(BundleError) as refused:
        pair_seeds(sk, pk, [other], _SALT)
    assert refused.value.reason == "public-key"


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize("size", [0, 1, 7, 1000, 300_001])
def test_streams_are_added_and_subtracted_as_little_endian_words(
    dtype: type[np.unsignedinteger], size: int
) -> None:
    plus, minus = _keys(3)[:2], _keys(3)[2:]
    vector = np.random.default_rng(1).integers(0, 2**16, size).astype(dtype)
    wanted = vector.copy()
    for key in plus:
        wanted += np.frombuffer(_stream(key, vector.nbytes), wanted.dtype.newbyteorder("<"))
    for key in minus:
        wanted -= np.frombuffer(_stream(key, vector.nbytes), wanted.dtype.newbyteorder("<"))
    add_masks(vector, plus, minus)
    assert (vector == wanted).all()


@pytest.mark.long
def test_threads_make_no_difference() -> None:
    keys = _keys(4)
    alone = np.zeros(3_000_001, np.uint16)
    add_masks(alone, keys[:1], keys[1:])
    shared = np.zeros_like(alone)
    assert shared.nbytes > masks._SEGMENT
    with ThreadPoolExecutor(2) as workers:
        add_masks(shared, keys[:1], keys[1:], workers=workers)
    assert (alone == shared).all()
    assert len(np.unique(alone)) > 60_000


def test_aes_is_the_standard_one() -> None:
    # McGrew and Viega, "The Galois/Counter Mode of Operation", test case 14: AES-256 with a key,
    # a nonce and a block of zeros.
    vector = np.zeros(8, np.uint16)
    add_masks(vector, [bytes(32)], [])
    assert vector.tobytes().hex() == "cea7403d4d606b6e074ec5d3baf39d18"


@given(st.integers(2, 8), st.integers(1, 50), st.integers(0, 2**32))
def test_masks_of_pairs_cancel_in_the_sum(homes: int, words: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    seeds = {(i, j): draw.bytes(32) for i in range(homes) for j in range(i)}
    plain = draw.integers(0, 2**16, (homes, words)).astype(np.uint16)
    masked = plain.copy()
    for home in range(homes):
        plus = [seeds[home, j] for j in range(home)]
        minus = [seeds[i, home] for i in range(home + 1, homes)]
        add_masks(masked[home], plus, minus)
    assert (_wrapping_sum(masked) == _wrapping_sum(plain)).all()


def test_a_masked_vector_is_uniform() -> None:
    vector = np.full(1 << 18, 3, np.uint16)  # without a mask: one value, a chi-square of millions
    add_masks(vector, _keys(1), [])
    counts = np.bincount(vector >> 8, minlength=256)
    expected = len(vector) / 256
    # 255 degrees of freedom: above 390 once in ten million times.
    assert ((counts - expected) ** 2 / expected).sum() < 390


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros((2, 3), np.uint16),
        np.zeros(3, np.int16),
        np.zeros(3, np.float32),
        np.zeros(6, np.uint16)[::2],
    ],
)
def test_anything_but_a_row_of_words_is_refused(vector: np.ndarray) -> None:
    with pytest.raises(ParameterError) as refused:
        add_masks(vector, _keys(1), [])
    assert refused.value.reason == "masks"


def test_a_key_of_another_size_is_refused() -> None:
    vector = np.zeros(3, np.uint16)
    with pytest.raises(ParameterError):
        add_masks(vector, _keys(1), [bytes(16)])
    assert not vector.any()
