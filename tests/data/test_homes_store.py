"""A store of homes: what goes in comes out, and what is damaged is refused by name."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedhome.data.homes_store import (
    ABOUT,
    INDEX,
    INDEX_SCHEMA,
    READINGS,
    TIME,
    HomesStore,
    is_store,
)
from fedhome.data.pack_homes import pack
from fedhome.data.table import HomeTable
from fedhome.errors import EmptyFleetError, SourceError


def _table(home: str, rows: int = 5, *names: str, **more: Any) -> HomeTable:
    drawn = np.random.default_rng(len(home) + rows)
    columns = {name: drawn.standard_normal(rows) for name in names or ("a", "b")}
    return HomeTable(home=home, time_s=np.arange(rows) * 60, columns=columns, **more)


def _same(one: HomeTable, other: HomeTable) -> None:
    assert (one.home, one.time_zone, one.flags) == (other.home, other.time_zone, other.flags)
    assert dict(one.labels) == dict(other.labels)
    assert dict(one.units) == dict(other.units)
    assert np.array_equal(one.time_s, other.time_s)
    assert list(one.columns) == list(other.columns)
    for name, values in one.columns.items():
        assert np.array_equal(values, other.columns[name], equal_nan=True)


_NAMES = st.lists(
    st.sampled_from(["load", "T °C", "x,y", "ü", "time_s", "home"]), min_size=1, unique=True
)


@st.composite
def _tables(draw: st.DrawFn) -> list[HomeTable]:
    names = st.text(st.characters().filter(str.isprintable), min_size=1, max_size=6)
    homes = draw(st.lists(names, min_size=1, max_size=5, unique=True))
    tables = []
    for home in homes:
        times = sorted(draw(st.sets(st.integers(-(2**40), 2**40), max_size=6)))
        columns = {
            name: np.array(
                draw(st.lists(st.floats(width=64), min_size=len(times), max_size=len(times)))
            )
            for name in draw(_NAMES)
        }
        some = next(iter(columns))
        tables.append(
            HomeTable(
                home=home,
                time_s=np.array(times, np.int64),
                columns=columns,
                time_zone=draw(st.sampled_from(["UTC", "Europe/Madrid"])),
                labels=draw(st.sampled_from([{}, {some: ("off", "on")}])),
                units=draw(st.sampled_from([{}, {some: "kWh"}])),
                flags=draw(st.sampled_from([frozenset(), frozenset([some])])),
            )
        )
    return tables


@given(_tables())
def test_homes_come_out_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, tables: list[HomeTable]
) -> None:
    path = tmp_path_factory.mktemp("store") / "fleet.homes"
    columns = {name for table in tables for name in table.columns}
    packed = pack(tables, path, columns=columns)
    store = HomesStore(path)
    assert (packed.homes, packed.rows) == (len(tables), sum(table.rows for table in tables))
    assert list(store.names) == [table.home for table in tables]
    for place in reversed(range(len(tables))):
        _same(store.tables(np.array([place]))[0], tables[place])


def test_homes_of_many_batches_are_found_again(tmp_path: Path) -> None:
    tables = [_table(f"home-{number}", 30_000 + number, "a") for number in range(7)]
    pack(iter(tables), tmp_path / "fleet.homes")
    store = HomesStore(tmp_path / "fleet.homes", most=6)
    assert store.rows.tolist() == [table.rows for table in tables[:6]]
    for one, other in zip(store.tables(np.array([5, 0, 3])), (5, 0, 3), strict=True):
        _same(one, tables[other])


def test_a_store_is_its_accounts_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        pack([_table("home-1")], tmp_path / "new" / "fleet.homes")
    finally:
        os.umask(before)
    modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("new", "new/fleet.homes")]
    assert modes == [0o755, 0o700]


def test_readings_stay_on_the_disk_until_they_are_asked_for(tmp_path: Path) -> None:
    pack([_table("home-1", 50)], tmp_path / "fleet.homes")
    values = HomesStore(tmp_path / "fleet.homes").tables(np.array([0]))[0].columns["a"]
    assert not values.flags.owndata
    assert not values.flags.writeable


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def _say(**changes: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        about = json.loads(path.read_text(encoding="utf-8")) | changes
        path.write_text(json.dumps(about), encoding="utf-8")

    return change


def _hole(path: Path) -> None:
    os.truncate(path, 5 << 30)


def _deep(path: Path) -> None:
    path.write_text("[" * 100_000, encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        (READINGS, _cut, "bytes long"),
        (READINGS, Path.unlink, "bytes long"),
        (INDEX, _cut, "bytes long"),
        (INDEX, _flip, "it was changed"),
        (ABOUT, _cut, "cannot be read"),
        (ABOUT, _say(format=2), "of format 2, not 1"),
        (ABOUT, _say(kinds=[{"columns": ["other"]}]), "it lacks other"),
        (ABOUT, _say(bytes={}), "bytes long"),
        (ABOUT, _say(sha256=""), "it was changed"),
        (ABOUT, _say(bytes=[]), "says too little"),
        (ABOUT, _say(kinds=5), "says too little"),
        (ABOUT, _say(kinds=[{"columns": [5]}]), "says too little"),
        (ABOUT, _deep, "cannot be read"),
        (ABOUT, _hole, "cannot be read"),
    ],
)
def test_a_damaged_store_is_refused_by_the_name_of_what_is_damaged(
    name: str, damage: Callable[[Path], None], told: str, tmp_path: Path
) -> None:
    store = tmp_path / "fleet.homes"
    pack([_table("home-1"), _table("home-2")], store)
    HomesStore(store)  # whole, it opens
    damage(store / name)
    with pytest.raises(SourceError, match=told) as error:
        HomesStore(store)
    assert "fedhome data pack" in error.value.hint


def test_a_reading_that_was_changed_is_noticed_when_its_home_is_asked(tmp_path: Path) -> None:
    pack([_table("home-1", 3), _table("home-02", 3)], tmp_path / "fleet.homes")
    file = tmp_path / "fleet.homes" / READINGS
    content = bytearray(file.read_bytes())
    place = content.index(_table("home-02", 3).columns["b"].tobytes())
    content[place] ^= 1
    file.write_bytes(bytes(content))
    store = HomesStore(tmp_path / "fleet.homes")
    _same(store.tables(np.array([0]))[0], _table("home-1", 3))
    with pytest.raises(SourceError, match="home 'home-02' was changed"):
        store.tables(np.array([1]))


def test_a_column_of_the_stores_own_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="as the store's own"):
        pack([_table("home-1", 3, TIME)], tmp_path / "fleet.homes")


def test_a_store_is_replaced_whole_and_what_is_none_is_not_touched(tmp_path: Path) -> None:
    store, other = tmp_path / "fleet.homes", tmp_path / "letters"
    pack([_table("home-1")], store)
    with pytest.raises(RuntimeError):
        pack(_failing(), store)
    assert list(HomesStore(store).names) == ["home-1"]
    pack([_table("home-2")], store)
    assert list(HomesStore(store).names) == ["home-2"]
    other.mkdir()
    (other / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(SourceError, match="no store of homes"):
        pack([_table("home-1")], other)
    assert [path.name for path in other.iterdir()] == ["letter.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fleet.homes", "letters"]
    assert not is_store(other)


def _failing() -> Any:
    yield _table("home-3")
    raise RuntimeError


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ([_table("home-1"), _table("home-1")], "two homes have one name"),
        ([_table("home-1", 3, "a"), _table("home-2", 3, "c")], "home 'home-2' has c"),
    ],
)
def test_homes_that_do_not_go_together_are_refused(
    tables: list[HomeTable], told: str, tmp_path: Path
) -> None:
    with pytest.raises(SourceError, match=told):
        pack(tables, tmp_path / "fleet.homes")
    assert not list(tmp_path.iterdir())


def test_no_homes_make_no_store(tmp_path: Path) -> None:
    with pytest.raises(EmptyFleetError):
        pack([], tmp_path / "fleet.homes")


def _lie(store: Path, old: bytes, new: bytes, file: str = INDEX) -> None:
    """Let a store's file say something else, and the rest of the store agree, as a cheat would."""
    content = (store / file).read_bytes()
    place = content.rindex(old)
    changed = content[:place] + new + content[place + len(old) :]
    (store / file).write_bytes(changed)
    about = json.loads((store / ABOUT).read_text(encoding="utf-8"))
    about["sha256"] = hashlib.sha256((store / INDEX).read_bytes()).hexdigest()
    (store / ABOUT).write_text(json.dumps(about), encoding="utf-8")


@pytest.mark.parametrize(("first", "end"), [(0, 1 << 30), (-(1 << 30), 6), (0, 4000)])
def test_a_name_that_lies_beyond_its_file_is_not_looked_for(
    first: int, end: int, tmp_path: Path
) -> None:
    """Arrow believes a file: to read that name ended the process, or gave what lay in memory."""
    store = tmp_path / "fleet.homes"
    pack([_table("home-1")], store)
    _lie(store, np.array([0, 6], np.int32).tobytes(), np.array([first, end], np.int32).tobytes())
    lying = pa.ipc.open_file(pa.BufferReader((store / INDEX).read_bytes())).read_all()
    assert lying.schema == INDEX_SCHEMA  # the control: Arrow itself takes it
    with pytest.raises(SourceError, match=INDEX):
        HomesStore(store)


def test_a_store_of_words_in_place_of_numbers_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "fleet.homes"
    pack([_table("home-1")], store)
    words = pa.table({TIME: pa.array([1]), "a": pa.array(["one"]), "b": pa.array([1.0])})
    with pa.ipc.new_file(store / READINGS, words.schema) as file:
        file.write_table(words)
    _say(bytes={name: (store / name).stat().st_size for name in (READINGS, INDEX)})(store / ABOUT)
    with pytest.raises(SourceError, match="a is string"):
        HomesStore(store)


def test_a_kind_that_lacks_a_zone_is_told(tmp_path: Path) -> None:
    store = tmp_path / "fleet.homes"
    pack([_table("home-1")], store)
    _say(kinds=[{"columns": ["a", "b"]}])(store / ABOUT)
    with pytest.raises(SourceError, match=r"about.json: it says too little"):
        HomesStore(store).tables(np.array([0]))
