"""A home's store of readings: sealed parts by day, of which the last written counts."""

from __future__ import annotations

import os
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.clients.recorded import store_facts
from fedhome.clients.recorded.day_parts import Part, Parts
from fedhome.clients.recorded.reading_store import ReadingStore
from fedhome.clients.recorded.table_rows import by_day, joined
from fedhome.data.table import HomeTable
from fedhome.errors import SourceError, StateError
from fedhome.fleet.state_file import KEY
from fedhome.keys.sealing import SealingKey
from fedhome.store import disk

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")

HOME, DAY_S = "kitchen", 86_400
T0 = 1_700_006_400  # 2023-11-15 00:00 UTC
NOW = T0 + 40 * DAY_S
NAN = float("nan")


def rows(times: list[int], home: str = HOME, **columns: list[float]) -> HomeTable:
    values = {name: np.array(cells, dtype=float) for name, cells in columns.items()}
    return HomeTable(home=home, time_s=T0 + np.array(times, dtype=np.int64), columns=values)


@pytest.fixture
def store(tmp_path: Path) -> ReadingStore:
    disk.put(tmp_path / KEY, bytes(range(32)))
    store = ReadingStore.of(tmp_path, HOME)
    store.create(rows([0, 3600], load=[1.0, 2.0]))
    return store


def test_what_was_written_last_counts_cell_by_cell(store: ReadingStore) -> None:
    done = store.append(rows([3600, 7200], load=[NAN, 3.0], outdoor=[7.0, 8.0]), now_s=NOW)
    assert (done.new, done.filled, done.replaced, done.known) == (1, 1, 0, 0)
    done = store.append(rows([0, 3600], load=[1.0, 5.0]), now_s=NOW)
    assert (done.new, done.filled, done.replaced, done.known) == (0, 0, 1, 1)
    table = store.read().table
    assert (table.time_s - T0).tolist() == [0, 3600, 7200]
    assert table.columns["load"].tolist() == [1.0, 5.0, 3.0]
    np.testing.assert_array_equal(table.columns["outdoor"], [NAN, 7.0, 8.0])


def test_late_rows_go_to_their_day(store: ReadingStore) -> None:
    store.append(rows([5 * DAY_S], load=[9.0]), now_s=NOW)
    done = store.append(rows([2 * DAY_S + 60, 6 * DAY_S], load=[4.0, 5.0]), now_s=NOW)
    assert (done.new, done.late) == (2, 1)
    names = [path.name for path in store.files]
    assert names == [
        "2023-11-15.000001.fh",
        "2023-11-17.000001.fh",
        "2023-11-20.000001.fh",
        "2023-11-21.000001.fh",
        "facts.fh",
    ]


def test_what_is_known_already_is_not_written_again(store: ReadingStore) -> None:
    before = [(path.name, path.read_bytes()) for path in store.files]
    done = store.append(rows([0, 3600], load=[1.0, 2.0]), now_s=NOW)
    assert (done.known, done.new) == (2, 0)
    assert [(path.name, path.read_bytes()) for path in store.files] == before


@pytest.mark.long
def test_a_day_of_many_parts_becomes_one_and_nothing_is_lost(store: ReadingStore) -> None:
    for second in range(60):
        store.append(rows([10_000 + second], load=[float(second)]), now_s=NOW)
    assert len(store.files) <= 1 + 17
    table = store.read().table
    assert table.columns["load"].tolist() == [1.0, 2.0, *map(float, range(60))]


def test_words_flags_units_and_the_zone_come_back(tmp_path: Path) -> None:
    disk.put(tmp_path / KEY, bytes(32))
    store = ReadingStore.of(tmp_path, HOME)
    first = replace(
        rows([0, 60, DAY_S], mode=[0, 1, NAN], door=[1, 0, NAN], load=[0.1, NAN, 1 / 3]),
        labels={"mode": ("heat", "off")},
        flags=frozenset({"door"}),
        units={"load": "kWh"},
        time_zone="Europe/Vienna",
    )
    store.create(first)
    found = store.read().table
    np.testing.assert_equal(vars(found), vars(first))
    more = replace(rows([120], mode=[0]), labels={"mode": ("cool",)})
    store.append(more, now_s=NOW)
    found = store.read().table
    assert found.labels["mode"] == ("cool", "heat", "off")
    assert found.columns["mode"].tolist()[:3] == [1.0, 2.0, 0.0]


def test_another_unit_is_converted_and_one_that_cannot_be_is_refused(tmp_path: Path) -> None:
    disk.put(tmp_path / KEY, bytes(32))
    store = ReadingStore.of(tmp_path, HOME)
    store.create(replace(rows([0], load=[1.0]), units={"load": "kWh"}))
    done = store.append(replace(rows([60], load=[500.0]), units={"load": "Wh"}), now_s=NOW)
    assert done.notes == ("column 'load' was converted from Wh to kWh",)
    assert store.read().table.columns["load"].tolist() == [1.0, 0.5]
    with pytest.raises(SourceError, match="comes in °C, and the home's store has it in kWh"):
        store.append(replace(rows([120], load=[1.0]), units={"load": "°C"}), now_s=NOW)
    words = replace(rows([120], load=[0]), labels={"load": ("much",)})
    with pytest.raises(SourceError, match="comes in words"):
        store.append(words, now_s=NOW)
    assert store.read().table.rows == 2


def test_nobody_reads_it_without_the_homes_key(store: ReadingStore, tmp_path: Path) -> None:
    for path in store.files:
        assert b"load" not in path.read_bytes()
        assert b"PAR1" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0
    disk.put(tmp_path / KEY, bytes(32))
    with pytest.raises(StateError) as caught:
        ReadingStore.of(tmp_path, HOME).read()
    assert caught.value.reason == "wrong-key"


def test_a_part_in_the_place_of_another_day_home_or_number_does_not_count(
    store: ReadingStore, tmp_path: Path
) -> None:
    (part,) = Parts(store.folder, HOME, store._key).listed()
    for name in ("2023-11-16.000001.fh", "2023-11-15.000007.fh"):
        (store.folder / name).write_bytes(part.path.read_bytes())
    found = store.read()
    assert found.table.rows == 2
    assert len(found.notes) == 2
    other = ReadingStore.of(tmp_path, "hall")
    assert other.everything()[0].rows == 0


def test_a_damaged_part_is_told_and_costs_its_own_readings_alone(store: ReadingStore) -> None:
    store.append(rows([DAY_S], load=[3.0]), now_s=NOW)
    damaged = store.folder / "2023-11-15.000001.fh"
    whole = bytearray(damaged.read_bytes())
    whole[-1] ^= 1
    damaged.write_bytes(whole)
    found = store.read()
    assert found.table.columns["load"].tolist() == [3.0]
    assert "its readings of 2023-11-15 do not count" in found.notes[0]
    done = store.append(rows([0, 3600], load=[1.0, 2.0]), now_s=NOW)
    assert done.new == 2  # recorded again, as the note says
    assert store.read().table.columns["load"].tolist() == [1.0, 2.0, 3.0]
    assert damaged.exists()  # what is damaged is never removed


def test_lost_facts_are_found_again_in_the_rows_and_told(store: ReadingStore) -> None:
    store.exclude(T0, T0 + 60, (), "")
    (store.folder / "facts.fh").unlink()
    found = store.read()
    assert found.table.rows == 2
    assert "which periods were left out is lost" in found.notes[0]
    store.append(rows([60], load=[3.0]), now_s=NOW)
    assert store.read().table.rows == 3


@pytest.mark.parametrize("what", ["facts", "a part"])
def test_another_format_is_refused_with_a_sentence_and_nothing_is_lost(
    store: ReadingStore, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    store.exclude(T0, T0 + 60, (), "holiday")
    if what == "facts":
        facts = store.facts
        with monkeypatch.context() as later:
            later.setattr(store_facts, "_FORMAT", store_facts._FORMAT + 1)
            store_facts.write_facts(store.folder, HOME, store.key, facts)
    else:
        sealed = SealingKey(store.key).seal(
            b"readings, otherwise", purpose="home's readings of 2023-11-15", name=HOME, version=2
        )
        disk.put(store.folder / "2023-11-15.000002.fh", sealed)
    before = {path.name: path.read_bytes() for path in store.files}
    for use in (
        store.read,
        lambda: store.append(rows([60], load=[3.0]), now_s=NOW),
        lambda: store.append(rows([0], load=[1.0]), now_s=NOW, keep_days=1),
        *([lambda: store.exclude(T0, T0 + 1, (), ""), lambda: store.undo(1)] * (what == "facts")),
    ):
        with pytest.raises(StateError, match=r"format|no readings") as told:
            use()
        assert told.value.reason == "format"
        assert "another release of fedhome wrote it: use that one" in told.value.hint
        assert {path.name: path.read_bytes() for path in store.files} == before
    if what == "facts":  # the release that wrote it
        monkeypatch.setattr(store_facts, "_FORMAT", store_facts._FORMAT + 1)
        assert store.excluded == facts.excluded
        assert store.append(rows([60], load=[3.0]), now_s=NOW).new == 1


def test_a_period_left_out_does_not_count_until_it_is_undone(store: ReadingStore) -> None:
    store.append(rows([7200], load=[3.0], outdoor=[5.0]), now_s=NOW)
    first = store.exclude(T0 + 3600, T0 + 7200, (), "holiday")
    second = store.exclude(T0 + 7200, T0 + 7201, ("outdoor",), "broken")
    found = store.read()
    assert (found.table.time_s - T0).tolist() == [0, 7200]
    assert np.isnan(found.table.columns["outdoor"]).all()
    assert found.excluded_rows == 2
    assert "2 rows in periods that are left out" in found.notes[-1]
    store.undo(first.number)
    assert "1 row in periods that are left out" in store.read().notes[-1]
    store.undo(second.number)
    assert store.read().table.rows == 3
    with pytest.raises(StateError, match="no period of number 1"):
        store.undo(1)
    assert store.exclude(T0, T0 + 1, (), "").number == 3  # a number is given once


@pytest.mark.parametrize("ahead", ["clock", "reading"])
def test_old_days_go_by_the_earlier_of_clock_and_newest_reading(
    store: ReadingStore, ahead: str
) -> None:
    store.append(rows([10 * DAY_S], load=[3.0]), now_s=NOW)
    far = 4000 * DAY_S
    if ahead == "clock":
        done = store.append(rows([10 * DAY_S + 1], load=[1.0]), now_s=T0 + far, keep_days=5)
    else:
        done = store.append(rows([far], load=[1.0]), now_s=T0 + 10 * DAY_S, keep_days=5)
    assert done.gone == 2
    assert "2 rows from before 2023-11-20 were not kept" in done.notes[0]
    assert (store.read().table.time_s[0] - T0) == 10 * DAY_S
    late = store.append(rows([60], load=[1.0]), now_s=T0 + 10 * DAY_S, keep_days=5)
    assert (late.new, late.gone) == (0, 1)
    assert "1 row from before 2023-11-20 was not kept" in late.notes[-1]


def test_a_store_is_made_whole_or_not_at_all(tmp_path: Path) -> None:
    disk.put(tmp_path / KEY, bytes(32))
    store = ReadingStore.of(tmp_path, HOME)
    (tmp_path / "readings.new").mkdir()
    (tmp_path / "readings.new" / "2023-11-15.000001.fh").write_bytes(b"half")
    assert not ReadingStore.there(tmp_path)
    store.create(rows([0], load=[1.0]))
    assert store.read().table.rows == 1
    assert not (tmp_path / "readings.new").exists()
    with pytest.raises(StateError) as caught:
        store.create(rows([0], load=[1.0]))
    assert caught.value.reason == "exists"


def test_a_writer_waits_for_another_and_a_reader_does_not(store: ReadingStore) -> None:
    lock = disk.lock(store.folder)
    writer = threading.Thread(
        target=store.append, args=(rows([60], load=[4.0]),), kwargs={"now_s": NOW}
    )
    try:
        writer.start()
        assert store.read().table.rows == 2
    finally:
        os.close(lock)
    writer.join()
    assert store.read().table.rows == 3


def test_a_reader_looks_again_when_parts_become_one(
    store: ReadingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looks = Parts.listed, list[int]()

    def listed(parts: Parts, day: str | None = None) -> list[Part]:
        found = real(parts, day)
        looks.append(len(found))
        if len(looks) == 1:  # between the look and the reading, a writer tidies up
            parts.write({found[0].day: parts.read(found[0])})
            parts.remove(found)
        return found

    monkeypatch.setattr(Parts, "listed", listed)
    assert store.read().table.columns["load"].tolist() == [1.0, 2.0]
    assert len(looks) > 1


CELLS = st.one_of(st.just(NAN), st.integers(0, 3).map(float))
TABLES = st.lists(
    st.dictionaries(
        st.integers(0, 5).map(lambda number: number * 40_000),
        st.tuples(CELLS, CELLS),
        min_size=1,
        max_size=4,
    ),
    max_size=6,
)


@given(TABLES)
def test_any_tables_are_joined_as_a_dictionary_would(
    tables: list[dict[int, tuple[float, float]]],
) -> None:
    expected: dict[int, list[float]] = {}
    for table in tables:
        for time, cells in table.items():
            row = expected.setdefault(time, [NAN, NAN])
            for place, cell in enumerate(cells):
                row[place] = row[place] if np.isnan(cell) else cell
    given_tables = [
        rows(sorted(t), a=[t[k][0] for k in sorted(t)], b=[t[k][1] for k in sorted(t)])
        for t in tables
    ]
    found = joined(given_tables, home=HOME, time_zone="UTC")
    assert (found.time_s - T0).tolist() == sorted(expected)
    for place, name in enumerate("ab" if tables else ""):
        np.testing.assert_array_equal(
            found.columns[name], [expected[time][place] for time in sorted(expected)]
        )
    days = [by_day(found)[day] for day in sorted(by_day(found))]
    np.testing.assert_equal(vars(joined(days, home=HOME, time_zone="UTC")), vars(found))
