"""Homes of one process agree and mask once for both ends: each sends what it would send alone."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedhome.errors import BundleError, ParameterError
from fedhome.keys import keystream
from fedhome.keys.derivation import hkdf_all
from fedhome.keys.keystream import PIECE_BYTES, aes_keystream, write_first
from fedhome.secagg.masks import add_masks, pair_seeds, shared_secret
from fedhome.simulations.engines import shared_masks
from fedhome.simulations.engines.hash_lanes import hash_lanes_if_any
from fedhome.simulations.engines.pair_streams import pair_streams_if_any
from fedhome.simulations.engines.shared_masks import HomeMasks, SharedMasks

SALT, OTHER_SALT = b"s" * 32, b"t" * 32
OWN = b"o" * 31  # and a byte that names the home: the seed of its own mask

Words = NDArray[np.unsignedinteger[Any]]


class _Home:
    """A home with a key of its own, and where it stands in the roster."""

    def __init__(self, place: int, shared: SharedMasks) -> None:
        self.place = place
        self.key = X25519PrivateKey.from_private_bytes(bytes([place + 1]) * 32)
        self.public = self.key.public_key().public_bytes_raw()
        self.masks = HomeMasks(shared)
        self.plus, self.minus = list[bytes](), list[bytes]()

    def agree(self, homes: Sequence[_Home], salt: bytes = SALT) -> list[bytes]:
        others = [home.public for home in homes if home is not self]
        before = sum(home.place < self.place for home in homes)
        seeds = self.masks.agree(self.key, self.public, others, salt, before)
        assert seeds == pair_seeds(self.key, self.public, others, salt)
        self.plus = [OWN + bytes([self.place]), *seeds[before:]]
        self.minus = seeds[:before]
        return seeds

    def masked(self, words: Words) -> Words:
        """Return what the home sends, which is what it would send alone."""
        sent, alone = words.copy(), words.copy()
        self.masks.add(sent, self.plus, self.minus)
        add_masks(alone, self.plus, self.minus)
        np.testing.assert_array_equal(sent, alone)
        return sent


def _homes(count: int) -> tuple[SharedMasks, list[_Home]]:
    shared = SharedMasks()
    return shared, [_Home(place, shared) for place in range(count)]


def _words(place: int, size: int, dtype: Any = np.uint16) -> Words:
    found: Words = np.random.default_rng([3, place]).integers(0, 1 << 16, size).astype(dtype)
    return found


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Return the keys of streams that are made for two homes, as they are made."""
    made: list[bytes] = []

    def counted(key: bytes) -> keystream.Keystream:
        made.append(key)
        return aes_keystream(key)

    def first(keys: Sequence[bytes], zeros: memoryview, rooms: Sequence[memoryview]) -> None:
        made.extend(keys)
        write_first(keys, zeros, rooms)

    monkeypatch.setattr(shared_masks, "aes_keystream", counted)
    monkeypatch.setattr(shared_masks, "write_first", first)
    return made


def _alone(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many streams homes make for themselves, home by home."""
    made: list[int] = []

    def counted(
        vector: Words,
        plus: Sequence[bytes],
        minus: Sequence[bytes],
        *,
        workers: Executor | None = None,
    ) -> None:
        made.append(len(plus) + len(minus))
        add_masks(vector, plus, minus, workers=workers)

    monkeypatch.setattr(shared_masks, "add_masks", counted)
    return made


def test_seeds_are_those_of_homes_that_agree_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    agreed = []

    def counted(*arguments: Any) -> bytes:
        agreed.append(arguments)
        return shared_secret(*arguments)

    monkeypatch.setattr(shared_masks, "shared_secret", counted)
    _, homes = _homes(4)
    for salt in (SALT, OTHER_SALT):
        for home in homes:
            home.agree(homes, salt)
    assert len(agreed) == 6  # a pair of four homes once for both, and for both sums


def test_a_first_sum_of_any_salt_has_its_seeds() -> None:
    _, homes = _homes(2)
    assert len({*homes[0].agree(homes, b""), *homes[1].agree(homes, b"")}) == 1


def test_a_key_that_gives_everyone_the_same_secret_is_refused_to_each_home() -> None:
    _, homes = _homes(2)
    for home in homes:
        with pytest.raises(BundleError, match="public key cannot be used"):
            home.masks.agree(home.key, home.public, [bytes(32)], SALT)


def test_a_home_that_has_another_one_twice_masks_by_itself_and_spoils_no_other_vector(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = _alone(monkeypatch)
    _, homes = _homes(3)
    for home in (homes[0], homes[1]):
        home.agree(homes)
    homes[2].agree([homes[0], homes[0], homes[1], homes[2]])
    for home in homes:
        home.masked(_words(home.place, 60))
    assert alone == [2, 2, 4]  # its own mask, and those that it shares with the third home


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize("size", [0, 1, 700, PIECE_BYTES // 2 + 5])
@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [3, 0, 4, 1, 2]])
def test_a_stream_is_made_once_for_both_homes_and_masks_cancel(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, size: int, order: list[int]
) -> None:
    made, alone = _counted(monkeypatch), _alone(monkeypatch)
    _, homes = _homes(5)
    for number, salt in enumerate((SALT, OTHER_SALT), 1):
        for home in homes:
            home.agree(homes, salt)
        words = [_words(place, size, dtype) for place in range(5)]
        total = np.zeros(size, dtype)
        for place in order:
            total += homes[place].masked(words[place])
        for home in homes:
            add_masks(total, [], home.plus[:1])
        wanted = np.add.reduce(words, axis=0, dtype=dtype)
        np.testing.assert_array_equal(total, wanted)
        assert len(made) == len(set(made)) == 10 * number
    assert alone == [1] * 10  # each its own mask


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.uint64])
@pytest.mark.parametrize("size", [1, 700, PIECE_BYTES // 2 + 5])
@pytest.mark.parametrize("some_absent", [False, True])
def test_streams_that_are_compiled_are_those_of_homes_alone(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, size: int, some_absent: bool
) -> None:
    if pair_streams_if_any(np.dtype(dtype).itemsize) is None:
        pytest.skip("this processor or system has none")
    monkeypatch.setattr(shared_masks, "_WORTH_BYTES", 0)
    made, alone = _counted(monkeypatch), _alone(monkeypatch)
    _, homes = _homes(6)
    agreed = homes[:5] if some_absent else homes
    for salt in (SALT, OTHER_SALT):
        for home in agreed:
            home.agree(homes, salt)
        for home in agreed:
            home.masked(_words(home.place, size, dtype))
    assert made == []
    assert alone == [1 + some_absent] * len(agreed) * 2


@pytest.mark.parametrize("many", [0, 3, 1 << 20])
def test_seeds_that_are_derived_at_once_are_those_of_homes_alone(
    monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    counts: list[int] = []

    def counted(secrets: Sequence[bytes], salt: bytes, infos: Sequence[bytes]) -> list[bytes]:
        counts.append(len(secrets))
        return hkdf_all(secrets, salt, infos)

    monkeypatch.setattr(shared_masks, "_MANY_SEEDS", many)
    monkeypatch.setattr(shared_masks, "hkdf_all", counted)
    _, homes = _homes(5)
    for number, salt in enumerate((SALT, OTHER_SALT, SALT)):
        for home in homes[number:]:  # fewer come each time
            home.agree(homes[number:], salt)
    if hash_lanes_if_any() is not None:
        most = 0 if many == 0 else 2 if many == 3 else 6
        assert max(counts, default=0) == most


def test_few_streams_are_not_worth_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_masks, "_WORTH_BYTES", 10 * (shared_masks._STREAM_BYTES + 200) + 1)
    made = _counted(monkeypatch)
    _, homes = _homes(5)
    for home in homes:
        home.agree(homes)
    homes[0].masked(_words(0, 100))
    assert len(made) == 10


def test_more_streams_than_are_made_at_once_are_all_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_masks, "_AT_ONCE", 3)
    _, homes = _homes(9)
    for home in homes:
        home.agree(homes)
    for place in (4, 0, 8, 1, 7, 2, 6, 3, 5):
        homes[place].masked(_words(place, 50))


def test_more_pairs_than_tables_begin_with_are_all_known() -> None:
    _, homes = _homes(13)  # 78 pairs, of which the last come in a later sum
    for count, salt in ((11, SALT), (13, OTHER_SALT)):
        some = homes[13 - count :]
        for home in some:
            home.agree(some, salt)
        for home in some:
            home.masked(_words(home.place, 20))


def test_rows_have_a_bound_and_homes_of_other_rows_make_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_masks, "_MOST_ROW_BYTES", 2 * 2 * 100 + 1)
    made, alone = _counted(monkeypatch), _alone(monkeypatch)
    shared, homes = _homes(5)
    for home in homes:
        home.agree(homes)
    for place in range(5):
        homes[place].masked(_words(place, 100))
    assert shared._words.nbytes == 400
    # Rows are made for 0 and 1, then for 2 and 3: made for both are 0-1 and 2-3. Else each end
    # makes its own, and its own mask; the last home is alone.
    assert len(made) == 2
    assert alone == [4, 4, 4, 4, 5]


def test_what_was_made_for_a_sum_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = _alone(monkeypatch)
    _, homes = _homes(3)
    for home in homes:
        home.agree(homes)
    homes[0].masked(_words(0, 10))
    for home in homes[:2]:
        home.agree(homes, OTHER_SALT)
    homes[0].masked(_words(0, 10))
    homes[1].masked(_words(1, 10))
    homes[2].masked(_words(2, 10))  # for the sum that is over: it makes all of it
    assert alone == [1, 2, 2, 3]


def test_a_home_that_agrees_after_others_have_masked_makes_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = _alone(monkeypatch)
    _, homes = _homes(4)
    for home in homes[:3]:
        home.agree(homes)
    homes[0].masked(_words(0, 10))
    homes[3].agree(homes)
    for place in (3, 1, 2):
        homes[place].masked(_words(place, 10))
    assert alone[:2] == [2, 4]  # 0 with 3; and all of 3's


@pytest.mark.parametrize("most", [1, 3, 100])
def test_pairs_are_kept_while_homes_keep_their_keys_and_no_more_than_have_room(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(shared_masks, "_MOST_PAIRS", most)
    secrets: list[bytes] = []

    def counted(sk: X25519PrivateKey, other: bytes) -> bytes:
        secrets.append(other)
        return shared_secret(sk, other)

    monkeypatch.setattr(shared_masks, "shared_secret", counted)
    shared, homes = _homes(4)
    for number, salt in enumerate((SALT, OTHER_SALT)):
        if number:
            homes[1] = _Home(7, shared)  # it was absent: its key was opened, and it has another
            homes[1].place = 1
        for home in homes:
            home.agree(homes, salt)
        total = np.zeros(20, np.uint16)
        for place in (2, 0, 3, 1):
            total += homes[place].masked(_words(place, 20))
        for home in homes:
            add_masks(total, [], home.plus[:1])
        wanted = np.add.reduce([_words(place, 20) for place in range(4)], axis=0, dtype=np.uint16)
        np.testing.assert_array_equal(total, wanted)
        if most == 100:
            assert len(secrets) == 6 + 3 * number


def test_a_home_that_does_not_add_what_was_made_for_it_makes_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alone = _alone(monkeypatch)
    _, homes = _homes(3)
    for home in homes:
        home.agree(homes)
    homes[0].masked(_words(0, 10))
    homes[1].plus, homes[1].minus = homes[1].minus, homes[1].plus  # signs are the wrong way round
    homes[1].masked(_words(1, 10))
    homes[2].masked(_words(2, 11))  # and another length
    homes[2].masked(_words(2, 10))  # once more
    homes[2].masked(_words(2, 10))
    assert alone == [1, 3, 3, 1, 1]


@pytest.mark.parametrize("apart", ["sign", "roster"])
def test_two_homes_that_do_not_see_the_same_pair_share_nothing(
    monkeypatch: pytest.MonkeyPatch, apart: str
) -> None:
    alone = _alone(monkeypatch)
    _, homes = _homes(3)
    homes[0].agree(homes)
    homes[1].agree(homes)
    if apart == "sign":
        homes[2].place, homes[0].place = 0, 2  # it holds that it is the first of the roster
        homes[2].agree(homes)
    else:
        homes[2].agree(homes[1:])
    for home in homes:
        home.masked(_words(3, 10))
    assert alone == ([2, 2, 3] if apart == "sign" else [2, 1, 1])


def test_a_seed_that_comes_twice_is_added_twice() -> None:
    _, homes = _homes(2)
    for home in homes:
        home.agree(homes)
    homes[0].plus *= 2
    homes[0].masked(_words(0, 10))


def test_what_masks_cannot_be_added_to_is_refused() -> None:
    shared, homes = _homes(2)
    for home in homes:
        home.agree(homes)
    with pytest.raises(ParameterError):
        homes[0].masks.add(np.zeros(4, np.int16), homes[0].plus, homes[0].minus)
    with pytest.raises(ParameterError):
        homes[0].masks.add(np.zeros(4, np.uint16), [bytes(3)], [])
    assert shared._rows == {}
