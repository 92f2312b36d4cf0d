"""What a file is, by its first bytes: formats that hold no table are refused by their name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from fedhome.data.files.table_file import TEXT_HINT, unreadable
from fedhome.errors import SourceError


class FileKind(NamedTuple):
    """A kind of file.

    Args:
        words: What it is called, after "it is".
        hint: What to do with it.
    """

    words: str
    hint: str


HEAD_BYTES = 1024
"""How many bytes of a file's beginning tell its kind."""

_RENAME = "give the file the suffix of what it is: "
_EXPORT = "export it as CSV from the program that wrote it"
_UNPACK = "unpack it, or pack it as .csv.gz or .zip"
_PICKLE = "load it where it was made, and save it with DataFrame.to_parquet or to_csv"
_PORTAL = "choose CSV as the format where you download it"
GZIP = FileKind("a gzip file", f"{_RENAME}.csv.gz or .jsonl.gz, or unpack it")
ZIP = FileKind("a zip archive", f"{_RENAME}.zip, or .xlsx if it is a workbook")
PARQUET = FileKind("a Parquet file", f"{_RENAME}.parquet")
_PAGE = FileKind("an HTML page, not the data", f"{_PORTAL}; you may have saved the page itself")
JSON = FileKind(
    "a JSON file",
    "name it .json or .jsonl where it holds an object of single values for each reading; convert "
    "it to such objects where it holds anything else, or to CSV with one row a reading",
)
_JSON_HINT = "save it as JSON in UTF-8, an object for each reading, or as CSV with a header row"
_XML = FileKind("an XML file", f"{_PORTAL}, or convert it: one row a reading")
_GREEN_BUTTON = FileKind("a Green Button file (XML)", f"{_PORTAL}: portals offer both")
_NEM12 = FileKind(
    "a NEM12 file, in which a row holds the readings of a day",
    "convert it to a row a reading: the package nemreader does so",
)
SQLITE = FileKind(
    "an SQLite database",
    "Home Assistant's (home-assistant_v2.db) is read as it is, under a name that ends with .db; of "
    "another one export the table of readings as CSV: sqlite3 -readonly -csv -header FILE "
    '"SELECT * FROM readings" > readings.csv',
)
_TAR = FileKind("a tar archive", _UNPACK)
_MQTT = FileKind(
    "messages of MQTT as they were shown",
    "have them written as JSON, a line with its time for each: mosquitto_sub -t TOPIC -F %J; "
    "what is read of such a file is told, with a command that lays its payload flat",
)
_DRAWN = FileKind(
    "a table drawn for people to look at",
    "let the program write CSV: psql --csv, sqlite3 -csv -header; mysql --batch writes tabs (.tsv)",
)
_LINE_PROTOCOL = FileKind(
    "InfluxDB's line protocol, which is no table",
    'export it as CSV: `influx query --raw` writes one, of which data.time = "_time" and '
    'data.pivot = ["_field", "_value"] make a row for each time',
)

_BY_BYTES: tuple[tuple[bytes, FileKind], ...] = (
    (b"\x1f\x8b", GZIP),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"PAR1", PARQUET),
    (b"PARE", FileKind("an encrypted Parquet file", "save it without encryption")),
    (b"SQLite format 3\0", SQLITE),
    (b"%PDF", FileKind("a PDF document", _PORTAL)),
    (b"\xd0\xcf\x11\xe0", FileKind("an old Excel workbook (.xls)", "save it as .xlsx or as CSV")),
    (b"\x89HDF", FileKind("an HDF5 file", "save its table as Parquet")),
    (b"ARROW1", FileKind("an Arrow (Feather) file", "save it as Parquet")),
    (b"FEA1", FileKind("a Feather file", "save it as Parquet")),
    (b"ORC", FileKind("an ORC file", "save it as Parquet")),
    (b"Obj\x01", FileKind("an Avro file", "save it as Parquet")),
    (b"\x93NUMPY", FileKind("a NumPy array", "save it as CSV with a header row")),
    (b"MATLAB 5.0", FileKind("a MATLAB file", _EXPORT)),
    (b"BZh", FileKind("a bzip2 file", _UNPACK)),
    (b"\xfd7zXZ\0", FileKind("an xz file", _UNPACK)),
    (b"(\xb5/\xfd", FileKind("a Zstandard file", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", FileKind("a 7-Zip archive", _UNPACK)),
    (b"Rar!", FileKind("a RAR archive", _UNPACK)),
    (b"\x89PNG", FileKind("a picture", "give the readings themselves, as CSV")),
    (b"\xff\xd8\xff", FileKind("a picture", "give the readings themselves, as CSV")),
    (b"{\\rtf", FileKind("a text document (RTF)", _EXPORT)),
    (b"100,NEM12,", _NEM12),
    (b"version https://git-lfs", FileKind("a Git LFS pointer, not the data", "run git lfs pull")),
)
_PICKLED = re.compile(rb"\x80[\x02-\x05](\x95|[c}\]\(X])", re.DOTALL)
# "[2024-09-20 00:00:00] info:" begins a line of a program's log.
_JSON_START = re.compile(rb"\{\s*(\"|\})|\[\s*(?!\d{4}-\d)([\[{\"\d\]-]|true|false|null)")
_WORD = rb"(?:\\.|[^\s,=\\])+"  # a blank, comma or = in it stands behind a backslash
_FIELD = rb"%s=(?:\"(?:\\.|[^\"\\\n])*\"|[^\s,=\"]+)" % _WORD
# A measurement, its tags, fields, and the time: power,room=kitchen value=0.4 1714521600000000000
_LINE = re.compile(rb"%s(?:,%s=%s)* %s(?:,%s)* \d{10,19}" % (_WORD, _WORD, _WORD, _FIELD, _FIELD))
_OPEN_DOCUMENT = b"mimetypeapplication/vnd.oasis.opendocument"
_HEAD_OF_ZIP = 100
_TAR_MARK = slice(257, 262)
# zigbee2mqtt/kitchen {"temperature": 20.5}
_TOPIC = re.compile(rb"[^\s{},;\"]+ \{\s*\"")
# A line of what is drawn: ----+----, +----+----+ or |---|---|
_RULE = re.compile(rb"(?=\||[^\n]*\+)(?=[^\n]*---)[-+|: ]+")
_LOOKED_AT = 3  # lines from the first on, one of which is the rule


def kind_of(head: bytes) -> FileKind | None:
    """Return what a file is, if its first bytes say that it is no text table.

    Args:
        head: The first :data:`HEAD_BYTES` bytes of the file.
    """
    if _OPEN_DOCUMENT in head[:_HEAD_OF_ZIP]:
        return FileKind("an OpenDocument file (.ods)", "save it as .xlsx or as CSV")
    for start, kind in _BY_BYTES:
        if head.startswith(start):
            return kind
    if _PICKLED.match(head):
        return FileKind("a Python pickle", _PICKLE)
    if head[_TAR_MARK] == b"ustar":
        return _TAR
    return _kind_of_text(head)


def _kind_of_text(head: bytes) -> FileKind | None:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return _PAGE
    if text.startswith(b"<"):
        if b"espi" in text or b"green" in text:
            return _GREEN_BUTTON
        return _PAGE if b"<html" in text or b"<table" in text else _XML
    # "[kWh]" may be a column's name, and "[1, 2]" no row of a table.
    return _kind_of_lines(text) or (JSON if _JSON_START.match(text) else None)


def _kind_of_lines(text: bytes) -> FileKind | None:
    lines = map(bytes.strip, text.splitlines())
    first = [line for line in lines if line and line[:1] != b"#"][:_LOOKED_AT]
    if not first:
        return None
    if _LINE.fullmatch(first[0]):
        return _LINE_PROTOCOL
    if all(map(_TOPIC.match, first)):
        return _MQTT
    return _DRAWN if any(map(_RULE.fullmatch, first)) else None


def not_read(path: Path, hint: str) -> SourceError:
    """Return the error for a file whose name is none of those that are read.

    Args:
        path: The file.
        hint: What to do where its first bytes do not tell what it is.
    """
    try:
        with path.open("rb") as stream:
            kind = kind_of(stream.read(HEAD_BYTES))
    except OSError:
        kind = None
    if kind is GZIP and path.name.lower().endswith((".tar.gz", ".tgz")):
        kind = _TAR
    if kind is None:
        return SourceError(f"{path} is no folder, and no file of readings", hint=hint)
    return SourceError(f"{path} is no file of readings: it is {kind.words}", hint=kind.hint)


def refuse_other_kinds(name: str, head: bytes, wanted: FileKind | None) -> None:
    """Refuse a file that is not of the kind that its name says.

    Args:
        name: The file's name.
        head: Its first bytes.
        wanted: What it should be; None for text.

    Raises:
        SourceError: It is something else.
    """
    if not head:
        raise unreadable(name, "it is empty")
    kind = kind_of(head)
    if wanted is None and kind is not None:
        raise unreadable(name, f"it is {kind.words}", hint=kind.hint)
    if wanted is not None and kind != wanted:
        found = f", but {kind.words}" if kind else ""
        whole = wanted.words.replace("a ", "a whole ", 1)
        as_it_is = _JSON_HINT if wanted is JSON else TEXT_HINT
        raise unreadable(name, f"it is not {whole}{found}", hint=kind.hint if kind else as_it_is)
