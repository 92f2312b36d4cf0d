"""Readings as JSON: the same rows however they are written, and what says no rows is refused."""

from __future__ import annotations

import gzip
import json
import re
import shlex
import shutil
import subprocess
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.data.files import json_files
from fedhome.data.files.data_files import Raw, is_data_file, read_files
from fedhome.data.files.json_rows import parsed
from fedhome.data.home_files import read_home
from fedhome.data.homes_folder import read_folder
from fedhome.errors import EmptyFleetError, SourceError
from fedhome.plan.reading_settings import ReadingSettings

JQ = shutil.which("jq")
_NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)
_CELLS = (
    st.integers(-(2**62) + 1, 2**62 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)


@st.composite
def _tables(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw rows with the same fields, each of one kind, of which some hold nothing."""
    names = draw(st.lists(_NAMES, min_size=1, max_size=4, unique=True))
    columns = {name: st.none() | draw(st.sampled_from(_CELLS)) for name in names}
    return draw(st.lists(st.fixed_dictionaries(columns), min_size=1, max_size=6))


def _read(folder: Path, name: str, content: str) -> Raw:
    path = folder / name
    path.write_text(content, encoding="utf-8", newline="")
    return read_files(path)


def _influx(rows: list[dict[str, Any]]) -> dict[str, Any]:
    columns = list(rows[0])
    values = [[row[name] for name in columns] for row in rows]
    return {"results": [{"statement_id": 0, "series": [{"columns": columns, "values": values}]}]}


@settings(deadline=None, max_examples=60)
@given(rows=_tables())
def test_rows_are_those_that_were_written_in_every_shape(
    rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("json")
    lines = "\n".join(map(json.dumps, rows))
    written = {
        "list.json": json.dumps(rows),
        "list with breaks.json": json.dumps(rows, indent=2, ensure_ascii=False),
        "lines.jsonl": lines,
        "lines.ndjson": f"\ufeff{lines}\r\n\r\n",
        "influx.json": json.dumps(_influx(rows)),
    }
    for name, content in written.items():
        read = _read(folder, name, content)
        assert read.rows.column_names == list(rows[0]), name
        assert read.rows.to_pylist() == rows, name
        assert read.files == ((name, len(rows)),)


def test_a_field_that_a_row_lacks_is_missing_there(tmp_path: Path) -> None:
    read = _read(tmp_path, "a.json", '[{"time": 1, "lux": 2}, {"time": 2, "load": 0.5}]')
    assert read.rows.to_pylist() == [
        {"time": 1, "lux": 2, "load": None},
        {"time": 2, "lux": None, "load": 0.5},
    ]


def _history() -> list[list[dict[str, Any]]]:
    def states(entity: str, values: list[str]) -> list[dict[str, Any]]:
        times = [f"2026-01-01T0{hour}:00:00+00:00" for hour in range(len(values))]
        first, *others = (
            {"state": value, "last_changed": time}
            for value, time in zip(values, times, strict=True)
        )
        beside = {"entity_id": entity, "attributes": {"unit": "kWh"}, "context": {"id": "x"}}
        return [{**beside, **first}, *others]

    return [
        states("sensor.load", ["0.5", "unavailable", "1.5"]),
        states("sensor.lux", ["1", "2", "3"]),
    ]


def test_home_assistants_history_is_read_by_its_entities(tmp_path: Path) -> None:
    path = tmp_path / "oak.json"
    path.write_text(json.dumps(_history()))
    pivot = ReadingSettings(pivot=("entity_id", "state"))
    read = read_home(path, home="oak", settings=pivot)
    assert read.table.columns["sensor.lux"].tolist() == [1.0, 2.0, 3.0]
    load = read.table.columns["sensor.load"].tolist()
    assert (load[0], load[2]) == (0.5, 1.5)
    assert load[1] != load[1]
    told = " ".join(read_files(path).notes)
    assert "left out: attributes, context, which are no readings" in told


_REFUSED: dict[str, tuple[str, str]] = {
    "an object with a list": ('{"data": [1, 2]}', "does not say what a row is"),
    "columns by name": ('{"time": {"0": 1}, "load": {"0": 2}}', "does not say what a row is"),
    "numbers": ("[1, 2]", "does not say what a row is"),
    "lists": ("[[1, 2], [3, 4]]", "does not say what a row is"),
    "nothing": ("[]", "does not say what a row is"),
    "an object within": ('[{"time": 1, "at": {"x": 1}}]', "object 1: the field 'at' is no single"),
    "a number among objects": ('[{"time": 1}, 2]', "object 2: this is no object"),
    "no number": ('[{"time": 1, "load": NaN}]', "it says NaN, which is no number"),
    "no number in a line": ('{"a": 1}\n{"a": -Infinity}', "line 2: it says -Infinity"),
    "a cut-off list": ('[\n{"a": 1},\n{"a": 2}, {"a"', "no JSON from line 3, character"),
    "a list in each line": ('["a", 1]\n["b", 2]', "line 1: this is no object"),
    "a field twice": ('[{"time": 1, "load": 1, "load": 2}]', "the field 'load' twice"),
    "a field twice in a line": (
        '{"a": 1}\n{"a": 1, "a": 2}',
        "line 2: an object has the field 'a' twice",
    ),
    "a field twice in the first": ('{"a": 1, "a": 2}\n{"a": 1}', "line 1: an object has the field"),
    "a torn line": ('{"a": 1}\n{"a": ', "line 2 is no JSON"),
    "a list that says no entity": ('[[{"state": "1"}]]', "does not say whose states"),
    "a list of two entities": (
        '[[{"entity_id": "a", "state": "1"}, {"entity_id": "b", "state": "1"}]]',
        "states of several entities",
    ),
    "a cut-off answer": (
        '{"results": [{"series": [{"columns": ["a"], "values": [[1]], "partial": true}]}]}',
        "cut it off",
    ),
    "two series": (
        json.dumps({"results": [{"series": [{"columns": ["a"], "values": [[1]]}] * 2}]}),
        "those with one series are read",
    ),
    "a short row": (
        '{"results": [{"series": [{"columns": ["a", "b"], "values": [[1]]}]}]}',
        "row 1 has not a value for each column",
    ),
    "columns of one name": (
        '{"results": [{"series": [{"columns": ["a", "a"], "values": [[1, 2]]}]}]}',
        "have one name",
    ),
    "depth without end": ("[" * 100_000, "no JSON"),
}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"load": 1, "load": 2}', "has the field 'load' twice"),
        (b'{"load": NaN}', "it says NaN, which is no number of JSON"),
        (b'{"load": 1', "this is no JSON"),
    ],
)
def test_a_line_that_is_recorded_is_refused_for_the_same(line: bytes, why: str) -> None:
    assert parsed(b'{"load": 1}') == {"load": 1}
    with pytest.raises(SourceError, match=why):
        parsed(line)


def _run(command: str, text: str) -> list[Any]:
    """Return what a command of jq makes of a text, line by line."""
    made = subprocess.run(
        [str(JQ), *shlex.split(command)[1:]],
        input=text,
        text=True,
        capture_output=True,
        check=True,
    )
    return [*map(json.loads, made.stdout.splitlines())]


def test_all_fields_that_hold_fields_are_told_at_once() -> None:
    with pytest.raises(SourceError, match="the field 'on' is no single value") as refused:
        parsed(b'{"time": 1, "on": {"power": 2.5}}')
    assert "jq" in refused.value.hint
    with pytest.raises(SourceError, match="the fields 'main', 'sky' are no single values"):
        parsed(b'{"time": 1, "main": {"temp": 2.5}, "rain": null, "sky": [{"id": 803}]}')


@pytest.mark.skipif(JQ is None, reason="jq is not installed")
def test_the_commands_lay_rows_flat_or_leave_out_what_is_not_single(tmp_path: Path) -> None:
    rows = [
        {"time": 1, "a": {"on": False, "it's": {"w": 2.5}}, "b": {"on": None}, "sky": [{"id": 8}]},
        {"time": 2, "on": None},
    ]
    for text in (json.dumps(rows), "\n".join(map(json.dumps, rows))):
        with pytest.raises(SourceError, match="'a', 'b', 'sky' are no single") as refused:
            _read(tmp_path, "oak.json", text)
        flat, without = re.findall(r"(jq -c .*?)(?: makes| leaves)", refused.value.hint)
        assert _run(flat, text) == [
            {"time": 1, "a.on": False, "a.it's.w": 2.5, "b.on": None, "sky.0.id": 8},
            {"time": 2, "on": None},
        ]
        assert _run(without, text) == [{"time": 1}, {"time": 2, "on": None}]


@pytest.mark.skipif(JQ is None, reason="jq is not installed")
@pytest.mark.parametrize(
    ("whole", "rows"),
    [
        (
            {"cod": 200, "alerts": [{"id": 1}], "list": [{"dt": 1, "t": 2.5}, {"dt": 2}]},
            [{"dt": 1, "t": 2.5}, {"dt": 2}],
        ),
        (
            {"energy": {"unit": "Wh", "values of a day": [{"date": "2024-03-01", "value": 0}]}},
            [{"date": "2024-03-01", "value": 0}],
        ),
        (
            {"latitude": 48.2, "hourly": {"time": ["a", "b"], "temp 2 m": [5.5, None]}},
            [{"time": "a", "temp 2 m": 5.5}, {"time": "b", "temp 2 m": None}],
        ),
        (
            {"data": {"homes": [{"id": 7, "use": {"nodes": [{"t": 1}, {"t": 2}, {"t": 3}]}}]}},
            [{"t": 1}, {"t": 2}, {"t": 3}],
        ),
        (
            {
                "data": {
                    "resultType": "matrix",
                    "result": [{"metric": {"room": "k"}, "values": [[1, "2.5"], [61, "3"]]}],
                }
            },
            [{"room": "k", "time": 1, "value": "2.5"}, {"room": "k", "time": 61, "value": "3"}],
        ),
        ({"time": [1, 2], "load": [3, 4]}, [{"time": 1, "load": 3}, {"time": 2, "load": 4}]),
    ],
    ids=["a list", "deeper", "columns", "in a list of one", "Prometheus", "columns alone"],
)
def test_rows_within_an_answer_are_told_with_the_command_that_takes_them_out(
    whole: dict[str, Any], rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    text = json.dumps(whole)
    with pytest.raises(SourceError, match="does not say what a row is") as refused:
        _read(tmp_path, "oak.json", text)
    (command,) = re.findall(r"seem to lie in .*?: (jq -c .*?) gives", refused.value.hint)
    assert _run(command, text) == rows


def test_a_small_file_takes_no_more_memory_than_its_size_needs(tmp_path: Path) -> None:
    _read(tmp_path, "oak.json", '[{"time": 1, "load": 2.5}]')  # imports
    tracemalloc.start()
    try:
        _read(tmp_path, "oak.json", '[{"time": 1, "load": 2.5}]')
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < json_files.MOST_JSON_BYTES / 16


def test_an_entity_without_a_state_takes_nothing_from_the_others(tmp_path: Path) -> None:
    history: list[list[dict[str, Any]]] = [[], [], *_history(), []]
    read = _read(tmp_path, "oak.json", json.dumps(history))
    assert read.rows.num_rows == 6
    assert is_data_file(tmp_path / "oak.json")


@pytest.mark.parametrize(
    ("content", "encoding", "why"),
    [
        ('[{"Zähler": 1}]', "latin-1", "it is not in UTF-8"),
        ('{"a": 1}\n{"Zähler": 1}', "latin-1", "it is not in UTF-8"),
        ('[{"a": 1}]', "utf-16", "it is not a whole JSON file"),
    ],
)
def test_json_of_another_encoding_is_refused_with_what_to_do(
    content: str, encoding: str, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content.encode(encoding))
    with pytest.raises(SourceError) as caught:
        read_files(path)
    assert why in caught.value.message
    assert "save it as JSON in UTF-8" in caught.value.hint


def test_a_file_that_is_named_is_told_why_its_json_holds_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "oak.json"
    path.write_text('{"time": [1, 2], "load": [3, 4]}')
    with pytest.raises(EmptyFleetError, match="does not say what a row is"):
        read_folder(path)
    path.write_text('{"time": 1, "load": 3}')
    with pytest.raises(EmptyFleetError, match="a single row"):
        read_folder(path)


@pytest.mark.parametrize("name", ["oak.json.gz", "oak.jsonl.gz", "oak.ndjson.gz"])
def test_packed_json_is_read_as_open_json_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"time": hour, "load": hour / 2} for hour in range(50)]
    path = tmp_path / name
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    assert is_data_file(path)
    read = read_files(path)
    assert read.rows.to_pylist() == rows
    assert read.formats == ("JSON, an object a line, in gzip",)
    assert read_folder(tmp_path).homes[0].home == "oak"
    monkeypatch.setattr(json_files, "MOST_JSON_BYTES", 2**8)  # of what it unfolds to
    assert path.stat().st_size < 2**8
    with pytest.raises(SourceError, match="too much for JSON in memory"):
        read_files(path)
    path.write_bytes(gzip.compress(b'{"settings": [1, 2]}'))
    assert is_data_file(path) is not name.endswith(".json.gz")


def test_a_file_of_empty_lines_costs_no_time(tmp_path: Path) -> None:
    # A look that goes back for each line break takes a quarter of a minute for the beginning alone.
    path = tmp_path / "a.json"
    path.write_bytes(b"{}" + b"\n" * 500_000)
    assert not is_data_file(path)


@pytest.mark.parametrize(("content", "why"), _REFUSED.values(), ids=_REFUSED)
def test_what_does_not_say_its_rows_is_refused(content: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        _read(tmp_path, "a.json", content)
    assert why in caught.value.message
    assert "a.json" in caught.value.message
    assert caught.value.hint


def test_a_file_that_is_too_long_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_files, "MOST_JSON_BYTES", 20)
    with pytest.raises(SourceError, match="too much for JSON in memory"):
        _read(tmp_path, "a.json", json.dumps([{"time": 1, "load": 2.5}]))


def test_json_that_is_no_readings_is_left_out_beside_them(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("time,load\n1,2\n2,3\n")
    (tmp_path / "meta.json").write_text('{"sensor": {"maker": "x"}}')
    read = read_files(tmp_path)
    assert read.files == ((f"{tmp_path.name}/a.csv", 2),)
    assert "left out: meta.json" in " ".join(read.notes)
    (tmp_path / "b.ndjson").write_text('{"time": 3}\n')
    assert is_data_file(tmp_path / "b.ndjson")
    assert not is_data_file(tmp_path / "meta.json")


def test_files_of_one_home_are_one_below_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"time": 1, "load": 0.5}\n')
    (tmp_path / "b.json").write_text('[{"time": 2, "load": 1.5}]')
    assert read_files(tmp_path).rows.column("load").to_pylist() == [0.5, 1.5]
