"""Folders of homes: who takes part, who is left out and why."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest

from fedhome.data.home_files import read_home
from fedhome.data.homes_folder import read_folder
from fedhome.errors import EmptyFleetError, SourceError
from fedhome.plan.reading_settings import ReadingSettings


def csv_file(folder: Path, text: str | bytes, name: str = "home.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


ROWS = "2024-01-01T12:00Z,1\n2024-01-01T13:00Z,2\n"


def test_every_home_that_cannot_be_used_is_left_out_with_a_reason(tmp_path: Path) -> None:
    csv_file(tmp_path, f"time,load\n{ROWS}", "good.csv")
    csv_file(tmp_path, "time,load\n", "no-rows.csv")
    csv_file(tmp_path, "time,load\n2024-01-01T12:00Z,1\n", "one-row.csv")
    csv_file(tmp_path, f"time,other\n{ROWS}", "other.csv")
    csv_file(tmp_path, f"time,load\n{ROWS.replace(',1', ',7').replace(',2', ',7')}", "still.csv")
    csv_file(tmp_path, f"time,load\n{ROWS.replace(',1', ',').replace(',2', ',')}", "silent.csv")
    csv_file(tmp_path, b"\x00\xff", "torn.csv")
    csv_file(tmp_path, f"time,load\n{ROWS}", "good.csv.gz")
    (tmp_path / "hollow").mkdir()
    csv_file(tmp_path, "not data", "notes.txt")
    csv_file(tmp_path, "hidden", ".DS_Store")
    read = read_folder(tmp_path, target="load")
    assert [home.home for home in read.homes] == ["good", "still"]
    reasons = {item.home: item.reason for item in read.excluded}
    assert reasons == {
        "good": "good.csv.gz is a second source of good: put both into a sub-folder good",
        "hollow": f"{tmp_path / 'hollow'} holds no file of readings",
        "no-rows": "it has no rows",
        "one-row": "it has a single row",
        "other": "it lacks column load",
        "silent": "its target 'load' holds nothing",
        "torn": "torn.csv cannot be read: it is not text in UTF-8",
    }
    assert "no files of readings, left out: notes.txt" in read.notes


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("b.csv", b"time,load\nnever,1\n", "kitchen/b.csv, row 1: "),
        ("b.csv", b"\x00\x01" * 300, "kitchen/b.csv has no header row"),
        ("b.csv.gz", b"\x1f\x8b\x08\x00", "kitchen/b.csv.gz cannot be read: "),
        ("b.zip", b"PK\x03\x04", "kitchen/b.zip cannot be read: "),
        ("b.parquet", b"PAR1", "kitchen/b.parquet cannot be read: "),
    ],
)
def test_a_file_in_a_homes_folder_is_named_with_the_folder(
    tmp_path: Path, name: str, content: bytes, where: str
) -> None:
    """Every home may have a file of that name."""
    for home in ("bath", "kitchen"):
        (tmp_path / home).mkdir()
        csv_file(tmp_path / home, f"time,load\n{ROWS}", "a.csv")
    csv_file(tmp_path / "kitchen", content, name)
    read = read_folder(tmp_path)
    assert [one.home for one in read.excluded] == ["kitchen"]
    assert read.excluded[0].reason.startswith(where), read.excluded[0].reason
    assert read.reports[0].files[0].startswith("bath/a.csv: CSV")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are POSIX's")
def test_a_pipe_among_the_homes_costs_itself_alone_and_nobody_waits_for_its_other_end(
    tmp_path: Path,
) -> None:
    csv_file(tmp_path, f"time,load\n{ROWS}", "good.csv")
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="No such device or address"):  # the control: nobody writes
        os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    read = read_folder(tmp_path, target="load")
    assert [home.home for home in read.homes] == ["good"]
    assert [item.reason for item in read.excluded] == [
        f"{pipe} is a pipe, a device or a socket, and no file"
    ]
    with pytest.raises(SourceError, match="and no file"):
        read_home(pipe)


def test_a_home_whose_name_cannot_be_shown_is_left_out_with_what_to_do(tmp_path: Path) -> None:
    """It ended a whole run by a message's own words: `a text is not 1 to 255 printable bytes`."""
    csv_file(tmp_path, f"time,load\n{ROWS}", "good <b>.csv")
    csv_file(tmp_path, f"time,load\n{ROWS}", "a\x1b[2Jb.csv")
    read = read_folder(tmp_path, target="load")
    assert [home.home for home in read.homes] == ["good <b>"]
    assert [(item.home, item.hint) for item in read.excluded] == [
        ("a\\x1b[2Jb", "give its file another name")
    ]
    assert read.excluded[0].reason.isprintable()


def test_all_homes_share_one_list_of_classes(tmp_path: Path) -> None:
    csv_file(tmp_path, "load,mode\n1,heat\n2,off\n", "a.csv")
    csv_file(tmp_path, "load,mode\n1,cool\n2,\n3,heat\n", "b.csv")
    first, second = read_folder(tmp_path).homes
    assert first.labels == second.labels == {"mode": ("cool", "heat", "off")}
    assert first.columns["mode"].tolist() == [1, 2]
    np.testing.assert_array_equal(second.columns["mode"], [0, np.nan, 1])


def test_a_home_with_numbers_where_the_others_have_text_is_left_out(tmp_path: Path) -> None:
    csv_file(tmp_path, "load,door\n1,on\n2,off\n", "a.csv")
    csv_file(tmp_path, "load,door\n1,1\n2,0\n", "b.csv")
    csv_file(tmp_path, "load,door\n1,on\n2,off\n", "c.csv")
    read = read_folder(tmp_path)
    assert [home.home for home in read.homes] == ["a", "c"]
    assert read.excluded[0].reason == (
        "its column 'door' holds numbers, but text in most other homes"
    )


def test_notes_name_their_home(tmp_path: Path) -> None:
    csv_file(tmp_path, "time,load\n2024-01-01,1\n2024-01-02,2\n", "elm.csv")
    assert any(note.startswith("elm: ") for note in read_folder(tmp_path).notes)


def test_homes_toml_gives_single_homes_their_zone(tmp_path: Path) -> None:
    for name in ("oslo", "utc"):
        rows = "2024-01-01 13:00,1\n2024-01-01 14:00,2\n"
        csv_file(tmp_path, f"time,load\n{rows}", f"{name}.csv")
    csv_file(tmp_path, '[oslo]\ntime_zone = "Europe/Oslo"\n', "homes.toml")
    oslo, utc = read_folder(tmp_path, settings=ReadingSettings(time_zone="UTC")).homes
    assert (oslo.time_zone, utc.time_zone) == ("Europe/Oslo", "UTC")
    assert oslo.time_s[0] == utc.time_s[0] - 3600


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[oslo", "is not TOML"),
        ('[paris]\ntime_zone = "Europe/Paris"', "names 'paris', which is no home"),
        ('[oslo]\ntime_zone = "Oslo"', "'Oslo' is not a time zone"),
        ('[oslo]\nzone = "Europe/Oslo"', "of 'oslo', zone is no setting of reading"),
        ('[oslo]\nhome_column = "meter"', "of 'oslo', home_column is the same for all homes"),
        ('[oslo]\ndates = "backwards"', "of 'oslo', dates: .*'day-first' or 'month-first'"),
        ('[oslo]\ntme = "Zeit"\ndates = 3', "tme is no setting of reading.*; dates: "),
        ("oslo = 1", "'oslo' is no table"),
    ],
)
def test_a_wrong_homes_toml_is_refused(tmp_path: Path, text: str, message: str) -> None:
    csv_file(tmp_path, f"time,load\n{ROWS}", "oslo.csv")
    csv_file(tmp_path, text, "homes.toml")
    with pytest.raises(SourceError, match=message):
        read_folder(tmp_path)


def test_wrong_and_empty_folders_are_refused_with_the_layout(tmp_path: Path) -> None:
    for path, message in (
        (tmp_path / "nowhere", "does not exist"),
        (csv_file(tmp_path, "x", "home.md"), "no file of readings"),
    ):
        with pytest.raises(SourceError, match=message) as error:
            read_folder(path)
        assert "header row" in error.value.hint
    (tmp_path / "others").mkdir()
    csv_file(tmp_path, b"SQLite format 3\0", "others/recorder.db")
    with pytest.raises(EmptyFleetError, match=r"recorder\.db cannot be read: it is no whole"):
        read_folder(tmp_path / "others")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="holds no home"):
        read_folder(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "content", "reason", "hint"),
    [
        ("a.txt", 'z2m/plug {"power": 4}\nz2m/tv {"power": 9}\n', "messages of MQTT", "-F %J"),
        ("a.txt", "time load\n2024-01-01 00:00 1\n2024-01-01 01:00 2\n", "by blanks", "comma"),
        ("a.txt", " time | load\n------+-----\n 1 | 2\n(1 row)\n", "people to look", "--csv"),
        ("a.csv", "| time | load |\n|:---|---:|\n| 1 | 2 |\n", "people to look", "psql --csv"),
        ("a.csv", "+---+---+\n| t | x |\n+---+---+\n| 1 | 2 |\n", "people to look", "--batch"),
        ("a.json", '{"time": [1, 2], "load": [3, 4]}', "what a row is", "jq -c"),
        ("a.tar.gz", b"\x1f\x8b\x08", "it is a tar archive", "unpack it"),
    ],
)
def test_a_file_of_a_name_that_is_read_says_why_it_is_not(
    name: str, content: str | bytes, reason: str, hint: str, tmp_path: Path
) -> None:
    """Those of text and JSON were told to be no files of readings, and to be named as they are."""
    csv_file(tmp_path, content, name)
    with pytest.raises((SourceError, EmptyFleetError), match=reason) as refused:
        read_folder(tmp_path)
    assert hint in refused.value.hint


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="sqlite3 is not installed")
def test_the_command_takes_the_readings_out_of_a_database(tmp_path: Path) -> None:
    path = tmp_path / "logger.db"
    with contextlib.closing(sqlite3.connect(path)) as logger:
        logger.executescript(
            "CREATE TABLE readings (time TEXT, load REAL);"
            "INSERT INTO readings VALUES ('2024-03-01T00:00Z', 0.5), ('2024-03-01T01:00Z', 0.75);"
        )
    with pytest.raises(SourceError, match="an SQLite database") as refused:
        read_folder(path)
    command = re.findall(r"sqlite3 .*?csv$", refused.value.hint)[0]
    words = shlex.split(command.partition(" >")[0].replace("FILE", str(path)))
    made = subprocess.run(words, capture_output=True, check=True).stdout
    home = read_folder(csv_file(tmp_path, made)).homes[0]
    assert home.columns["load"].tolist() == [0.5, 0.75]


def test_no_home_left_lists_every_reason(tmp_path: Path) -> None:
    csv_file(tmp_path, "time,load\n", "a.csv")
    csv_file(tmp_path, b"", "b.csv")
    with pytest.raises(EmptyFleetError, match=r"a: it has no rows; .*\n.*b: b\.csv cannot be read"):
        read_folder(tmp_path)


def test_where_different_things_help_each_stands_beside_its_reason(tmp_path: Path) -> None:
    csv_file(tmp_path, b"", "a.csv")
    csv_file(tmp_path, b"PAR1", "b.csv")
    with pytest.raises(EmptyFleetError) as error:
        read_folder(tmp_path)
    first, second = error.value.message.splitlines()[1:]
    assert first.endswith(
        "it is empty; save it again as CSV in UTF-8 with a header row, or as Parquet"
    )
    assert second.endswith("give the file the suffix of what it is: .parquet")
    assert error.value.hint == "what helps stands beside each reason"


def test_homes_a_folder_too_deep_are_found_and_the_error_names_where(tmp_path: Path) -> None:
    street = tmp_path / "homes" / "city" / "street"
    street.mkdir(parents=True)
    csv_file(street, f"time,load\n{ROWS}", "oak.csv")
    with pytest.raises(EmptyFleetError, match="holds no file of readings") as error:
        read_folder(tmp_path / "homes")
    assert f"but {street} holds such files" in error.value.hint


def test_what_lies_beside_a_homes_files_is_told(tmp_path: Path) -> None:
    (tmp_path / "oak" / "old").mkdir(parents=True)
    csv_file(tmp_path / "oak", f"time,load\n{ROWS}", "2024.csv")
    csv_file(tmp_path / "oak", "about this home\n", "notes.md")
    assert "oak: in oak/, left out: notes.md, old/" in read_folder(tmp_path).notes


def test_an_archive_of_several_homes_says_to_unpack_it(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "homes.zip", "w") as archive:
        for name, first in (("elm", 1), ("oak", 4)):
            rows = "".join(f"2024-01-01T{hour:02}:00Z,{hour + first}\n" for hour in range(9))
            archive.writestr(f"{name}.csv", f"time,load\n{rows}")
    with pytest.raises(EmptyFleetError, match="no column tells them apart") as error:
        read_folder(tmp_path)
    assert "put them (unpacked) into the folder itself" in error.value.hint


def shut(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Let folders be unreadable, also for those whom the system refuses nothing."""
    look_into = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path in folders:
            raise PermissionError(errno.EACCES, "Permission denied")
        return look_into(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)


def test_a_folder_that_cannot_be_looked_into_costs_its_home_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv_file(tmp_path, f"time,load\n{ROWS}", "good.csv")
    closed, nested = tmp_path / "closed", tmp_path / "nested"
    (nested / "inner").mkdir(parents=True)
    closed.mkdir()
    shut(monkeypatch, closed, nested / "inner")
    read = read_folder(tmp_path)
    assert [home.home for home in read.homes] == ["good"]
    assert {item.home: item.reason for item in read.excluded} == {
        "closed": f"{closed} cannot be looked into: Permission denied",
        "nested": f"{nested / 'inner'} cannot be looked into: Permission denied",
    }
    assert all("let the user that runs this read" in item.hint for item in read.excluded)
    shut(monkeypatch, tmp_path)
    with pytest.raises(SourceError, match="cannot be looked into: Permission denied"):
        read_folder(tmp_path)


@pytest.mark.parametrize("name", ["meter.csv", "meters"])
def test_a_path_behind_a_closed_folder_is_told_by_what_the_system_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(_: Path) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", closed)
    with pytest.raises(SourceError, match=f"{name} cannot be looked into: Permission denied"):
        read_home(tmp_path / name)


def test_a_file_that_the_system_refuses_needs_no_other_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = csv_file(tmp_path, f"time,load\n{ROWS}", "meter.csv")

    def opened(_: Path, *__: object, **___: object) -> NoReturn:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(SourceError, match=r"meter\.csv cannot be read: Permission") as error:
        read_home(path)
    assert "let the user that runs this read it" in error.value.hint


def test_settings_of_homes_have_a_length(tmp_path: Path) -> None:
    """A hole of 5 GB, which takes no place on a disk, took all memory."""
    csv_file(tmp_path, f"time,load\n{ROWS}", "good.csv")
    (tmp_path / "homes.toml").write_bytes(b"")
    os.truncate(tmp_path / "homes.toml", 5 << 30)
    with pytest.raises(SourceError, match=r"homes\.toml is longer than"):
        read_folder(tmp_path)


def test_settings_of_homes_that_cannot_be_read_are_not_called_wrong(tmp_path: Path) -> None:
    csv_file(tmp_path, f"time,load\n{ROWS}", "good.csv")
    (tmp_path / "homes.toml").mkdir()
    with pytest.raises(SourceError, match=r"homes\.toml cannot be read: Is a directory"):
        read_folder(tmp_path)


def test_a_renamed_column_has_the_unit_that_its_new_name_tells(tmp_path: Path) -> None:
    """Its numbers were taken to be in the unit of another home's file."""
    text = "time,Außentemperatur,Temp [°F]\n2024-01-01T12:00Z,9.1,48\n2024-01-01T13:00Z,8.7,47\n"
    csv_file(tmp_path, text)
    rename = {"Außentemperatur": "outdoor_c", "Temp [°F]": "indoor_c"}
    read = read_home(tmp_path / "home.csv", settings=ReadingSettings(rename=rename))
    assert read.table.units == {"outdoor_c": "°C", "indoor_c": "°F"}
    other = ReadingSettings(rename={"Außentemperatur": "outdoor"})
    assert read_home(tmp_path / "home.csv", settings=other).table.units == {"Temp [°F]": "°F"}
