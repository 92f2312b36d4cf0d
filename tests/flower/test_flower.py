"""Flower at its edges: arrays that travel, arrays that are refused, strategies that need sums."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower

from fedhome.errors import LayoutError, UpdateError
from fedhome.flower.broadcast import Broadcast, fast_broadcasts, listed_messages
from fedhome.flower.messages import (
    APP_RAISED,
    EXAMPLES,
    LazyArray,
    array_record,
    content_of,
    failure,
    number_messages,
    read_flat,
    reply,
    sums_suffice,
    take_identity,
)
from fedhome.wire.layout import Layout

_LAYOUT = Layout(("w",), ((3,),))
_FLAT = np.array([1.0, 2.0, 3.0], np.float32)


def test_a_lazy_array_is_as_good_as_flowers_own() -> None:
    own, lazy = Array(_FLAT), LazyArray(_FLAT)
    assert "data" not in vars(lazy)
    assert (lazy.dtype, lazy.shape, lazy.stype) == (own.dtype, tuple(own.shape), own.stype)
    np.testing.assert_array_equal(lazy.numpy(), _FLAT)
    assert lazy.data == own.data
    assert "data" in vars(lazy)
    with pytest.raises(AttributeError):
        _ = lazy.missing


def test_what_is_read_from_a_lazy_array_can_be_written_to() -> None:
    values = _FLAT.copy()
    LazyArray(values).numpy()[0] = 9
    assert values[0] == 1


@pytest.mark.parametrize("lazy", [True, False])
def test_an_array_travels_under_the_name_of_its_layout(lazy: bool) -> None:
    record = array_record(_LAYOUT, _FLAT, lazy=lazy)
    assert list(record) == [_LAYOUT.key]
    np.testing.assert_array_equal(read_flat(_LAYOUT, record), _FLAT)


def _record(**arrays: Array) -> ArrayRecord:
    record = ArrayRecord()
    for name, array in arrays.items():
        record[_LAYOUT.key if name == "ours" else name] = array
    return record


def test_another_layout_is_refused_and_both_are_named() -> None:
    other = Layout(("w",), ((4,),))
    with pytest.raises(LayoutError) as caught:
        read_flat(_LAYOUT, array_record(other, np.zeros(4, np.float32)))
    assert _LAYOUT.key in caught.value.message
    assert other.key in caught.value.message
    for record in (
        ArrayRecord(),
        _record(ours=Array(np.zeros(2, np.float32))),
        _record(ours=Array(np.zeros((1, 3), np.float32))),
        _record(ours=Array(_FLAT), more=Array(_FLAT)),
    ):
        with pytest.raises(LayoutError, match=_LAYOUT.key):
            read_flat(_LAYOUT, record)


def test_numbers_of_another_kind_are_refused() -> None:
    for values, why in (
        (_FLAT.astype(np.float64), "float64"),
        (np.array([1, np.nan, 3], np.float32), "not finite"),
        (np.array([1, np.inf, 3], np.float32), "not finite"),
    ):
        with pytest.raises(UpdateError, match=why):
            read_flat(_LAYOUT, _record(ours=Array(values)))


def _archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=_FLAT)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "stype"),
    [
        (b"", "numpy.ndarray"),
        (b"no array at all", "numpy.ndarray"),
        (Array(_FLAT).data[:-1], "numpy.ndarray"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "numpy.ndarray"),
        (b"PK\x03\x04broken", "numpy.ndarray"),
        (b"\x80\x04K\x01.", "numpy.ndarray"),  # a pickle is never opened
        (_archive(), "numpy.ndarray"),
        (Array(_FLAT).data, "pickle"),
    ],
)
def test_bytes_that_are_no_array_are_an_update_error(data: bytes, stype: str) -> None:
    array = Array(dtype="float32", shape=(3,), stype=stype, data=data)
    with pytest.raises(UpdateError):
        read_flat(_LAYOUT, _record(ours=array))


def _message(**records: Any) -> Message:
    take_identity(1)
    message = Message(content=RecordDict(records), message_type="train", dst_node_id=5)
    number_messages([message], 40)
    return message


def test_contents_are_found_whatever_their_names() -> None:
    arrays, config = array_record(_LAYOUT, _FLAT), ConfigRecord({"server-round": 1})
    assert content_of(_message(some=config, other=arrays)) == (arrays, config)
    empty = content_of(_message())
    assert (len(empty[0]), len(empty[1])) == (0, 0)


def test_answers_say_which_message_they_answer() -> None:
    message = _message(config=ConfigRecord())
    number_messages([message], 7)
    good = reply(message, {EXAMPLES: 3, "losses": [1.0, 2.0]}, array_record(_LAYOUT, _FLAT))
    assert good.metadata.reply_to_message_id == "7"
    assert dict(good.content.metric_records["metrics"]) == {EXAMPLES: 3, "losses": [1.0, 2.0]}
    bad = failure(message, "the roof is on fire")
    assert bad.has_error()
    assert (bad.error.code, bad.error.reason) == (APP_RAISED, "the roof is on fire")
    assert bad.metadata.reply_to_message_id == "7"


def _own_metrics(records: list[RecordDict], key: str) -> MetricRecord:
    del records, key
    return MetricRecord()


class _Subclass(flower.FedAvg):
    """Only samples otherwise."""


class _Reader(flower.FedAvg):
    """Looks at single replies."""

    def aggregate_train(self, *args: Any, **kwargs: Any) -> Any:
        return super().aggregate_train(*args, **kwargs)


class _SaysNo(flower.FedAvg):
    works_on_sums = False


class _SaysYes(_Reader):
    works_on_sums = True


_DP: dict[str, Any] = {"noise_multiplier": 0.1, "num_sampled_clients": 3}
_ON_SUMS = {
    "FedAvg": flower.FedAvg(),
    "FedAvgM": flower.FedAvgM(),
    "FedProx": flower.FedProx(),
    "FedAdagrad": flower.FedAdagrad(),
    "FedAdam": flower.FedAdam(),
    "FedYogi": flower.FedYogi(),
    "DifferentialPrivacyClientSideFixedClipping": (
        flower.DifferentialPrivacyClientSideFixedClipping(flower.FedAvg(), clipping_norm=1.0, **_DP)
    ),
    "a subclass that aggregates alike": _Subclass(),
    "a strategy that says so": _SaysYes(),
}
_ON_UPDATES = {
    "Bulyan": flower.Bulyan(),
    "FedMedian": flower.FedMedian(),
    "FedTrimmedAvg": flower.FedTrimmedAvg(),
    "Krum": flower.Krum(),
    "MultiKrum": flower.MultiKrum(),
    "QFedAvg": flower.QFedAvg(client_learning_rate=0.1),
    "FedXgbBagging": flower.FedXgbBagging(),
    "FedXgbCyclic": flower.FedXgbCyclic(),
    "DifferentialPrivacyServerSideFixedClipping": (
        flower.DifferentialPrivacyServerSideFixedClipping(flower.FedAvg(), clipping_norm=1.0, **_DP)
    ),
    "DifferentialPrivacyServerSideAdaptiveClipping": (
        flower.DifferentialPrivacyServerSideAdaptiveClipping(flower.FedAvg(), **_DP)
    ),
    "DifferentialPrivacyClientSideAdaptiveClipping": (
        flower.DifferentialPrivacyClientSideAdaptiveClipping(flower.FedAvg(), **_DP)
    ),
    "a median inside client-side clipping": flower.DifferentialPrivacyClientSideFixedClipping(
        flower.FedMedian(), clipping_norm=1.0, **_DP
    ),
    "a subclass that aggregates otherwise": _Reader(),
    "a strategy that says no": _SaysNo(),
    "other weights": flower.FedAvg(weighted_by_key="loss"),
    "own metrics of training": flower.FedAvg(train_metrics_aggr_fn=_own_metrics),
    "own metrics of evaluation": flower.FedAdam(evaluate_metrics_aggr_fn=_own_metrics),
}


@pytest.mark.parametrize("name", _ON_SUMS)
def test_means_of_groups_suffice(name: str) -> None:
    assert sums_suffice(_ON_SUMS[name])


@pytest.mark.parametrize("name", _ON_UPDATES)
def test_single_updates_are_needed(name: str) -> None:
    assert not sums_suffice(_ON_UPDATES[name])


def test_every_strategy_of_flowers_is_in_the_table() -> None:
    known = set(_ON_SUMS) | set(_ON_UPDATES) | {"Result", "Strategy"}
    assert set(flower.__all__) <= known


def test_light_messages_are_those_that_flower_makes() -> None:
    take_identity(1)
    inner = flower.FedAvg()
    wrapped = flower.DifferentialPrivacyClientSideFixedClipping(inner, 1.0, 1.0, 3)
    content = RecordDict({"config": ConfigRecord({"server-round": 1})})
    heavy = inner._construct_messages(content, [2, 3, 4], "train")
    with fast_broadcasts(wrapped):
        light = list(inner._construct_messages(content, [2, 3, 4], "train"))
        assert inner._construct_messages(content, [], "train") == []
    assert "_construct_messages" not in vars(inner)
    for one, other in zip(heavy, light, strict=True):
        assert vars(one).keys() == vars(other).keys()
        told = [dict(vars(message.metadata)) for message in (one, other)]
        for metadata in told:
            metadata.pop("_created_at")
        assert told[0] == told[1]
        assert one.content is other.content
    assert light[0].metadata is not light[1].metadata


def test_a_broadcast_is_the_messages_that_it_stands_for() -> None:
    take_identity(1)
    content = RecordDict({"config": ConfigRecord({"server-round": 1})})
    averaging = flower.FedAvg()
    with fast_broadcasts(averaging, whole=True):
        messages = averaging._construct_messages(content, [7, 3, 9], "train")
        assert averaging._construct_messages(content, [], "train") == []
    assert isinstance(messages, Broadcast)
    assert listed_messages(messages) is messages
    assert messages.nodes.tolist() == [7, 3, 9]
    assert messages.node_of("40") is None, "they have no identifiers yet"
    messages.number(40)
    assert [messages.node_of(name) for name in ("40", "41", "42")] == [7, 3, 9]
    for strange in ("39", "43", "041", "-1", "x", "", "٤٠", "4" * 5000):
        assert messages.node_of(strange) is None
    assert [message.metadata.dst_node_id for message in messages] == [7, 3, 9]
    assert [message.metadata.message_id for message in messages] == ["40", "41", "42"]
    assert messages[0] is next(iter(messages))
    assert messages[2] is list(messages)[2]
    assert len(messages) == 3
    messages.number(50)
    assert [message.metadata.message_id for message in messages] == ["50", "51", "52"]


class _Chooses(flower.FedAvg):
    def configure_train(self, *args: Any) -> Any:
        return super().configure_train(*args)


def test_a_strategy_that_may_change_messages_has_a_list_of_them() -> None:
    take_identity(1)
    content = RecordDict({"config": ConfigRecord({"server-round": 1})})
    for strategy in (_Chooses(), flower.FedProx()):
        with fast_broadcasts(strategy, whole=True):
            assert type(strategy._construct_messages(content, [7, 3], "train")) is list
