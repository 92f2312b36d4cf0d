"""The keys of a fleet's owner: who may change them, and how homes follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import DirectoryError
from fedhome.keys.roots import MOST_KEYS, CoSignature, Root, SignedRoot, walk
from fedhome.keys.signing import Signer

FLEET = b"f" * 16
A, B, C, D = (Signer(bytes([n]) * 32) for n in range(1, 5))
FIRST = Root.first(FLEET, A.public)


def change(last: Root, keys: Sequence[Signer], threshold: int, by: Sequence[Signer]) -> SignedRoot:
    root = last.next([key.public for key in keys], threshold)
    signed = SignedRoot(root=root, signatures=())
    for signer in by:
        signed = signed.with_signature(signer)
    return signed


def refused(*roots: SignedRoot | bytes, start: Root = FIRST) -> str:
    data = [one if isinstance(one, bytes) else one.to_bytes() for one in roots]
    with pytest.raises(DirectoryError) as caught:
        walk(data, start)
    assert caught.value.reason == "root"
    assert caught.value.hint
    return caught.value.message


def test_homes_walk_from_the_root_they_know_to_the_newest() -> None:
    two = change(FIRST, [A, B], 2, [A, B])
    three = change(two.root, [B, C], 2, [A, B, C])
    chain = [two.to_bytes(), three.to_bytes()]
    assert walk([], FIRST) == FIRST
    assert walk(chain, FIRST) == three.root
    assert walk(chain, two.root) == three.root
    assert walk(chain, three.root) == three.root
    assert walk(chain[:1], three.root) == three.root  # what is known already is passed over


def test_both_lists_must_sign_a_change() -> None:
    two = change(FIRST, [A, B, C], 2, [A, B])
    assert walk([two.to_bytes()], FIRST).threshold == 2
    for by in ([B, C], [A], [B], [], [D]):  # of the first A alone, of the second any two
        assert "too few keys" in refused(change(FIRST, [A, B, C], 2, by))
    for by in ([A], [A, D], [D]):  # a thief who has one key of two, and one of his own
        stolen = change(two.root, [D], 1, by)
        assert "too few keys" in refused(two, stolen)
    assert walk([two.to_bytes(), change(two.root, [D], 1, [A, B, D]).to_bytes()], FIRST).number == 2


def test_one_key_counts_once_and_for_its_own_signature() -> None:
    two = change(FIRST, [A, B], 2, [A, B])
    by_a = CoSignature.of(A, change(two.root, [C], 1, []).root.statement())
    doubled = SignedRoot(root=two.root.next([C.public], 1), signatures=(by_a, by_a))
    assert "too few keys" in refused(two, doubled)
    as_b = replace(by_a, key=B.public)
    lent = SignedRoot(root=doubled.root, signatures=(by_a, as_b)).with_signature(C)
    assert "too few keys" in refused(two, lent)


def test_no_change_is_left_out_repeated_or_taken_from_another_line() -> None:
    two = change(FIRST, [A, B], 1, [A, B])
    three = change(two.root, [B], 1, [A, B])
    other = change(FIRST, [A, C], 1, [A, C])
    assert "do not follow" in refused(three)
    assert "do not follow" in refused(two, two.to_bytes(), three, three)
    assert "do not follow" in refused(other, three)
    assert "two lists" in refused(other, start=two.root)
    foreign = change(Root.first(b"g" * 16, A.public), [A, B], 1, [A, B])
    assert "do not follow" in refused(foreign)
    assert "cannot be read" in refused(b"nonsense")


def test_a_list_that_can_never_sign_is_none() -> None:
    many = [bytes([n]) * 32 for n in range(MOST_KEYS + 1)]
    for keys, threshold in (([], 1), ([A.public], 2), ([A.public], 0), (many, 1)):
        with pytest.raises(DirectoryError) as caught:
            FIRST.next(keys, threshold)
        assert caught.value.reason == "root"
    unsorted = SignedRoot(
        root=replace(FIRST, number=1, previous=FIRST.hash, keys=(b"\2" * 32, b"\1" * 32)),
        signatures=(),
    ).with_signature(A)
    assert "not sorted" in refused(unsorted)


def test_the_control_that_counts_no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    stolen = change(FIRST, [D], 1, [D])
    assert "too few keys" in refused(stolen)
    monkeypatch.setattr(Root, "holds", lambda *_, **__: True)
    assert walk([stolen.to_bytes()], FIRST).keys == (D.public,)


@given(st.integers(0, 400), st.integers(1, 255))
def test_an_altered_root_is_refused(place: int, flip: int) -> None:
    data = change(FIRST, [A, B], 2, [A, B]).to_bytes()
    place %= len(data)
    altered = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
    with pytest.raises(DirectoryError):
        walk([altered], FIRST)
