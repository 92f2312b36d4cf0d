"""Workbooks: sheets of readings as tables, and what would swell in memory."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from fedhome.data.files.data_files import Raw, read_files
from fedhome.errors import SourceError
from helpers.sheets import Cell, sheet_xml, workbook

pytest.importorskip("python_calamine", reason="workbooks need the extra xlsx")

START = datetime(2024, 1, 1)  # noqa: DTZ001  (sheets know no zones)
TIMES = [START + place * timedelta(minutes=5) for place in range(300)]
TABLE: list[list[Cell]] = [
    ["time", "load", "door", "mode"],
    *([time, 0.474 + place, place % 2 == 0, "heat"] for place, time in enumerate(TIMES)),
]


def read(folder: Path, content: bytes) -> Raw:
    path = folder / "home.xlsx"
    path.write_bytes(content)
    return read_files(path)


def test_times_numbers_and_flags_come_as_they_are_typed(tmp_path: Path) -> None:
    raw = read(tmp_path, workbook({"readings": sheet_xml(TABLE)}))
    columns = raw.rows.to_pydict()
    assert columns["time"] == TIMES  # exactly: fractions of a day are rounded
    assert columns["load"] == [0.474 + place for place in range(300)]
    assert columns["door"] == [True, False] * 150
    assert columns["mode"] == ["heat"] * 300
    assert raw.files == (("home.xlsx, sheet readings", 300),)
    assert raw.formats == ("workbook (.xlsx)",)
    assert raw.notes == ()


def test_what_stands_around_the_table_is_left_out_and_told(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [
        ["Meter 7"],
        ["Customer", "John"],
        [],
        TABLE[0],
        [None, "kWh"],
        *TABLE[1:4],
        [],
        *TABLE[4:9],
        ["Total", 123.0],
    ]
    raw = read(tmp_path, workbook({"readings": sheet_xml(rows)}))
    assert raw.rows["time"].to_pylist() == TIMES[:8]
    assert raw.units == {"load": "kWh"}
    assert raw.location(7) == "home.xlsx, sheet readings, row 9"
    assert raw.notes == (
        "home.xlsx, sheet readings: lines with nothing or the header in them were left out",
        "home.xlsx, sheet readings: 2 lines before the header were left out",
        "home.xlsx, sheet readings: 1 line at the end, beginning as a sum, was left out",
    )


def test_words_among_numbers_make_a_column_of_text(tmp_path: Path) -> None:
    rows = [["time", "load"], [TIMES[0], 1.5], [TIMES[1], "unavailable"], [TIMES[2], 2.0]]
    raw = read(tmp_path, workbook({"a": sheet_xml(rows)}))
    assert raw.rows["load"].to_pylist() == ["1.5", "unavailable", "2"]


def test_sheets_of_the_same_columns_are_one_table(tmp_path: Path) -> None:
    sheets = {
        "Jan": sheet_xml(TABLE[:5]),
        "Feb": sheet_xml([TABLE[0], *TABLE[5:9]]),
        "old": sheet_xml([["x"], [1.0]]),
        "empty": sheet_xml([]),
    }
    raw = read(tmp_path, workbook(sheets, hidden=["old"]))
    assert raw.rows["time"].to_pylist() == TIMES[:8]
    assert raw.notes == ("home.xlsx: hidden sheets were left out: old",)


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    "info",
    [
        [["Customer", "Smith"], ["Meter", 4711.0], ["Until", TIMES[9]]],
        [["From", TIMES[0]], ["Until", TIMES[9]]],
        [
            ["Name", "Smith"],
            ["Point", "AT00"],
            ["Span", "01.03.2024 - 04.03.2024"],
            ["By", TIMES[9]],
        ],
        [["Export"], ["of all readings"]],
        [["Month", "kWh"], ["March", 34.5], ["April", 31.25], ["May", 28.0]],
        [["W", "measured"], ["E", "estimated"]],
    ],
)
def test_sheets_without_times_are_no_readings(
    tmp_path: Path, info: list[list[Cell]], place: int
) -> None:
    """Such a workbook was refused: its sheets hold different tables."""
    sheets = [("readings", sheet_xml(TABLE)), ("about", sheet_xml(info))]
    raw = read(tmp_path, workbook(dict(sheets[:: 1 - 2 * place])))
    assert raw.rows["time"].to_pylist() == TIMES
    assert raw.notes == ("home.xlsx: sheets without a column of times were left out: about",)


def test_a_sheet_of_readings_is_none_beside_whatever_its_times_are(tmp_path: Path) -> None:
    """A month whose days a spreadsheet shows as numbers was left out as a sheet without times."""
    days: list[list[Cell]] = [[45_322.0 + place / 24, 0.5, True, "heat"] for place in range(48)]
    sheets = {"Jan": sheet_xml(TABLE), "Feb": sheet_xml([TABLE[0], *days])}
    with pytest.raises(SourceError, match="disagree about what their columns hold"):
        read(tmp_path, workbook(sheets))
    later = {"Jan": sheet_xml(TABLE), "Feb": sheet_xml(TABLE[:1])}
    raw = read(tmp_path, workbook(later))
    assert raw.notes == ("home.xlsx: sheets without a column of times were left out: Feb",)


def test_sheets_of_other_columns_are_refused(tmp_path: Path) -> None:
    sheets = {"a": sheet_xml(TABLE), "b": sheet_xml([["time", "x"], [TIMES[0], 1.0]])}
    with pytest.raises(SourceError, match="tables, each with a column of times: a and b") as caught:
        read(tmp_path, workbook(sheets))
    assert "take the other sheets out" in caught.value.hint
    words = {"a": sheet_xml([["x"], [1.0]]), "b": sheet_xml([["y"], [2.0]])}
    with pytest.raises(SourceError, match="different tables, and none has a column of times"):
        read(tmp_path, workbook(words))


@pytest.mark.parametrize(
    ("sheet", "fault"),
    [
        (TABLE[1:], "no header row"),  # the first one's table goes on
        ([["time", "load", "load", "mode"], *TABLE[1:]], "several columns of the name 'load'"),
    ],
)
def test_readings_that_cannot_be_read_are_no_sheet_beside(
    tmp_path: Path, sheet: list[list[Cell]], fault: str
) -> None:
    """They were left out as a sheet without a table, and the others were read."""
    with pytest.raises(SourceError, match=f"sheet b has {fault}"):
        read(tmp_path, workbook({"a": sheet_xml(TABLE), "b": sheet_xml(sheet)}))


def test_without_the_library_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    with pytest.raises(SourceError, match="not installed") as error:
        read(tmp_path, workbook({"a": sheet_xml(TABLE)}))
    assert "fedhome[xlsx]" in error.value.hint


FAR = sheet_xml(TABLE).replace(
    "</sheetData>", '<row><c r="XFD1048576"><v>1</v></c></row></sheetData>'
)
DEEP = sheet_xml(TABLE).replace(
    "</sheetData>", '<row r="9999999"><c><v>1</v></c></row></sheetData>'
)
SHARED = sheet_xml([["a"]]).replace("</row>", "</row>" + '<row><c t="s"><v>0</v></c></row>' * 10**5)
STRINGS = f"<sst><si><t>{'x' * 10**6}</t></si></sst>"


@pytest.mark.long
@pytest.mark.parametrize(
    ("sheet", "strings"),
    [(FAR, ""), (DEEP, ""), (SHARED, STRINGS), (sheet_xml([["x" * 2**26]]), "")],
)
def test_a_workbook_that_would_swell_is_refused(tmp_path: Path, sheet: str, strings: str) -> None:
    with pytest.raises(SourceError, match="200 times its size"):
        read(tmp_path, workbook({"a": sheet}, strings=strings))


@pytest.mark.parametrize("content", [b"PK\3\4 and no more", workbook({"a": "<worksheet>"})])
def test_a_torn_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match="not a whole workbook"):
        read(tmp_path, content)
