"""Files as devices and portals write them: read cell by cell, or refused by what they are."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fedhome.data.files.data_files import LAYOUT_HINT, Raw, is_data_file, read_files, stem
from fedhome.data.files.table_file import UNNAMED
from fedhome.data.homes_folder import read_folder
from fedhome.errors import SourceError
from fedhome.plan.settings import DataSettings

Cells = dict[str, list[Any]]
TIMES = [f"2024-01-01 {hour:02d}:00" for hour in range(6)]
LOADS = ["0.474", "0.515", "0.5", "1", "0.25", "0.75"]
TABLE = {"time": TIMES, "load": LOADS}
ROWS = "".join(f"{time},{load}\n" for time, load in zip(TIMES, LOADS, strict=True))
PLAIN = f"time,load\n{ROWS}"


def file_of(folder: Path, content: str | bytes, name: str = "home.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(folder: Path, content: str | bytes, name: str = "home.csv") -> Raw:
    return read_files(file_of(folder, content, name))


def cells(raw: Raw) -> Cells:
    return dict(raw.rows.to_pydict())


def refusal(folder: Path, content: str | bytes, name: str = "home.csv") -> SourceError:
    with pytest.raises(SourceError) as error:
        read(folder, content, name)
    assert error.value.hint
    return error.value


# --- encodings


@pytest.mark.parametrize(
    ("codec", "mark", "words"),
    [
        ("utf-8", b"", "UTF-8"),
        ("utf-8", b"\xef\xbb\xbf", "UTF-8"),
        ("utf-16-le", b"\xff\xfe", "UTF-16"),
        ("utf-16-be", b"\xfe\xff", "UTF-16"),
        ("utf-16-le", b"", "UTF-16 without a mark"),
        ("utf-16-be", b"", "UTF-16 without a mark"),
        ("utf-32-le", b"\xff\xfe\0\0", "UTF-32"),
    ],
)
def test_unicode_in_every_form(tmp_path: Path, codec: str, mark: bytes, words: str) -> None:
    text = PLAIN.replace("load", "Zähler °C €").replace("\n", "\r\n")
    raw = read(tmp_path, mark + text.encode(codec))
    assert cells(raw) == {"time": TIMES, "Zähler °C €": LOADS}
    assert raw.formats == (f"CSV, ',' between cells, {words}",)
    assert raw.notes == ()


def test_western_text_that_is_not_utf8_is_read_and_told(tmp_path: Path) -> None:
    raw = read(tmp_path, PLAIN.replace("load", "Stromzähler m³ €").encode("cp1252"))
    assert raw.rows.column_names == ["time", "Stromzähler m³ €"]
    assert len(raw.notes) == 1
    assert raw.notes[0].startswith("home.csv is not in UTF-8 and was read as Latin-1")


@pytest.mark.parametrize(
    "content",
    [
        "время,load\n".encode("cp1251"),
        "電力,load\n".encode("shift-jis"),
        "Zähler,".encode() + "Wärme\n".encode("cp1252"),
        b"\xef\xbb\xbf" + "Zähler,x\n".encode("cp1252"),
        b"time,load\n1,\0\0\0\0\0\n",
        "time,load\n".encode("utf-16") + b"x",
    ],
)
def test_text_in_an_encoding_that_cannot_be_told_is_refused(tmp_path: Path, content: bytes) -> None:
    assert "text in UTF" in refusal(tmp_path, content + b"").message


# --- separators and quoting


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_every_usual_separator_and_newline(tmp_path: Path, separator: str, newline: str) -> None:
    text = PLAIN.replace(",", separator).replace("\n", newline)
    assert cells(read(tmp_path, text)) == TABLE


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("time;load, kW;temp, °C\n2024-01-01;1,5;2,3\n2024-01-02;1,7;2,1\n", 3),
        ("time;load\n2024-01-01;0,5\n2024-01-02;0,7\n2024-01-03;0,9\n", 2),
        ("time,load,modes\n2024-01-01,1.5,a;b;c\n2024-01-02,1.6,a;b;c\n", 3),
        ("time\tload kW\n2024-01-01 00:00\t0,5\n2024-01-01 01:00\t0,7\n", 2),
        ('a,b\n"x;y","z;w"\n"x;y","z;w"\n', 2),
    ],
)
def test_the_separator_is_the_one_that_makes_sense_of_all_rows(
    tmp_path: Path, text: str, columns: int
) -> None:
    assert read(tmp_path, text).rows.num_columns == columns


def test_cells_stay_as_they_are_written(tmp_path: Path) -> None:
    text = 'a;b;c\n1,5;"x;y\nz";"say ""hi"""\n 2 ;;1.896,0\n'
    assert cells(read(tmp_path, text)) == {
        "a": ["1,5", " 2 "],
        "b": ["x;y\nz", ""],
        "c": ['say "hi"', "1.896,0"],
    }


def test_two_separators_that_make_sense_are_refused(tmp_path: Path) -> None:
    assert "both make sense" in refusal(tmp_path, "a;x,b\nu;v,w\no;p,q\n").message


def test_a_sep_line_is_obeyed(tmp_path: Path) -> None:
    assert cells(read(tmp_path, "sep=;\r\na;b\r\n1,5;2,5\r\n")) == {"a": ["1,5"], "b": ["2,5"]}
    assert cells(read(tmp_path, "sep=^\na^b\n1,5^2,5\n")) == {"a": ["1,5"], "b": ["2,5"]}


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time,load\n2024-01-01,1,5\n2024-01-02,1,6\n", "row 1 has 3 cells, but the header has 2"),
        ("load,temp\n1\n2\n3\n", "row 1 has 1 cells, but the header has 2"),
        ("load,temp\n1,2\n3,4,5\n", "row 2 has 3 cells, but the header has 2"),
        ('a,b\n"x"y,1\n', "quotation marks do not match"),
        ('a,b\n"x,1\n', "quotation marks do not match"),
        ('a,b\n"x \\"y\\" z",1\n', "with a backslash"),
        ("\n\n", "holds no row"),
        (",,,\n,,,\n", "no header row"),
        ('a,b\n1,"' + "x,y\n" * 400_000, "quotation marks do not match"),
        ("," * 30_000 + "x\n", "30001 columns"),
        ("a,a\n1,2\n", "several columns of the name 'a'"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_row(tmp_path: Path, text: str, message: str) -> None:
    assert message in refusal(tmp_path, text).message


# --- headers and what stands around them

PREAMBLE = """Name,JOHN DOE
Address,"123 MAIN ST, CITY CA"
Account Number,1234567890
Service,Service 1

TYPE,DATE,START TIME,USAGE (kWh),COST
Electric usage,2024-01-01,00:00,0.474,$0.14
Electric usage,2024-01-01,01:00,0.515,$0.15
Electric usage,2024-01-01,02:00,0.5,$0.15
"""


def test_lines_before_the_header_are_left_out_and_told(tmp_path: Path) -> None:
    raw = read(tmp_path, PREAMBLE)
    assert raw.rows.column_names == ["TYPE", "DATE", "START TIME", "USAGE (kWh)", "COST"]
    assert raw.rows.num_rows == 3
    assert raw.notes == ("home.csv: 4 lines before the header were left out",)
    assert raw.formats == ("CSV, ',' between cells, UTF-8, 4 lines before the header",)
    assert raw.location(1) == "home.csv, row 2"


@pytest.mark.parametrize(
    "lines",
    [
        "Kunde;Max Muster\nZählpunkt;AT0031000\nVertrag;1234567\nAdresse;Weg 1\n",
        "Max Muster, Wien\nWeg 1, 1010 Wien\n\n",
        "# from the portal\n# of 2024\n",
        "Export\n\n\n",
    ],
)
def test_lines_as_wide_as_the_table_are_no_header_either(tmp_path: Path, lines: str) -> None:
    rows = "".join(f"0{day}.01.2024 00:00;0,47{day}\n" for day in range(1, 8))
    raw = read(tmp_path, f"{lines}Zeit;Verbrauch\n{rows}")
    assert raw.rows.column_names == ["Zeit", "Verbrauch"]
    assert raw.rows["Verbrauch"].to_pylist() == [f"0,47{day}" for day in range(1, 8)]
    assert "before the header" in raw.notes[0]


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4\n",
        ROWS,
        "2024-01-01;unavailable\n2024-01-02;1,5\n2024-01-03;2\n",
        f"Export of 2024\n{ROWS}",
    ],
)
def test_a_file_without_a_header_is_refused(tmp_path: Path, text: str) -> None:
    assert "has no header row" in refusal(tmp_path, text).message


def test_names_may_be_numbers_or_clock_times(tmp_path: Path) -> None:
    raw = read(tmp_path, "date,1,2\n2024-01-01,5,6\n2024-01-02,7,8\n")
    assert raw.rows.column_names == ["date", "1", "2"]
    raw = read(tmp_path, "Customer,date,0:30,1:00\n1,1/07/2010,0.3,0.4\n1,2/07/2010,0.1,0.2\n")
    assert raw.rows.column_names == ["Customer", "date", "0:30", "1:00"]


def test_a_header_behind_a_hash_is_a_header(tmp_path: Path) -> None:
    assert cells(read(tmp_path, f"# time,load\n{ROWS}")) == TABLE


def test_a_header_of_several_lines_is_refused(tmp_path: Path) -> None:
    text = ",load,load\n,max,min\ntime,,\n2024-01-01,1,2\n2024-01-02,3,4\n"
    assert "several lines" in refusal(tmp_path, text).message


@pytest.mark.parametrize("units", [",kWh,°C", "[UTC],[kWh],[°C]", "YYYY-MM-DD,kWh,°C"])
def test_a_row_of_units_is_understood(tmp_path: Path, units: str) -> None:
    raw = read(tmp_path, f"time,load,temp\n{units}\n2024-01-01,1,2\n2024-01-02,3,4\n")
    assert cells(raw)["load"] == ["1", "3"]
    assert {name: raw.units[name] for name in ("load", "temp")} == {"load": "kWh", "temp": "°C"}
    assert "units below the header" in raw.formats[0]


@pytest.mark.parametrize("word", ["Datum", "TS"])
def test_a_row_of_units_with_a_word_for_the_time_names_no_column(tmp_path: Path, word: str) -> None:
    raw = read(tmp_path, f"Zeit,Warm,Strom\n{word},°C,kWh\n2024-01-01,1,2\n2024-01-02,3,4\n")
    assert cells(raw) == {"Zeit": ["2024-01-01", "2024-01-02"], "Warm": ["1", "3"]} | {
        "Strom": ["2", "4"]
    }
    assert raw.units == {"Warm": "°C", "Strom": "kWh"}
    assert "units below the header" in raw.formats[0]


@pytest.mark.parametrize("title", ["My home,,", "Home,Home,Graz", "Name,kWh,Graz"])
def test_columns_called_by_their_units_keep_these_names(tmp_path: Path, title: str) -> None:
    raw = read(tmp_path, f"{title}\nDatum,°C,kWh\n2024-01-01,1,2\n2024-01-02,3,4\n")
    assert list(cells(raw)) == ["Datum", "°C", "kWh"]


@pytest.mark.parametrize("number", [("RECORD,", "RN,", ",", "1,"), ("", "", "", "")])
def test_a_data_loggers_header_of_four_rows_is_understood(
    tmp_path: Path, number: tuple[str, str, str, str]
) -> None:
    name, unit, made, row = number
    head = (
        '"TOA5","CR1000","CR1000","1234","CR1000.Std.31","CPU:home.CR1","5678","Hourly"\n'
        f"TIMESTAMP,{name}AirT_Avg,Load_Tot\nTS,{unit}Deg C,kWh\n,{made}Avg,Tot\n"
    )
    rows = "".join(f'"2024-01-01 0{hour}:00:00",{row}{hour},5\n' for hour in range(4))
    raw = read(tmp_path, head + rows)
    assert cells(raw)["AirT_Avg"] == ["0", "1", "2", "3"]
    assert cells(raw)["Load_Tot"] == ["5"] * 4
    assert (raw.units["AirT_Avg"], raw.units["Load_Tot"]) == ("Deg C", "kWh")


def test_a_header_that_comes_again_is_left_out_and_told(tmp_path: Path) -> None:
    raw = read(tmp_path, PLAIN + PLAIN)
    assert cells(raw) == {"time": TIMES * 2, "load": LOADS * 2}
    assert raw.notes == ("home.csv: 1 line with the header again was left out",)
    assert raw.location(5) == "home.csv, row 6"
    assert raw.location(6) == "home.csv, row 8"


def test_blank_rows_and_comments_are_left_out_and_counted_as_rows(tmp_path: Path) -> None:
    raw = read(tmp_path, "time,load\n2024-01-01,1\n\n,\n# moved\n2024-01-02,2\n\n\n")
    assert cells(raw) == {"time": ["2024-01-01", "2024-01-02"], "load": ["1", "2"]}
    assert raw.notes == (
        "home.csv: 2 lines with nothing in them were left out",
        "home.csv: 1 line of comment (#) among the rows was left out",
    )
    assert [raw.location(row) for row in range(2)] == ["home.csv, row 1", "home.csv, row 5"]
    assert raw.taken(pa.array([1]).to_numpy()).location(0) == "home.csv, row 5"


@pytest.mark.parametrize("line", ["Total,,3.46", "Summe;12", "Total,3.46", "Average,x,y,z"])
def test_a_sum_at_the_end_is_left_out_and_told(tmp_path: Path, line: str) -> None:
    rows = "".join(f"2024-01-0{day},0.{day},A\n" for day in range(1, 8))
    raw = read(tmp_path, f"time,load,phase\n{rows}{line}\n")
    assert raw.rows.num_rows == 7
    assert "at the end, beginning as a sum, was left out" in raw.notes[0]


def test_a_sum_between_rows_is_refused(tmp_path: Path) -> None:
    rows = "".join(f"2024-01-0{day},0.{day},A\n" for day in range(1, 8))
    error = refusal(tmp_path, f"time,load,phase\n{rows}Total,5\n{rows}")
    assert "row 8 has another number of cells" in error.message


def test_columns_without_a_name(tmp_path: Path) -> None:
    raw = read(tmp_path, ",load,,temp,\n2024-01-01,1,,2,\n2024-01-02,3,,4,\n")
    assert raw.rows.column_names == [UNNAMED, "load", "temp"]
    assert raw.notes == ()
    raw = read(tmp_path, ",load,,temp,\n2024-01-01,1,x,2,y\n2024-01-02,3,,4,\n")
    assert raw.rows.column_names == [UNNAMED, "load", f"{UNNAMED} 2", "temp"]
    assert "a column without a name behind the last one was left out" in raw.notes[0]
    raw = read(tmp_path, "time,,\n2024-01-01,1,x\n2024-01-02,3,y\n")
    assert "2 columns without a name behind the last one were left out" in raw.notes[0]


@pytest.mark.parametrize("header", ["a;b", "a;b;", "a;b;;"])
def test_separators_at_the_end_of_rows(tmp_path: Path, header: str) -> None:
    assert cells(read(tmp_path, f"{header}\n1;2;\n3;4;\n")) == {"a": ["1", "3"], "b": ["2", "4"]}


# --- InfluxDB

INFLUX = """#group,false,false,false,false,true
#datatype,string,long,dateTime:RFC3339,double,string
#default,mean,,,,
,result,table,_time,_value,_field
,,0,2024-01-01T00:00:00Z,1.5,power
,,0,2024-01-01T01:00:00Z,1.6,power
"""


def test_influx_annotations(tmp_path: Path) -> None:
    raw = read(tmp_path, INFLUX)
    assert raw.rows.column_names == ["result", "table", "_time", "_value", "_field"]
    assert cells(raw)["result"] == ["mean", "mean"]
    assert raw.formats == ("InfluxDB's annotated CSV, UTF-8",)


def test_several_influx_tables_of_the_same_columns_are_one(tmp_path: Path) -> None:
    raw = read(tmp_path, f"{INFLUX}\n{INFLUX}".replace("\n", "\r\n"))
    assert cells(raw)["_value"] == ["1.5", "1.6"] * 2


@pytest.mark.parametrize(
    "other", [INFLUX.replace("_field", "room"), INFLUX.replace("_field", "a,b")]
)
def test_several_influx_tables_of_other_columns_are_refused(tmp_path: Path, other: str) -> None:
    refusal(tmp_path, f"{INFLUX}\n{other}")


# --- packed files


def test_gzip_and_zip(tmp_path: Path) -> None:
    assert cells(read(tmp_path, gzip.compress(PLAIN.encode(), mtime=0), "h.tsv.gz")) == TABLE
    raw = read(tmp_path, zipped({"x/readings.csv": PLAIN, "__MACOSX/._r.csv": "x"}), "h.zip")
    assert cells(raw) == TABLE
    assert raw.formats == ("CSV, ',' between cells, UTF-8, in zip",)


def zipped(members: dict[str, str | bytes], packing: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", packing) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def test_the_files_of_an_archive_are_one_home(tmp_path: Path) -> None:
    content = zipped({"b.csv": PLAIN, "a.csv": PLAIN, "readme.txt": "hello"})
    raw = read(tmp_path, content, "h.zip")
    assert raw.files == (("h.zip/a.csv", 6), ("h.zip/b.csv", 6))
    assert raw.location(7) == "h.zip/b.csv, row 2"
    assert raw.notes == ("h.zip: 1 file in it without a table was left out",)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("h.csv.gz", gzip.compress(b"time,load\n" + b"0,0\n" * 2**23, mtime=0)),
        ("h.zip", zipped({"a.csv": b"time,load\n" + b"0,0\n" * 2**23})),
    ],
)
def test_what_unfolds_without_measure_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    assert "200 times its size" in refusal(tmp_path, content, name).message


def test_archives_without_a_table_are_refused(tmp_path: Path) -> None:
    assert "no CSV" in refusal(tmp_path, zipped({"inner.zip": zipped({})}), "h.zip").message
    assert "no CSV" in refusal(tmp_path, zipped({}), "h.zip").message
    locked = bytearray(zipped({"a.csv": PLAIN}))
    locked[6] |= 1
    locked[locked.index(b"PK\1\2") + 8] |= 1
    assert "password" in refusal(tmp_path, bytes(locked), "h.zip").message


def test_an_archive_with_a_file_of_no_name_is_refused(tmp_path: Path) -> None:
    named = zipped({"a.csv": PLAIN})
    entry = named.index(b"PK\1\2")
    nameless = bytearray(named[: entry + 46] + named[entry + 46 + len("a.csv") :])
    nameless[entry + 28] = 0
    end = nameless.index(b"PK\5\6")
    nameless[end + 12] -= len("a.csv")
    for name in ("h.zip", "h.xlsx"):
        assert "not a whole" in refusal(tmp_path, bytes(nameless), name).message


# --- other files


def database(folder: Path) -> bytes:
    path = folder / "db"
    connection = sqlite3.connect(path)
    connection.execute("create table readings (load real)")
    connection.commit()
    connection.close()
    return path.read_bytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'<?xml version="1.0"?><feed xmlns:espi="http://naesb.org/espi">', "Green Button"),
        (b"<?xml version='1.0'?><readings/>", "an XML file"),
        (b"\n<!DOCTYPE html><html><body>login</body></html>", "an HTML page"),
        (json.dumps([{"time": 1, "load": 2}]).encode(), "a JSON file"),
        (json.dumps({"data": []}, indent=1).encode(), "a JSON file"),
        (b"%PDF-1.7\n", "a PDF document"),
        (pickle.dumps({"time": [1]}), "a Python pickle"),
        (pickle.dumps([1.5] * 4, protocol=2), "a Python pickle"),
        (gzip.compress(b"a,b\n", mtime=0), "a gzip file"),
        (zipped({"a.csv": PLAIN}), "a zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "an old Excel workbook"),
        (b"PAR1" + b"\0" * 20, "a Parquet file"),
        (b"", "empty"),
    ],
)
def test_a_file_of_another_kind_is_called_by_its_name(
    tmp_path: Path, content: bytes, words: str
) -> None:
    assert words in refusal(tmp_path, content).message


def test_a_database_is_called_by_its_name(tmp_path: Path) -> None:
    assert "an SQLite database" in refusal(tmp_path, database(tmp_path)).message


def test_a_column_in_brackets_is_no_json(tmp_path: Path) -> None:
    raw = read(tmp_path, "[time],[load]\n2024-01-01,1\n2024-01-02,2\n")
    assert raw.rows.column_names == ["[time]", "[load]"]


def test_a_text_file_is_data_if_a_table_stands_in_it(tmp_path: Path) -> None:
    assert is_data_file(file_of(tmp_path, PLAIN.replace(",", ";"), "power.txt"))
    assert not is_data_file(file_of(tmp_path, "Hello, this is\na note; read it.\n", "readme.txt"))
    assert not is_data_file(file_of(tmp_path, "{}", "a.json"))
    assert stem(Path("x.csv.gz")) == stem(Path("x.zip")) == stem(Path("x.XLSX")) == "x"


def test_a_folder_without_tables_says_what_it_holds(tmp_path: Path) -> None:
    file_of(tmp_path, b'{"a": 1}', "a.json")
    with pytest.raises(SourceError, match="holds no file of readings") as error:
        read_files(tmp_path)
    assert "a.json is a JSON file" in error.value.hint


def test_units_that_differ_between_files_are_refused(tmp_path: Path) -> None:
    for name, unit in (("a.csv", "kWh"), ("b.csv", "Wh")):
        file_of(tmp_path, f"time,load\n,{unit}\n{ROWS}", name)
    with pytest.raises(SourceError, match="in Wh, a file before it in kWh"):
        read_files(tmp_path)


# --- Parquet


def parquet(columns: dict[str, Any], **options: Any) -> bytes:
    content = io.BytesIO()
    pq.write_table(pa.table(columns), content, **options)
    return content.getvalue()


def test_parquet_by_groups_of_rows(tmp_path: Path) -> None:
    columns = {
        "load": pa.array(range(100), pa.float64()),
        "mode": pa.array(["heat", None] * 50).dictionary_encode(),
        "more": pa.array([[1]] * 100),
        "raw": pa.array([b"x"] * 100),
    }
    raw = read(tmp_path, parquet(columns, row_group_size=7), "h.parquet")
    assert raw.rows.column_names == ["load", "mode"]
    assert raw.rows["load"].to_pylist() == list(range(100))
    assert raw.rows["mode"].to_pylist() == ["heat", None] * 50
    assert raw.notes == (
        "h.parquet: left out, because they hold neither numbers nor text: more, raw",
    )
    assert raw.formats == ("Parquet",)
    assert read(tmp_path, parquet({"load": pa.array([], "f8")}), "e.parquet").rows.num_rows == 0


@pytest.mark.long
def test_a_parquet_file_that_swells_is_refused(tmp_path: Path) -> None:
    many = parquet({"load": pa.array([0.0]).take(pa.array([0] * 2**24)), **{
        str(place): pa.nulls(2**24, pa.int64()) for place in range(4)}})  # fmt: skip
    long = parquet({"word": pa.DictionaryArray.from_arrays([0] * 2**16, ["x" * 2**16])})
    for content in (many, long):
        assert len(content) < 2**20
        assert "200 times its size" in refusal(tmp_path, content, "h.parquet").message


def test_parquet_in_an_archive(tmp_path: Path) -> None:
    content = zipped({"a.parquet": parquet({"load": [1.5]})})
    assert cells(read(tmp_path, content, "h.zip")) == {"load": [1.5]}


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.dat", b'{"time": {"0": "2024-03-01T00:00Z"}, "lux": {"0": 4}}', "a JSON file"),
        ("a.xml", b'<?xml version="1.0"?><feed xmlns="http://naesb.org/espi">', "a Green Button"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "an old Excel workbook"),
        ("a.bak", b"SQLite format 3\0", "an SQLite database"),
        (
            "a.ods",
            b"PK\x03\x04" + bytes(26) + b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet",
            "an OpenDocument file",
        ),
    ],
)
def test_a_file_of_another_name_is_refused_as_what_it_is(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    """All were told to be no file of readings, and what a folder of these looks like."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"is no file of readings: it is {what}") as caught:
        read_folder(path, DataSettings(source=str(path)))
    assert caught.value.hint != LAYOUT_HINT
    (tmp_path / "a.odd").write_bytes(b"\0\1")
    log = b"[2024-09-20 00:00:00] info: z2m:mqtt: MQTT publish: topic 'z2m/plug', payload '{}'\n"
    (tmp_path / "a.log").write_bytes(log)
    with pytest.raises(SourceError, match="is no folder, and no file of readings"):
        read_folder(tmp_path / "a.log", DataSettings(source=str(tmp_path / "a.log")))
    with pytest.raises(SourceError, match="is no folder, and no file of readings"):
        read_folder(tmp_path / "a.odd", DataSettings(source="a.odd"))
