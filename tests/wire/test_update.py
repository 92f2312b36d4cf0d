"""Layouts: one flat array and back; another layout is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.errors import LayoutError, UpdateError
from fedhome.wire.layout import Layout

_SHAPES = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.lists(st.integers(0, 4), max_size=3).map(tuple),
    max_size=5,
)


def _layout() -> Layout:
    return Layout(("weight", "bias"), ((2, 3), (2,)))


@given(_SHAPES)
def test_flattening_and_back_loses_nothing(shapes: dict[str, tuple[int, ...]]) -> None:
    count = 0
    arrays = {}
    for name, shape in shapes.items():
        size = int(np.prod(shape, dtype=int))
        arrays[name] = np.arange(count, count + size, dtype=np.float32).reshape(shape)
        count += size
    layout = Layout.of(arrays)
    flat = layout.flatten(arrays)
    assert flat.dtype == np.float32
    assert flat.tolist() == list(range(count))
    back = layout.unflatten(flat)
    assert list(back) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(back[name], array)


def test_stacked_homes_unflatten_side_by_side_into_views() -> None:
    flat = np.arange(24, dtype=np.float32).reshape(3, 8)
    views = _layout().unflatten(flat)
    assert views["weight"].shape == (3, 2, 3)
    assert views["bias"].tolist() == [[6, 7], [14, 15], [22, 23]]
    views["bias"][0, 0] = -1
    assert flat[0, 6] == -1


def test_the_hash_knows_names_shapes_and_their_order() -> None:
    layout = _layout()
    others = [
        Layout(("bias", "weight"), ((2,), (2, 3))),
        Layout(("weight", "bias"), ((3, 2), (2,))),
        Layout(("weight", "offset"), ((2, 3), (2,))),
        Layout(("weight",), ((2, 3),)),
    ]
    assert len({layout.hash, *(other.hash for other in others)}) == 5
    assert layout.hash == Layout(("weight", "bias"), ((2, 3), (2,))).hash
    assert layout.key == f"flat-{layout.hash[:16]}"


def test_arrays_of_another_layout_are_refused_and_both_are_named() -> None:
    layout = _layout()
    other = {"weight": np.zeros((2, 4), np.float32), "bias": np.zeros(2, np.float32)}
    with pytest.raises(LayoutError) as caught:
        layout.flatten(other)
    assert layout.hash[:16] in caught.value.message
    assert Layout.of(other).hash[:16] in caught.value.message
    assert "weight [2, 4]" in caught.value.message
    with pytest.raises(LayoutError, match="9 numbers"):
        layout.unflatten(np.zeros(9, np.float32))


def test_only_finite_float32_of_this_layout_passes() -> None:
    layout, good = _layout(), np.zeros(8, np.float32)
    layout.check([layout.key], good)
    for keys, flat in (
        ([], good),
        (["flat-0000000000000000"], good),
        ([layout.key, layout.key], good),
        ([layout.key], np.zeros(7, np.float32)),
        ([layout.key], np.zeros((1, 8), np.float32)),
    ):
        with pytest.raises(LayoutError, match=layout.key):
            layout.check(keys, flat)
    with pytest.raises(UpdateError, match="float64"):
        layout.check([layout.key], good.astype(np.float64))
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(UpdateError, match="not finite"):
            layout.check([layout.key], np.where(np.arange(8) == 5, bad, good).astype(np.float32))
