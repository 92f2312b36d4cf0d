"""What messages of a broker say, and what becomes a row of a home's store."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedhome.clients.broker.broker_address import BrokerAddress, check_filter
from fedhome.clients.broker.broker_patience import wait_of
from fedhome.clients.broker.mqtt_link import MOST_BYTES
from fedhome.clients.recorded.mqtt_messages import (
    fields_of,
    flag,
    moment,
    number,
    word,
)
from fedhome.clients.recorded.mqtt_rows import MessageReading, MessageRows
from fedhome.errors import SourceError
from fedhome.plan.input_settings import InputSpec

NOON = datetime(2026, 11, 28, 12, 0, 30, tzinfo=UTC).timestamp()
SECRET = "secret"  # noqa: S105 - no one's
COLUMNS = {
    "load": InputSpec(name="load", unit="kW"),
    "door": InputSpec(name="door", kind="flag"),
    "mode": InputSpec(name="mode", kind="words", words=("heat", "off")),
    "odd": None,
}


def rows_of(told: list[str] | None = None, **reading: Any) -> MessageRows:
    tell = (lambda _: None) if told is None else told.append
    return MessageRows(MessageReading(home="oak", columns=COLUMNS, **reading), tell)


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        (b"21.5", {"": 21.5}),
        (b" -3e2\n", {"": -300.0}),
        (b"ON", {"": "ON"}),
        (b"", {"": ""}),
        (
            b'{"a": {"b": {"c": 1}}, "d": true, "e": null}',
            {"a.b.c": 1, "d": True, "e": None},
        ),
        (b'{"list": [1, 2]}', {"list": [1, 2]}),
        (b"{}", {}),
    ],
)
def test_a_message_is_a_value_or_an_object_of_values(payload: bytes, fields: object) -> None:
    assert fields_of(payload) == fields


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"\xff\xfe", "no text"),
        (b"[1, 2]", "is a list"),
        (b'{"a": 1', "no JSON"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b"{" + b'"a":{' * 5000 + b"}" * 5001, "no JSON"),
        (b"x" * 65, "more than 64 bytes"),
        (b"two\nlines", "one line"),
        (b"1" * (MOST_BYTES + 1), "65,537 bytes"),
        (json.dumps({str(n): n for n in range(501)}).encode(), "more than 500 fields"),
    ],
)
def test_other_messages_are_refused_in_words(payload: bytes, why: str) -> None:
    with pytest.raises(SourceError, match=why):
        fields_of(payload)


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_bytes_come_they_are_fields_or_refused(payload: bytes) -> None:
    told: list[str] = []
    rows = rows_of(told, rename={"t": "load", "t.a": "odd"})
    rows.take("t", payload, NOON)
    table = rows.taken()
    assert table is None or all(np.isfinite(column).any() for column in table.columns.values())


def test_cells_are_what_the_plan_has() -> None:
    assert [number(cell) for cell in (1, 2.5, " 3.5 ", True, "off", None, "unavailable", "")] == [
        *(1.0, 2.5, 3.5, 1.0, 0.0),
        *(None, None, None),
    ]
    assert [flag(cell) for cell in ("ON", "false", 1, 0.0, "unknown")] == [1.0, 0.0, 1.0, 0.0, None]
    assert [word(cell) for cell in ("heat", " off ", True, 3, "n/a")] == [
        *("heat", "off", "true", "3"),
        None,
    ]
    for read, cell in ((number, "high"), (number, 2e30), (number, 10**400), (flag, 2)):
        with pytest.raises(SourceError):
            read(cell)
    for cell in ("x" * 65, [1]):
        with pytest.raises(SourceError):
            word(cell)


def test_the_time_of_a_message_is_understood_as_it_comes() -> None:
    def read(cell: object, zone: str = "Europe/Vienna") -> float:
        return moment(cell, zone=zone, arrived_s=NOON)

    assert read("2026-11-28T12:00:30Z") == NOON
    assert read("2026-11-28T13:00:30.000+01:00") == NOON
    assert read("2026-11-28T13:00:30") == NOON
    assert read("2026-11-28T12:00:30", "") == NOON
    assert read(NOON) == read(str(int(NOON))) == read(NOON * 1000) == NOON
    for wrong in ("soon", 0, True, None, "1970-01-01T00:00:00Z", 10**18, [1]):
        with pytest.raises(SourceError):
            read(wrong)
    # On 2026-10-25 the hour from 2 to 3 comes twice in Vienna: the one that just passed is meant.
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC).timestamp()
    for arrived in (first, first + 3600):
        assert moment("2026-10-25T02:30", zone="Europe/Vienna", arrived_s=arrived + 2) == arrived


def test_messages_of_several_topics_become_rows_of_one_time() -> None:
    rows = rows_of(rename={"home/power_w": "load", "z/door.contact": "door", "z/hvac.mode": "mode"})
    assert rows.take("home/power_w", b"1500", NOON)
    assert rows.take("z/door", b'{"contact": true, "battery": 91}', NOON + 1)
    assert rows.take("z/hvac", b'{"mode": "heat"}', NOON + 2)
    assert rows.take("home/power_w", b"2000", NOON + 20)  # of one minute the last counts
    assert rows.take("home/power_w", b"500", NOON + 40)
    assert not rows.take("home/power_w", b"unavailable", NOON + 41)
    table = rows.taken()
    assert table is not None
    assert list(table.time_s) == [NOON - 30, NOON + 30]
    assert list(table.columns["load"]) == [2.0, 0.5]  # the name says W, the plan kW
    assert (table.units, table.flags) == ({"load": "kW"}, {"door"})
    assert table.labels == {"mode": ("heat",)}
    assert table.columns["door"][0] == 1.0
    assert np.isnan(table.columns["door"][1])
    assert rows.taken() is None
    assert rows.used == 5


def test_what_the_plan_leaves_open_is_what_comes() -> None:
    rows = rows_of(every_s=1)
    for second, payload in enumerate((b"1.5", b"warm", b"3")):
        rows.take("odd", payload, NOON + second)
    table = rows.taken()
    assert table is not None
    assert table.labels["odd"] == ("1.5", "3", "warm")
    assert list(table.columns["odd"]) == [0.0, 2.0, 1.0]
    rows.take("odd", b"4", NOON + 9)
    table = rows.taken()
    assert table is not None
    assert table.labels["odd"] == ("4",)  # it was a word once, and stays one


def test_what_is_not_recorded_is_told_once_of_each_topic() -> None:
    told: list[str] = []
    rows = rows_of(told, rename={"p/power": "load", "p/amps_a": "odd"})
    for _ in range(3):
        rows.take("p/power", b"high", NOON)
        rows.take("p/power", b"\xff", NOON)
        rows.take("q/humidity", b"55", NOON)
        rows.taken()
    assert rows.refused == 6
    assert [line.partition(":")[0] for line in told[:2]] == ["p/power", "p/power"]
    assert len(told) == 3
    assert "nothing came so far of 'door', 'load', 'mode', 'odd'" in told[2]
    assert 'rename={"q/humidity"="door"}' in told[2]
    wrong = rows_of(told, rename={"p/energy_kwh": "load"})
    assert not wrong.take("p/energy_kwh", b"4", NOON)
    assert "says kWh, and the plan has 'load' in kW" in told[-1]


def test_names_without_end_fill_neither_memory_nor_what_is_told() -> None:
    told: list[str] = []
    rows = rows_of(told, rename={"x": "load"})
    for count in range(5000):
        rows.take(f"a/{count}", b'{"b": 1, "c": {"d": 2}}', NOON)
        rows.take("x", json.dumps({f"f{count}": 1}).encode(), NOON)
    rows.taken()
    assert len(told) == 1
    assert len(rows._others) <= 1000
    assert len(rows._unused) <= 1000


def test_long_names_fill_no_memory() -> None:
    told: list[str] = []
    rows = rows_of(told, rename={"x": "load"})
    for count in range(1000):
        rows.take(f"{count}{'t' * 60_000}", b"1", NOON)
    inner = ",".join(f'"{count}":1' for count in range(3000))
    rows.take("x", f'{{"{"k" * 30_000}":{{{inner}}}}}'.encode(), NOON)
    rows.taken()
    assert sum(map(len, [*rows._others, *rows._unused, *told])) < 10_000
    assert rows.refused == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below) | st.dictionaries(st.sampled_from("abc") | st.text(), below),
)


@given(JSON, st.sampled_from(["load", "door", "mode", "odd"]), st.sampled_from(["", "a"]))
@example(10**400, "odd", "")
@example(10**400, "mode", "")
def test_whatever_a_message_says_the_recording_goes_on(cell: Any, name: str, field: str) -> None:
    told: list[str] = []
    rows = rows_of(told, rename={"t": name, "t.b": name}, time_field=field)
    for said in (cell, {"a": cell, "b": 1}, {"a": NOON, "b": cell}):
        rows.take("t", json.dumps(said).encode(), NOON)
    rows.taken()


def test_a_message_with_its_own_time_is_of_then() -> None:
    told: list[str] = []
    rows = rows_of(told, rename={"t.v": "load"}, time_field="seen", zone="Europe/Vienna")
    assert rows.take("t", b'{"v": 1, "seen": "2026-11-28T11:00:00Z"}', NOON)
    assert rows.take("t", b'{"v": 2, "seen": "2026-11-28T11:01:00"}', NOON)
    assert not rows.take("t", b'{"v": 3}', NOON)
    assert not rows.take("t", b'{"v": 3, "seen": "2026-11-28T14:00:00Z"}', NOON)
    assert not rows.take("t", b'{"v": 3, "seen": "2026-10-01T14:00:00Z"}', NOON)
    table = rows.taken()
    assert table is not None
    assert list(table.time_s) == [NOON - 7170, NOON - 3630]
    assert [line.split(";", maxsplit=1)[0] for line in told[:4]] == [
        "t: its times name no zone, and are read as those of Europe/Vienna",
        "t: not recorded: a message has no field 'seen' that says when it was read",
        "t: not recorded: its time is ahead of this device's clock",
        "t: not recorded: its time is more than 30 days ago",
    ]


def test_a_clock_that_is_not_set_is_told() -> None:
    told: list[str] = []
    assert not rows_of(told, rename={"t": "load"}).take("t", b"1", 86_400.0)
    assert "this device's clock is not set" in told[0]


def test_an_address_names_a_broker_and_never_a_password() -> None:
    address = BrokerAddress.parse("mqtts://me%40x@broker.local", password=SECRET)
    assert (str(address), address.user, address.tls) == (
        *("mqtts://broker.local:8883", "me@x"),
        True,
    )
    assert "secret" not in repr(address)
    assert str(BrokerAddress.parse("mqtt://[::1]:1999")) == "mqtt://[::1]:1999"
    assert BrokerAddress.parse("mqtt://10.0.0.2").in_the_clear
    assert not BrokerAddress.parse("mqtt://localhost").in_the_clear
    for text, why in (
        ("mqtt://me:secret@b", "holds a password"),
        ("mqtt://me:secret@b:port", "cannot be read"),
        ("mqtt://", "no address"),
        ("mqtt://b/home/#", "no address"),
        ("mqtt://b#home", "no address"),
        ("mqtt://b?tls=1", "no address"),
        ("mqtt://me:12/secret@b", "no address"),
    ):
        with pytest.raises(SourceError, match=why) as error:
            BrokerAddress.parse(text)
        assert "secret" not in str(error.value)
    for text in ("mqtt://a%00b@b", f"mqtt://{'a' * 65_536}@b", "mqtt://a\udcff@b"):
        with pytest.raises(SourceError, match="user's name is none that MQTT has"):
            BrokerAddress.parse(text)
    for password in (f"{SECRET}\0", SECRET * 11_000, f"{SECRET}\udcff"):
        with pytest.raises(SourceError, match="password is none that MQTT has") as error:
            BrokerAddress.parse("mqtt://me@b", password=password)
        assert SECRET not in str(error.value)
    for host in ("a" * 64, "a..b"):
        with pytest.raises(SourceError, match="none that a network has"):
            BrokerAddress.parse(f"mqtt://{host}")
    with pytest.raises(SourceError, match="no user"):
        BrokerAddress.parse("mqtt://b", password=SECRET)


@pytest.mark.parametrize("topic", ["", "a/#/b", "a/b+", "#a", "a\0", "a\udcff", "a" * 70_000])
def test_a_filter_that_names_no_topics_is_refused(topic: str) -> None:
    for right in ("a", "+", "#", "a/+/b", "a/#", "/", "z b/c"):
        check_filter(right)
    with pytest.raises(SourceError):
        check_filter(topic)


def test_attempts_come_apart_up_to_a_minute() -> None:
    assert [wait_of(count) for count in (1, 2, 3, 7, 500)] == [1.0, 2.0, 4.0, 60.0, 60.0]
