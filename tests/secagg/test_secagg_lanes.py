"""Lanes: sums of words are the sums of every element, exactly, up to the most homes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import ParameterError
from fedhome.secagg.packing import Packing


@pytest.mark.parametrize(
    ("bits", "homes", "name"),
    [
        (4, 16, "u8"),
        (4, 17, "u10x6"),
        (4, 64, "u10x6"),
        (8, 16, "u12x5"),
        (8, 17, "u16"),
        (9, 128, "u16"),
        (9, 129, "u21x3"),
        (8, 256, "u16"),
        (8, 8192, "u21x3"),
        (8, 8193, "u32"),
        (16, 1, "u16"),
        (16, 65536, "u32"),
    ],
)
def test_the_smallest_lanes_that_never_wrap_are_taken(bits: int, homes: int, name: str) -> None:
    assert Packing.of(bits, homes).name == name


@pytest.mark.parametrize(("bits", "homes"), [(16, 65537), (24, 257), (33, 1)])
def test_sums_that_would_wrap_are_refused(bits: int, homes: int) -> None:
    with pytest.raises(ParameterError) as refused:
        Packing.of(bits, homes)
    assert refused.value.reason == "wraps"


def test_lanes_too_narrow_for_their_homes_cannot_be_made() -> None:
    with pytest.raises(ParameterError) as refused:
        Packing("u16", 9, 129)
    assert refused.value.reason == "wraps"
    for name, bits, homes in (("u9", 4, 2), ("u16", 1, 2), ("u16", 4, 0)):
        with pytest.raises(ParameterError) as refused:
            Packing(name, bits, homes)
        assert refused.value.reason == "lanes"


def test_words_are_laid_out_as_documented() -> None:
    q = np.array([1, -1, 2, -2], np.int32)
    assert Packing("u16", 9, 4).pack(q).tolist() == [1, 65535, 2, 65534]
    assert Packing("u32", 9, 4).pack(q).tolist() == [1, 2**32 - 1, 2, 2**32 - 2]
    # Two words: elements 0, 2 and (none) in the first, 1, 3 and (none) in the second.
    raised = [256 + 1, 256 - 1, 256 + 2, 256 - 2]
    packed = Packing("u21x3", 9, 4).pack(q)
    assert packed.tolist() == [raised[0] + (raised[2] << 21), raised[1] + (raised[3] << 21)]


def _wrapping_sum(words: np.ndarray) -> np.ndarray:
    return np.add.reduce(words, axis=0, dtype=words.dtype)  # otherwise it is a sum of 64 bits


def _narrow(bits: int, homes: int) -> list[str]:
    needed = bits + (homes - 1).bit_length()
    return [name for name, width in (("u8", 8), ("u10x6", 10), ("u12x5", 12)) if needed <= width]


@st.composite
def _sums(draw: st.DrawFn) -> tuple[Packing, np.ndarray]:
    bits = draw(st.integers(2, 12))
    homes = draw(st.integers(1, 16))
    name = draw(st.sampled_from(["u16", "u21x3", "u32", *_narrow(bits, homes)]))
    most = 2 ** (bits - 1) - 1
    elements = draw(st.integers(0, 10))
    rows = st.lists(st.integers(-most, most), min_size=elements, max_size=elements)
    q = draw(st.lists(rows, min_size=homes, max_size=homes))
    return Packing(name, bits, homes), np.array(q, np.int32).reshape(homes, elements)


@given(_sums())
def test_the_sum_of_words_opens_to_the_sum_of_elements(case: tuple[Packing, np.ndarray]) -> None:
    lanes, q = case
    packed = lanes.pack(q)
    assert packed.shape == (len(q), lanes.words(q.shape[1]))
    total = _wrapping_sum(packed)
    opened = lanes.unpack(total, elements=q.shape[1], homes=len(q))
    assert opened.tolist() == q.sum(axis=0, dtype=np.int64).tolist()


@given(_sums(), st.lists(st.integers(0, 10), max_size=3))
def test_parts_put_one_by_one_give_the_same_words(
    case: tuple[Packing, np.ndarray], cuts: list[int]
) -> None:
    lanes, q = case
    elements = q.shape[1]
    edges = [0, *sorted(min(cut, elements) for cut in cuts), elements]
    words = np.zeros((len(q), lanes.words(elements)), lanes.dtype)
    for start, end in pairwise(edges):
        lanes.put(words, start, q[:, start:end].astype(np.float32))
    assert (words == lanes.pack(q)).all()


@given(_sums())
def test_a_sum_that_is_put_equals_the_sum_of_words(case: tuple[Packing, np.ndarray]) -> None:
    lanes, q = case
    words = np.zeros(lanes.words(q.shape[1]), lanes.dtype)
    lanes.put(words, 0, q.sum(axis=0, dtype=np.int64), homes=len(q))
    padded = _wrapping_sum(lanes.pack(q))
    assert (words == padded).all()


@pytest.mark.parametrize(("bits", "homes"), [(9, 128), (8, 8192), (13, 256), (16, 65536)])
@pytest.mark.parametrize("sign", [-1, 1])
def test_the_most_homes_all_sending_the_most_do_not_wrap(bits: int, homes: int, sign: int) -> None:
    lanes = Packing.of(bits, homes)
    most = sign * (2 ** (bits - 1) - 1)
    one = lanes.pack(np.full(5, most, np.int32))
    total = one * np.array(homes, lanes.dtype)  # as `homes` wrapping additions
    assert lanes.unpack(total, elements=5, homes=homes).tolist() == [most * homes] * 5


def test_words_of_another_kind_are_refused() -> None:
    lanes = Packing.of(9, 128)
    for words in (np.zeros(3, np.uint32), np.zeros(2, np.uint16), np.zeros((3, 1), np.uint16)):
        with pytest.raises(ParameterError) as refused:
            lanes.unpack(words, elements=3, homes=2)
        assert refused.value.reason == "lanes"
    with pytest.raises(ParameterError) as refused:
        lanes.unpack(np.zeros(3, np.uint16), elements=3, homes=129)
    assert refused.value.reason == "wraps"
