"""How models are stored: what each format loses, and which bytes are no payload."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedhome.errors import FedHomeError, RegistryError
from fedhome.registry.container import pack, unpack
from fedhome.registry.formats import FORMATS, ModelPayload, decode, encode
from fedhome.wire.layout import Layout
from helpers.examples import share_of
from helpers.registry_world import LAYOUT, model, numbers


def reason_of(call: Any, *arguments: Any, **more: Any) -> str:
    with pytest.raises(RegistryError) as caught:
        call(*arguments, **more)
    assert caught.value.hint
    return caught.value.reason


def by_name(flat: np.ndarray) -> dict[str, np.ndarray]:
    return LAYOUT.unflatten(flat)


def test_float32_loses_nothing_and_is_a_safetensors_file() -> None:
    data, fidelity = encode(model(), "float32")
    assert decode(data, "float32").flat.tobytes() == numbers().tobytes()
    assert (fidelity.rmse, fidelity.max_error, fidelity.share) == (0, 0, 1)
    assert fidelity.size == fidelity.whole == len(data)
    read = safetensors.numpy.load(data)
    assert {name: array.tolist() for name, array in read.items()} == {
        name: array.tolist() for name, array in by_name(numbers()).items()
    }


def test_int8_by_hand() -> None:
    layout = Layout(("a", "b"), ((3,), (2,)))
    flat = np.array([1.27, -0.504, 0.0, 0.0, 0.0], np.float32)
    data, fidelity = encode(ModelPayload(layout, flat), "int8")
    arrays, _ = unpack(data)
    assert arrays["a"].tolist() == [127, -50, 0]  # a scale of 0.01
    assert arrays["b"].tolist() == [0, 0]
    assert arrays["fedhome.scales"] == pytest.approx([0.01, 0])
    assert decode(data, "int8").flat == pytest.approx([1.27, -0.5, 0, 0, 0])
    assert fidelity.max_error == pytest.approx(0.004, rel=1e-4)
    assert fidelity.rmse == pytest.approx(0.004 / math.sqrt(5), rel=1e-4)


def test_sparse_by_hand() -> None:
    layout = Layout(("a", "b"), ((3,), (2, 3)))
    flat = np.array([0.1, -5.08, 0.2, 0.3, 1.27, -0.4, 0.5, 0.5, -0.6], np.float32)
    data, fidelity = encode(ModelPayload(layout, flat), "sparse-int8", share=0.4)
    arrays, metadata = unpack(data)
    # Four of nine: -5.08, 1.27, -0.6, and the first of the two 0.5; bit 0 is the first number.
    assert arrays["fedhome.bitmap"].tolist() == [0b01010010, 0b1]
    assert arrays["fedhome.values"].tolist() == [-127, 127, 50, -60]
    assert arrays["fedhome.scales"] == pytest.approx([0.04, 0.01])
    assert json.loads(metadata["shapes"]) == [[3], [2, 3]]
    assert decode(data, "sparse-int8").flat == pytest.approx(
        [0, -5.08, 0, 0, 1.27, 0, 0.5, 0, -0.6]
    )
    assert fidelity.share == 4 / 9
    assert fidelity.max_error == pytest.approx(0.5)
    lost = 0.1**2 + 0.2**2 + 0.3**2 + 0.4**2 + 0.5**2
    assert fidelity.rmse == pytest.approx(math.sqrt(lost / 9), rel=1e-5)


@pytest.mark.parametrize("storage", FORMATS)
def test_what_is_measured_is_what_was_lost(storage: str) -> None:
    big = Layout(("w", "b"), ((100, 50), (50,)))
    flat = numbers(1, big)
    data, fidelity = encode(ModelPayload(big, flat), storage)
    read = decode(data, storage)
    assert (read.layout, read.flat.dtype) == (big, np.float32)
    error = read.flat.astype(np.float64) - flat.astype(np.float64)
    assert fidelity.rmse == pytest.approx(np.linalg.norm(error) / math.sqrt(big.size))
    assert fidelity.max_error == max(abs(number) for number in error.tolist())
    assert fidelity.size == len(data)
    kept = {"float32": big.size, "int8": big.size, "sparse-int8": big.size / 5}
    assert fidelity.share == kept[storage] / big.size
    assert np.count_nonzero(read.flat) <= kept[storage]
    # Bytes a number: four, one, and one bit and a fifth of a byte; and a header.
    each = {"float32": 4, "int8": 1, "sparse-int8": 1 / 8 + 1 / 5}
    assert each[storage] * big.size < len(data) < each[storage] * big.size + 500


floats = st.floats(width=32, allow_nan=False, allow_infinity=False)
vectors = hnp.arrays(np.float32, st.integers(1, 40), elements=floats)


def rounding(flat: np.ndarray) -> np.ndarray:
    """Return how far a product is from its float32, at most."""
    return np.abs(flat.astype(np.float64)) * 2.0**-24 + 2.0**-150


@pytest.mark.long
@settings(max_examples=share_of(80))
@given(vectors, vectors)
@example(np.array([3.4028235e38, 1.0], np.float32), np.array([1e-45], np.float32))
@example(np.array([2.6e-43, 1e-44], np.float32), np.array([-3.4028235e38], np.float32))
def test_a_number_is_off_by_half_a_scale_at_most(a: np.ndarray, b: np.ndarray) -> None:
    layout = Layout(("a", "b"), (a.shape, b.shape))
    flat = np.concatenate([a, b])
    data, _ = encode(ModelPayload(layout, flat), "int8")
    read = decode(data, "int8")
    scales = unpack(data)[0]["fedhome.scales"].astype(np.float64)
    error = np.abs(read.flat.astype(np.float64) - flat.astype(np.float64))
    assert (error <= np.repeat(scales, layout.sizes) / 2 + rounding(read.flat)).all()


@settings(max_examples=share_of(60))
@given(vectors, st.floats(0.01, 1))
def test_sparse_keeps_the_largest(flat: np.ndarray, share: float) -> None:
    layout = Layout(("a",), (flat.shape,))
    data, fidelity = encode(ModelPayload(layout, flat), "sparse-int8", share=share)
    arrays, _ = unpack(data)
    kept = np.unpackbits(arrays["fedhome.bitmap"], bitorder="little")[: len(flat)].astype(bool)
    assert kept.sum() == math.ceil(share * len(flat)) == round(fidelity.share * len(flat))
    magnitude = np.abs(flat)
    assert kept.all() or magnitude[kept].min() >= magnitude[~kept].max()
    read = decode(data, "sparse-int8").flat
    assert (read[~kept] == 0).all()
    scale = float(arrays["fedhome.scales"][0])
    error = np.abs(read[kept].astype(np.float64) - flat[kept])
    assert (error <= scale / 2 + rounding(read[kept])).all()


@pytest.mark.parametrize("storage", FORMATS)
def test_equal_models_have_equal_bytes(storage: str) -> None:
    assert encode(model(3), storage) == encode(model(3), storage)
    assert encode(model(3), storage) != encode(model(4), storage)


@pytest.mark.parametrize("storage", FORMATS)
def test_every_flipped_bit_that_is_still_a_payload_is_a_model(storage: str) -> None:
    data, _ = encode(model(), storage)
    refused = 0
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 1 << place % 8
        try:
            read = decode(bytes(flipped), storage)
        except RegistryError as error:
            assert error.reason == "format"  # noqa: PT017 - most flips are refused, not all
            refused += 1
        else:
            assert read.layout == LAYOUT
            assert np.isfinite(read.flat).all()
    size = 8 + int.from_bytes(data[:8], "little")
    assert refused >= size  # not a byte of the header may be another


@pytest.mark.parametrize("storage", FORMATS)
def test_every_other_length_is_refused(storage: str) -> None:
    data, _ = encode(model(), storage)
    for end in range(len(data)):
        assert reason_of(decode, data[:end], storage) == "format"
    assert reason_of(decode, data + b"\0", storage) == "format"
    others = [name for name in (*FORMATS, "int4") if name != storage]
    assert {reason_of(decode, data, other) for other in others} == {"format"}


def _json(depth: int = 2) -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    return st.recursive(
        leaves | st.sampled_from(["F32", "I8", "U8", [4, 3], [0, 48], [2**40, 2**40, 0]]),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["__metadata__", "dtype", "shape", "data_offsets", "names", "a"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=8 * depth,
    )


@pytest.mark.long
@settings(max_examples=share_of(120))
@given(_json() | st.binary(max_size=40), st.binary(max_size=60), st.sampled_from(FORMATS))
def test_only_typed_errors_come_out_of_foreign_headers(
    header: object, body: bytes, storage: str
) -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    data = len(text).to_bytes(8, "little") + text + body
    with pytest.raises(FedHomeError):
        decode(data, storage)


@pytest.mark.long
@settings(max_examples=share_of(120))
@given(st.data(), st.sampled_from(FORMATS))
def test_only_typed_errors_come_out_of_other_arrays_and_metadata(
    drawn: st.DataObject, storage: str
) -> None:
    arrays, metadata = unpack(encode(model(), storage)[0])
    names = st.sampled_from([*arrays, "a", "fedhome.values", "é\n"])
    some = hnp.arrays(
        st.sampled_from([np.float32, np.int8, np.uint8]), hnp.array_shapes(max_side=5)
    )
    texts = st.sampled_from(["[]", "[[4,3],[4],[2,4]]", '["a"]', '["a","a"]', "[[-1]]", "{}"])
    for name in drawn.draw(st.lists(names, max_size=2)):
        arrays[name] = drawn.draw(some)
    for name in drawn.draw(st.lists(st.sampled_from(sorted(arrays)), max_size=1)):
        del arrays[name]
    for name in drawn.draw(st.lists(st.sampled_from(["layout", "names", "shapes"]), max_size=2)):
        metadata[name] = drawn.draw(texts)
    data = pack(arrays, metadata)
    try:
        read = decode(data, storage)
    except FedHomeError:
        return
    assert read.layout == LAYOUT


@pytest.mark.parametrize(
    ("header", "claims"),
    [
        ('{"__metadata__":{},"a":{"data_offsets":[0,%d],"dtype":"F32","shape":[%d]}}', 1 << 40),
        ('{"__metadata__":{},"a":{"data_offsets":[0,%d],"dtype":"U8","shape":[%d]}}', 1 << 24),
    ],
)
def test_a_size_that_is_only_claimed_takes_no_memory(header: str, claims: int) -> None:
    text = (header % (claims, claims)).encode()
    assert reason_of(unpack, len(text).to_bytes(8, "little") + text) == "format"
    names = json.dumps(["a"])
    for shape in ([1 << 30, 1 << 30], [1 << 24], [1 << 40, 0]):
        layout = Layout(("a",), (tuple(shape),))
        metadata = {"format": "sparse-int8", "names": names, "shapes": json.dumps([shape])}
        metadata["layout"] = layout.hash
        nothing = {
            "fedhome.bitmap": np.zeros(0, np.uint8),
            "fedhome.values": np.zeros(0, np.int8),
            "fedhome.scales": np.zeros(1, np.float32),
        }
        assert reason_of(decode, pack(nothing, metadata), "sparse-int8") == "format"


@pytest.mark.parametrize("name", ["", "fedhome.scales", "__metadata__", "a\nb", "\ud800"])
def test_names_that_cannot_be_stored(name: str) -> None:
    odd = Layout((name,), ((2,),))
    assert reason_of(encode, ModelPayload(odd, np.zeros(2, np.float32)), "float32") == "layout"


def test_models_that_cannot_be_stored() -> None:
    few = np.zeros(3, np.float32)
    assert reason_of(encode, ModelPayload(LAYOUT, few), "float32") == "layout"
    assert reason_of(encode, ModelPayload(LAYOUT, numbers().astype(np.float64)), "int8") == "layout"  # type: ignore[arg-type]
    assert reason_of(encode, ModelPayload(Layout((), ()), few[:0]), "float32") == "layout"
    wrong = numbers()
    wrong[3] = np.nan
    assert reason_of(encode, ModelPayload(LAYOUT, wrong), "int8") == "not-finite"
    assert reason_of(encode, model(), "int4") == "format"
    for share in (0.0, 1.1, math.nan):
        assert reason_of(encode, model(), "sparse-int8", share=share) == "format"


def test_a_bitmap_marks_numbers_of_the_model_alone() -> None:
    layout = Layout(("a",), ((9,),))
    data, _ = encode(
        ModelPayload(layout, np.arange(1, 10, dtype=np.float32)), "sparse-int8", share=1
    )
    arrays, metadata = unpack(data)
    assert arrays["fedhome.bitmap"].tolist() == [0xFF, 0b1]
    for other in ([0xFE, 0b11], [0xFF, 0b0], [0xFF, 0b11], [0xFF], [0xFF, 1, 0]):
        changed = arrays | {"fedhome.bitmap": np.array(other, np.uint8)}
        assert reason_of(decode, pack(changed, metadata), "sparse-int8") == "format"
