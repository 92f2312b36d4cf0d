"""Readings as they arrive: files, tables and lines of a stream, into a home's store."""

from __future__ import annotations

import errno
import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa
import pytest

import fedhome
from fedhome.clients.membership.home_folder import HomeFolder
from fedhome.clients.own_readings import read_own, source_of
from fedhome.clients.recorded.arriving_lines import ArrivingLines, Understanding
from fedhome.clients.recorded.followed_files import FollowedFiles
from fedhome.clients.recorded.reading_store import ReadingStore
from fedhome.clients.recorded.recording import Recorded, Recorder
from fedhome.clients.recorded.streams import PatientWrites, record_stream
from fedhome.clients.recorded.table_rows import joined
from fedhome.data.home_files import read_home
from fedhome.data.table import HomeTable
from fedhome.errors import RunError, SourceError, StateError
from fedhome.plan.reading_settings import ReadingSettings
from fedhome.plan.settings import Plan
from helpers.assistant_database import BEGIN, AssistantDatabase
from helpers.kept_home import HOME, HOURS, kept_home, write_readings
from helpers.shared_cases import readings as readings_case

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="secret files need POSIX locks")

LAST = 1_700_006_400 + 3600 * (HOURS - 1)  # 2023-11-28 23:00 UTC


@pytest.fixture
def place(tmp_path: Path) -> HomeFolder:
    return kept_home(tmp_path)


@pytest.fixture
def recorder(place: HomeFolder) -> Recorder:
    recorder = Recorder(place, clock=lambda: LAST + 60.0)
    recorder.begin(filled=False)
    return recorder


def streamed(recorder: Recorder, text: str, **how: Any) -> tuple[list[int], list[Recorded]]:
    """Return up to which line was acknowledged, and what was said each time."""
    lines, said = list[int](), list[Recorded]()

    def told(line: int, done: Recorded) -> None:
        lines.append(line)
        said.append(done)

    record_stream(recorder, io.BytesIO(text.encode()), told, lambda _: None, **how)
    return lines, said


def load(recorder: Recorder, name: str = "load") -> list[float]:
    return [float(value) for value in recorder.store.read().table.columns[name]]


def test_the_first_filling_is_the_homes_files_and_learns_the_same(place: HomeFolder) -> None:
    plan = Plan.load(place.plan_path)
    before = read_own(plan, Path(place.settings.data), name=HOME)
    begun = Recorder(place).begin()
    assert begun is not None
    assert (begun.source, begun.rows) == (place.settings.data, HOURS)
    Path(place.settings.data).unlink()
    after = read_own(plan, source_of(place), name=HOME)
    np.testing.assert_equal(vars(after.read.table), vars(before.read.table))
    np.testing.assert_equal(vars(after.matched.table), vars(before.matched.table))
    assert Recorder(place).begin() is None


def test_a_first_filling_that_cannot_be_read_makes_no_store(place: HomeFolder) -> None:
    Path(place.settings.data).unlink()
    with pytest.raises(SourceError, match="cannot be used") as caught:
        Recorder(place).begin()
    assert "--without-data" in caught.value.hint
    assert not ReadingStore.there(place.path)
    timeless = Path(place.settings.data).with_suffix(".csv")
    timeless.write_text("load,outdoor\n1,2\n3,4\n")
    place.change_settings(replace(place.settings, data=str(timeless)))
    with pytest.raises(SourceError, match="have no times"):
        Recorder(place).begin()
    assert not ReadingStore.there(place.path)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"time": "2023-11-29 04:00", "load": 1%s}' % ("0" * 400), "beyond all readings"),
        ('{"time": "2023-11-29 04:00", "load": 2, "room": "\\ud800"}', "half a character"),
        ('{"time": "2023-11-29 04:00", "load": 2, "\\udfff": 1}', "half a character"),
    ],
)
def test_a_line_of_json_that_no_table_can_hold_ends_no_recording(
    recorder: Recorder, line: str, why: str
) -> None:
    """Whoever writes one line, such as a sensor or a stranger at a broker, stopped all others."""
    rows = [f'{{"time": "2023-11-29 0{hour}:00", "load": {hour}.5}}' for hour in (3, 5)]
    (_,), (done,) = streamed(recorder, "\n".join([rows[0], line, rows[1], ""]))
    assert [(one.line, why in one.why) for one in done.refused] == [(2, True)]
    assert load(recorder) == [3.5, 5.5]


def test_lines_of_csv_are_recorded_and_the_bad_ones_named(recorder: Recorder) -> None:
    text = (
        "time;load\n"
        "2023-11-29 03:00;1,5\n"
        "hello\n"
        "2023-11-29 04:00;zwei\n"
        "\n"
        "2023-11-29 05:00;1,7;9\n"
        "2023-11-29 06:00;1,75\n"
        ";3,5\n"
        "1970-01-01 00:00;2,5\n"
    )
    (line,), (done,) = streamed(recorder, text)
    assert (line, done.rows, done.new) == (9, 2, 2)
    assert [one.line for one in done.refused] == [3, 4, 6, 8, 9]
    reasons = [one.why for one in done.refused]
    for words, why in zip(
        ("1 cells", "is not a number", "3 cells", "no time", "before the year 2000"),
        reasons,
        strict=True,
    ):
        assert words in why
        assert re.search(r"row \d", why) is None  # it would be one of a few that were read together
    assert "zwei" not in "".join(reasons)  # no cell is shown
    assert load(recorder) == [1.5, 1.75]


def test_lines_of_json_may_hold_a_reading_each(recorder: Recorder) -> None:
    rows = [
        {"time": "2023-11-29T03:00:00.200Z", "load": 1.5},
        {"time": "2023-11-29T03:00:00.900Z", "outdoor": -3},
        {"time": "2023-11-29T03:00Z", "load": 1.7},
        {"time": "2023-11-29T04:00:00+01:00", "doing": "out", "load": None},
    ]
    text = "\n".join(map(json.dumps, rows)) + '\nno\n[1]\n{"time": {"a": 1}}\n{"load": NaN}\n{}\n'
    (line,), (done,) = streamed(recorder, text)
    assert line == 9
    assert [one.line for one in done.refused] == [5, 6, 7, 8, 9]
    table = recorder.store.read().table
    assert table.rows == 1  # 04:00 with +01:00 is 03:00 in UTC
    assert {name: float(cells[0]) for name, cells in table.columns.items()} == {
        "load": 1.7,  # it came last
        "outdoor": -3.0,
        "doing": 0.0,
    }


def test_of_one_second_the_last_reading_counts(recorder: Recorder) -> None:
    lines, said = streamed(
        recorder,
        "time,load\n2023-11-29T03:00:00Z,1\n2023-11-29T03:00:00Z,2\n2023-11-29T03:00:00Z,\n"
        "2023-11-29T04:00:00Z,5\n2023-11-29T03:00:00Z,4\n",
        most_lines=5,
    )
    assert lines == [5, 6]
    assert [(one.new, one.replaced) for one in said] == [(2, 0), (0, 1)]
    assert load(recorder) == [4.0, 5.0]


@pytest.mark.parametrize("form", ["csv", "json", "pivot"])
def test_a_reading_that_was_corrected_stays_so(recorder: Recorder, form: str) -> None:
    """The first lines of a stream are read again with each batch: they are not recorded again."""
    if form == "pivot":
        recorder = Recorder(recorder._home_folder, reading={"pivot": ["name", "value"]})
    lines = recorder.lines("stream")
    header = [b"time,name,value\n" if form == "pivot" else b"time,load,outdoor\n"]

    def send(minutes: range, load: float | None = None) -> None:
        rows: list[bytes] = [] if form == "json" else header
        for minute in minutes:
            at, value = f"2023-11-29T{minute // 60:02}:{minute % 60:02}Z", load or float(minute)
            texts = {
                "json": json.dumps({"time": at, "load": value}),
                "csv": f"{at},{value},",
                "pivot": f"{at},load,{value}",
            }
            rows = [*rows, texts[form].encode()]
        batch = lines.take(rows)
        done = recorder.keep(batch)
        assert batch.table is not None
        assert (batch.table.rows, done.rows) == (len(minutes), len(minutes))
        assert done.known == 0

    send(range(70))
    send(range(2, 3), 99.0)
    send(range(70, 200))
    send(range(200, 201))
    assert load(recorder)[:4] == [0.0, 1.0, 99.0, 3.0]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_the_hour_that_comes_twice_keeps_both_its_passes(recorder: Recorder, size: int) -> None:
    clock = [f"{hour:02}:{minute:02}" for hour in (1, 2, 2, 3) for minute in (0, 30)]
    text = "time,load\n" + "".join(f"2023-10-29 {at},{n}\n" for n, at in enumerate(clock))
    recorder = Recorder(recorder._home_folder, reading={"time_zone": "Europe/Vienna"})
    streamed(recorder, text, most_lines=size)
    table = recorder.store.read().table
    assert load(recorder) == list(map(float, range(8)))
    assert np.diff(table.time_s).tolist() == [1800] * 7
    assert table.time_s[0] == 1_698_534_000  # 2023-10-28 23:00 UTC


def test_columns_come_and_go(recorder: Recorder) -> None:
    streamed(recorder, "time,load\n2023-11-29T03:00Z,1\n")
    streamed(recorder, "time,outdoor,door\n2023-11-29T04:00Z,7,true\n")
    streamed(recorder, "time,door,load\n2023-11-29T05:00Z,false,3\n")
    table = recorder.store.read().table
    np.testing.assert_equal(
        {name: cells.tolist() for name, cells in table.columns.items()},
        {"load": [1.0, np.nan, 3.0], "outdoor": [np.nan, 7.0, np.nan], "door": [np.nan, 1.0, 0.0]},
    )
    assert table.flags == {"door"}


def test_words_in_a_column_that_had_numbers_are_refused_by_their_line(recorder: Recorder) -> None:
    streamed(recorder, "time,load,humidity\n2023-11-29T03:00Z,1,41\n2023-11-29T03:10Z,2,42.5\n")
    # The plan does not use the humidity, so that the rest of the line counts.
    rows = "2023-11-29T04:00Z,3,wet\n2023-11-29T05:00Z,4,44\n2023-11-29T06:00Z,much,45\n"
    _, (done,) = streamed(recorder, f"time,load,humidity\n{rows}")
    assert [(one.line, one.partly) for one in done.refused] == [(2, True), (4, False)]
    assert ("humidity" in done.refused[0].why, "load" in done.refused[1].why) == (True, True)
    assert (done.rows, done.new) == (2, 2)
    assert load(recorder) == [1.0, 2.0, 3.0, 4.0]
    np.testing.assert_equal(load(recorder, "humidity"), [41.0, 42.5, np.nan, 44.0])


def test_a_stream_may_call_a_column_otherwise(place: HomeFolder) -> None:
    place.change_settings(replace(place.settings, reading={"rename": {"Verbrauch": "load"}}))
    recorder = Recorder(place, reading={"decimal": ","})
    recorder.begin(filled=False)
    streamed(recorder, "time;Verbrauch\n2023-11-29T03:00Z;1,5\n")
    streamed(recorder, "time;load\n2023-11-29T04:00Z;2,5\n")  # as the plan calls it
    assert load(recorder) == [1.5, 2.5]


@pytest.mark.long
@pytest.mark.parametrize(
    ("case", "size"),
    [
        ("01-ha-history-one", 40),
        ("04-lcl-null", 100),
        ("07b-pge-no-preamble", 40),
        ("08b-enedis-plain", 40),
        ("09-netznoe", 40),
        ("17-quoted-decimal-comma", 7),
        ("19-german-thousands", 7),
        ("21-pandas-unnamed-index", 40),
        ("29-clock-1970", 40),
        ("30-dst-newest-first", 40),
        ("37-none-cells", 3),
        ("65-column-order-matters", 40),
    ],
)
def test_a_file_that_arrives_line_by_line_is_read_as_the_whole_is(case: str, size: int) -> None:
    path = min(readings_case(case).iterdir())
    settings = ReadingSettings(time_zone="Europe/Vienna")
    whole = read_home(path, home=HOME, settings=settings).table
    lines = ArrivingLines(path.name, Understanding(home=HOME, settings=settings))
    content = path.read_bytes().splitlines()
    batches = [lines.take(content[at : at + size]) for at in range(0, len(content), size)]
    tables = [batch.table for batch in batches if batch.table is not None]
    found = joined(tables, home=HOME, time_zone=whole.time_zone)
    np.testing.assert_equal(vars(found), vars(whole))
    refused = [one for batch in batches for one in batch.refused]
    # The first line below the header has a clock that was not set: the whole file leaves it out.
    assert [one.line for one in refused] == ([2] if case == "29-clock-1970" else [])


@pytest.mark.long
def test_two_homes_in_one_stream_are_not_mixed() -> None:
    path = min(readings_case("05-lcl-blocks").iterdir())
    lines = ArrivingLines(path.name, Understanding(home=HOME, settings=ReadingSettings()))
    batch = lines.take(path.read_bytes().splitlines()[:501])  # the other home's begin at 482
    assert batch.table is not None
    assert {one.why.split(",")[0] for one in batch.refused} == {
        f"{path.name}: several homes in one file"
    }
    assert (batch.lines, len(batch.refused)) == (480, 20)


def test_a_line_with_names_without_end_is_refused_before_anybody_looks_at_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand names took ten seconds, fifty thousand no end: nothing else was recorded."""
    lines = ArrivingLines("stdin", Understanding(home=HOME, settings=ReadingSettings()))
    good = [f'{{"time": "2026-01-0{day}T00:00:00Z", "load": {day}}}'.encode() for day in (1, 2, 3)]
    many = {f"k{number}": number for number in range(50_000)}
    bomb = json.dumps({"time": "2026-01-04T00:00:00Z", **many}).encode()
    read = lines.take([good[0], bomb, good[1]])
    assert read.table is not None
    assert read.table.rows == 2
    ((line, why, _),) = read.refused
    assert (line, "there are 50,001 fields" in why) == (2, True)
    # So are names that each line makes up anew; as many as are taken are taken.
    monkeypatch.setattr("fedhome.data.files.json_rows.MOST_FIELDS", 4)
    news = [good[2].replace(b"}", f', "k{n}": 1}}'.encode()) for n in range(4)]
    read = lines.take(news)
    assert read.table is not None
    assert {*read.table.columns} == {"load", "k0", "k1"}, "the control"
    assert [one.line for one in read.refused] == [6, 7]


def test_a_header_alone_waits_for_its_first_row(recorder: Recorder) -> None:
    lines = recorder.lines("meter")
    assert lines.take([b"time,load\n"]).table is None
    batch = lines.take([b"2023-11-29T03:00Z,1\n"])
    assert batch.table is not None
    assert (batch.lines, lines.lines) == (1, 2)
    assert lines.take([b"time,load\n", b"2023-11-29T04:00Z,1\n"]).lines == 1  # a header again


def test_the_python_call_takes_what_a_program_has(place: HomeFolder, tmp_path: Path) -> None:
    row = {"time": "2023-11-29T03:00Z", "load": 1.5}
    done = fedhome.record(place.path, [row])
    assert (done.new, done.rows) == (1, 1)
    assert f"the store began with {HOURS} rows of" in done.notes[0]
    frame = pa.table({"time": pa.array([LAST + 5 * 3600], pa.timestamp("s", "UTC")), "load": [2.5]})
    assert fedhome.record(str(place.path), frame).new == 1
    assert fedhome.record(place.path, {"time": ["2023-11-29T05:00Z"], "load": [3.5]}).new == 1
    table = HomeTable(home="?", time_s=np.array([LAST + 7 * 3600]), columns={"load": np.ones(1)})
    assert fedhome.record(place.path, table).new == 1
    (tmp_path / "more.csv").write_text("time,load\n2023-11-29T07:00Z,1\n2023-11-29T08:00Z,2\n")
    assert fedhome.record(place.path, tmp_path / "more.csv").new == 2
    (tmp_path / "more.jsonl").write_text(f"{json.dumps(row)}\n\nno\n")
    done = fedhome.record(place.path, str(tmp_path / "more.jsonl"))
    assert (done.known, [one.line for one in done.refused]) == (1, [3])
    assert fedhome.record(place.path, []).rows == 0
    values = Recorder(place).store.read().table.columns["load"][HOURS:]
    assert values.tolist() == [1.5, 2.5, 3.5, 1.0, 1.0, 2.0][: len(values)]
    for wrong, kind in ((7, SourceError), ([7], SourceError), ([{"load": 1.0}], SourceError)):
        with pytest.raises(kind):
            fedhome.record(place.path, wrong)
    with pytest.raises(RunError):
        fedhome.record(tmp_path / "nowhere", [row])


def test_a_full_disk_is_waited_for_and_nothing_is_acknowledged_meanwhile(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries, waited = recorder.store.append, list[int](), list[str]()

    def append(*given: Any, **named: Any) -> Any:
        tries.append(1)
        if len(tries) < 4:
            hint = "make room" if len(tries) == 1 else ""
            raise StateError("no room", reason="disk-full", hint=hint)
        return real(*given, **named)

    monkeypatch.setattr(recorder.store, "append", append)
    lines, pauses = recorder.lines("meter"), list[float]()
    patience = PatientWrites(recorder, waited.append, pause=pauses.append)
    done = patience.kept(lines.take([b"time,load\n", b"2023-11-29T03:00Z,1\n"]), lines)
    assert (done.new, len(tries), pauses) == (1, 4, [0.5, 1.0, 2.0])
    assert waited[0] == "no room; make room: again in 0.5 s"
    assert waited[1] == "no room: again in 1 s"
    tries.clear()
    given_up = PatientWrites(recorder, waited.append, pause=lambda _: True)
    with pytest.raises(StateError, match="no room"):
        given_up.kept(lines.take([b"2023-11-29T03:30Z,1\n"]), lines)
    assert tries == [1]

    def broken(*_: Any, **__: Any) -> Any:
        raise StateError("another key", reason="wrong-key")

    monkeypatch.setattr(recorder.store, "append", broken)
    with pytest.raises(StateError, match="another key"):
        patience.kept(lines.take([b"2023-11-29T04:00Z,1\n"]), lines)


def test_a_reading_in_another_unit_is_converted_or_refused(place: HomeFolder) -> None:
    recorder = Recorder(place)
    recorder.begin(filled=False)
    streamed(recorder, "time,load (kWh)\n2023-11-29T03:00Z,1\n")
    _, (done,) = streamed(recorder, "time,load (kWh)\n2023-11-29T04:00Z,2\n")
    assert done.new == 1
    _, (done,) = streamed(recorder, "time,load (kWh)\n2023-11-29T05:00Z,900 Wh\n")
    assert load(recorder, "load (kWh)") == [1.0, 2.0, 0.9]
    assert "column 'load (kWh)' was converted from Wh to kWh" in done.notes
    _, (done,) = streamed(recorder, "time,load (kWh)\n2023-11-29T06:00Z,21 °C\n")
    assert done.rows == 0
    assert "comes in °C, and the home's store has it in kWh" in done.refused[0].why


def test_a_file_that_grows_is_read_on_from_where_it_ended(
    recorder: Recorder, tmp_path: Path
) -> None:
    path, said, faults = tmp_path / "meter.csv", list[tuple[int | None, int]](), list[str]()
    followed = FollowedFiles(
        path, recorder, lambda _, lines, done: said.append((lines, done.new)), faults.append
    )
    with pytest.raises(SourceError, match="no such file"):
        followed.look()
    path.write_text("time,load\n")
    followed.look()
    with path.open("a") as file:
        file.write("2023-11-29T00:00Z,1\n2023-11-29T01:00Z,2\n2023-11-29T02:00Z,3")
    followed.look()
    followed.look()
    assert said == [(3, 2)]  # the last line has no end yet: 3 may become 35
    with path.open("a") as file:
        file.write("5\n2023-11-29T03:00Z,4\n")
    followed.look()
    assert said[1:] == [(5, 2)]
    assert load(recorder) == [1.0, 2.0, 35.0, 4.0]
    path.write_text("time,load\n2023-11-29T04:00Z,5\n")  # a new one, as after a rotation
    followed.look()
    assert faults == [f"{path} was begun anew, and is read from its beginning"]
    assert load(recorder)[-1] == 5.0
    again = FollowedFiles(path, recorder, lambda _, __, done: said.append((0, done.new)), print)
    again.look()
    assert said[-1] == (0, 0)  # it begins at the beginning, and all of it is known


def test_a_database_that_is_written_is_recorded_with_what_waits_beside_it(
    place: HomeFolder, tmp_path: Path
) -> None:
    database = AssistantDatabase(tmp_path / "config" / "home-assistant_v2.db", journal="wal")
    database.statistics("sensor.load", {0: 1.0, 1: 2.0}, unit="kW")
    reading = {"rename": {"sensor.load": "load"}}
    recorder = Recorder(place, reading=reading, clock=lambda: BEGIN + 86_400.0)
    recorder.begin(filled=False)
    said, faults = list[int](), list[str]()
    followed = FollowedFiles(
        database.path, recorder, lambda _, __, done: said.append(done.new), faults.append
    )
    followed.look()
    followed.look()
    before = database.path.read_bytes()
    database.statistics("sensor.load", {2: 4.0}, unit="kW")
    followed.look()
    assert database.path.read_bytes() == before
    database.close()
    assert (said, faults) == ([2, 1], [])
    assert load(recorder) == [1, 2, 4]


def test_a_folder_gets_files_of_any_kind(recorder: Recorder, tmp_path: Path) -> None:
    folder, said, faults = tmp_path / "inbox", list[tuple[str, int]](), list[str]()
    folder.mkdir()
    followed = FollowedFiles(
        folder, recorder, lambda path, _, done: said.append((path.name, done.new)), faults.append
    )
    followed.look()
    (folder / "a.csv").write_text("time,load\n2023-11-29T00:00Z,1\n")
    (folder / "b.jsonl").write_text('{"time": "2023-11-29T01:00Z", "load": 2}\n')
    (folder / ".hidden.csv").write_text("time,load\n2023-11-29T09:00Z,1\n")
    write_readings(folder / "c.parquet", hours=2)
    (folder / "d.parquet").write_bytes(b"half of a file")
    followed.look()
    followed.look()
    assert said == [("a.csv", 1), ("b.jsonl", 1), ("c.parquet", 2)]
    assert len(faults) == 1
    assert "d.parquet" in faults[0]
    write_readings(folder / "d.parquet", hours=3)
    (folder / "a.csv").unlink()
    followed.look()
    assert said[3:] == [("d.parquet", 1)]
    assert len(faults) == 1


def test_a_folder_that_is_closed_again_is_told_again(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, faults = tmp_path / "inbox", list[str]()
    folder.mkdir()
    followed = FollowedFiles(folder, recorder, lambda _, __, ___: None, faults.append)

    def closed(_: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    for times in (1, 2):
        with monkeypatch.context() as shut:
            shut.setattr(Path, "iterdir", closed)
            followed.look()
            followed.look()
        assert faults == [f"{folder}: Permission denied; it is tried again"] * times
        followed.look()


NEAR = "column 'outdor' is none of the plan's: did you mean 'outdoor'?"


def test_a_column_that_is_called_nearly_as_an_input_is_told(
    place: HomeFolder, recorder: Recorder, tmp_path: Path
) -> None:
    """It was kept under its own name, and the input went without readings for ever."""
    hours = [(f"2023-11-29T0{hour}:00Z", hour, 5) for hour in range(3)]
    text = "\n".join(["time,load,outdor", *(f"{t},{a},{b}" for t, a, b in hours), ""])
    _, (done,) = streamed(recorder, text)
    assert [note for note in done.notes if "outdor" in note and note.startswith(NEAR)]
    lines = [json.dumps({"time": t, "load": a, "outdor": b}) for t, a, b in hours]
    assert any(n.startswith(NEAR) for n in streamed(recorder, "\n".join([*lines, ""]))[1][0].notes)
    (tmp_path / "more.csv").write_text(text)
    for rows in (tmp_path / "more.csv", {"time": [hours[0][0]], "load": [1], "outdor": [2]}):
        assert any(note.startswith(NEAR) for note in fedhome.record(place.path, rows).notes)
    # Nothing is asked of what is like no input, nor where the input came too.
    other = {"time": [hours[0][0]], "load": [1], "outdor": [2], "outdoor": [2], "humidity": [3]}
    assert not any("none of the plan's" in n for n in fedhome.record(place.path, other).notes)


def test_a_new_name_for_a_column_that_never_comes_is_told(place: HomeFolder) -> None:
    how = {"rename": {"Verbrauh": "load"}}
    misspelt = Recorder(place, reading=how, clock=lambda: LAST + 60.0)
    misspelt.begin(filled=False)
    _, (done,) = streamed(misspelt, "time,Verbrauch\n2023-11-29T03:00Z,1\n2023-11-29T04:00Z,2\n")
    told = (
        "no column 'Verbrauh' comes, which `rename` gives another name: did you mean 'Verbrauch'?"
    )
    assert told in done.notes


def test_a_folder_that_cannot_be_looked_into_is_told_once_and_followed(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, faults, shut = tmp_path / "exports", list[str](), [True]
    folder.mkdir()
    look_into = Path.iterdir

    def iterdir(path: Path) -> Any:
        if path == folder and shut[0]:
            raise PermissionError(13, "Permission denied")
        return look_into(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    done = list[Recorded]()
    followed = FollowedFiles(folder, recorder, lambda *told: done.append(told[2]), faults.append)
    followed.look()
    followed.look()
    assert faults == [f"{folder}: Permission denied; it is tried again"]
    shut[0] = False
    (folder / "a.csv").write_text("time,load\n2023-11-29T03:00Z,1\n2023-11-29T04:00Z,2\n")
    followed.look()
    assert [one.new for one in done] == [2]


def test_where_nothing_comes_that_the_plan_uses_it_is_told(recorder: Recorder) -> None:
    """A history of one sensor has its values in `state`: all was recorded, and nothing was used."""
    rows = [f"sensor.load,{hour},2023-11-29T0{hour}:00:00.000Z" for hour in range(3, 6)]
    text = "\n".join(["entity_id,state,last_changed", *rows, ""])
    _, (done,) = streamed(recorder, text)
    note = "nothing comes that the plan uses ('load', 'outdoor'): 'entity_id', 'state' are kept"
    assert [one for one in done.notes if one.startswith(note)]
    _, (done,) = streamed(recorder, "time,load\n2023-11-29T03:00Z,1\n2023-11-29T04:00Z,2\n")
    assert not [one for one in done.notes if "that the plan uses" in one]


def test_a_reading_of_another_century_is_refused_and_one_ahead_of_the_clock_is_told(
    recorder: Recorder,
) -> None:
    """One of the year 2390 would have been the newest for ever."""
    rows = ["2023-11-28T23:00Z,1", "2390-01-01T00:00Z,2", "2100-01-01T00:00Z,3"]
    _, (done,) = streamed(recorder, "\n".join(["time,load", *rows, ""]))
    assert (done.new, [one.line for one in done.refused]) == (1, [3, 4])
    assert all("is after the year 2099" in one.why for one in done.refused)
    assert not [note for note in done.notes if "ahead of this device's clock" in note]
    _, (done,) = streamed(recorder, "time,load\n2023-11-29T02:01Z,1\n")
    assert done.new == 1  # a minute after the last reading it is, by the clock
    assert [note for note in done.notes if note.startswith("readings are up to 3.0 h ahead of")]
