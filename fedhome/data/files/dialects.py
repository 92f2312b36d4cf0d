"""How a text table is written: separator, lines before the header, header, units below it."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from fedhome.data.files.blank_cells import is_separated_by_blanks
from fedhome.data.files.header_rows import (
    CellKind,
    Header,
    find_header,
    kind_of_cell,
    kinds_of_columns,
)
from fedhome.data.files.table_file import uneven, unreadable
from fedhome.errors import SourceError

HEAD_CHARS = 1 << 20
"""How much of a file's start is looked at."""
SEPARATORS = {",": "CSV, ',' between cells", ";": "CSV, ';' between cells", "\t": "tabs between "
              "cells", "|": "'|' between cells"}  # fmt: skip
_MOST_ROWS = 400
_SEP_LINE = re.compile(r'"?sep=([,;\t|^~:])"?\s*', re.IGNORECASE)
_ANNOTATION = re.compile(r"#(group|datatype|default|constant)\b")
_NO_HEADER_HINT = (
    "write a line with a name for every column above the readings; other lines, if any, "
    "stand above it"
)
_CLEAR = 0.5  # how near the second-best separator may come


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How a text table is written.

    Args:
        separator: Sign between the cells.
        header: The header's cells as they are written.
        names: The same without blanks around them.
        below: Rows between the header and the readings that say what its columns are, such as one
            of units.
        units: Units by place of the column.
        kinds: What most cells of a column look like.
        body: Where the readings begin: characters from the start of the text.
        before: Lines before the header that hold something.
        share: Share of the first rows that are as long as most of them.
        annotations: Cells of InfluxDB's lines above the header, by their first word.
    """

    separator: str
    header: tuple[str, ...]
    names: tuple[str, ...]
    below: tuple[tuple[str, ...], ...] = ()
    units: dict[int, str] = field(default_factory=dict)
    kinds: tuple[CellKind | None, ...]
    body: int
    before: int = 0
    share: float
    annotations: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Lead:
    """What stands at the very start of a text: its separator, comments, where they end."""

    separator: str
    comments: tuple[str, ...]
    end: int


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A text read with one separator."""

    separator: str
    records: list[list[str]]
    ends: list[int]
    width: int
    places: list[int]  # of the records of that width
    kinds: list[CellKind | None]
    header: Header | None
    share: float
    typed: float
    clean: float

    @property
    def rank(self) -> tuple[bool, float, float, float, int]:
        return (
            self.header is not None,
            self.typed * self.share,
            self.share,
            self.clean,
            self.width,
        )


def find_dialect(text: str, *, file: str, whole: bool) -> Dialect:
    """Return how a text table is written.

    Every usual separator is tried on the first rows; the one with which they are rows of equal
    length, of numbers and times below words, is the separator.

    Args:
        text: The file's start, up to the end of a line.
        file: The file's name, for messages.
        whole: Whether it is all of the file.

    Raises:
        SourceError: There is no header, or no separator that makes sense.
    """
    lead = _lead(text)
    signs = lead.separator or "".join(SEPARATORS)
    found = [_candidate(text[lead.end :], sign, whole=whole) for sign in signs]
    candidates = [candidate for candidate in found if isinstance(candidate, _Candidate)]
    several = [candidate for candidate in candidates if candidate.width > 1]
    if not several and not lead.separator and is_separated_by_blanks(text[lead.end :]):
        raise unreadable(
            file,
            "its cells are separated by blanks",
            hint="write a comma, a semicolon or a tab between the cells, and a line with a name "
            "for every column above them",
        )
    if not several and "torn" in found:
        raise unreadable(
            file,
            "its quotation marks do not match",
            hint="close every quotation mark, and double those within cells",
        )
    if not candidates:
        what = "it" if whole else f"its first {HEAD_CHARS} bytes"
        raise unreadable(file, f"{what} hold{'s' if whole else ''} no row of a table")
    if not several:
        return _dialect(file, text, lead, _single(file, candidates))
    best, *others = sorted(several, key=lambda candidate: candidate.rank, reverse=True)
    for other in others:
        if _as_good(other, best):
            raise unreadable(
                file,
                f"its cells are separated by {best.separator!r} or by {other.separator!r}, "
                "and both make sense",
                hint="put cells that hold such a sign between quotation marks",
            )
    return _dialect(file, text, lead, best)


def _as_good(other: _Candidate, best: _Candidate) -> bool:
    return (
        best.clean < 1
        and other.header is not None
        and other.share >= best.share
        and other.typed >= _CLEAR * best.typed
    )


def _lead(text: str) -> _Lead:
    separator, end = "", 0
    comments: list[str] = []
    for line in io.StringIO(text, newline=""):
        sep = _SEP_LINE.fullmatch(line.rstrip("\r\n"))
        if sep and not separator and not comments:
            separator = sep[1]
        elif line.startswith("#"):
            comments.append(line)
        elif line.strip():
            break
        end += len(line)
    return _Lead(separator=separator, comments=tuple(comments), end=end)


def _candidate(text: str, separator: str, *, whole: bool) -> _Candidate | Literal["torn", "empty"]:
    """Return a text read with a separator, or why it cannot be."""
    lines = io.StringIO(text, newline="")
    records: list[list[str]] = []
    ends: list[int] = []
    try:
        reader = csv.reader(lines, delimiter=separator, strict=True)
        for record in reader:
            is_comment = len(record) == 1 and bool(records) and record[0].startswith("#")
            if not is_comment and any(cell.strip() for cell in record):
                records.append(record)
                ends.append(reader.line_num)
            if len(records) >= _MOST_ROWS:
                break
    except csv.Error:
        # A text that was cut may end within quotation marks.
        if whole or lines.read(1) or not records:
            return "torn"
    if not records:
        return "empty"
    counts = Counter(len(record) for record in records)
    width = max(counts, key=lambda width: (counts[width], width))
    _pad(records, width)
    places = [place for place, record in enumerate(records) if len(record) == width]
    rows = [records[place] for place in places]
    kinds = kinds_of_columns(rows, width)
    body = [cell for row in rows[len(rows) // 2 :] for cell in row if cell]
    others = "".join(SEPARATORS).replace(separator, "")
    typed = sum(kind_of_cell(cell) in {"number", "time"} for cell in body)
    clean = sum(
        not any(sign in cell for sign in others)
        or ("\t" not in cell and kind_of_cell(cell) in {"number", "time"})
        for cell in body
    )
    return _Candidate(
        separator=separator,
        records=records,
        ends=ends,
        width=width,
        places=places,
        kinds=kinds,
        header=find_header(rows, kinds),
        share=len(rows) / len(records),
        typed=typed / max(1, len(body)),
        clean=clean / max(1, len(body)),
    )


def _pad(records: list[list[str]], width: int) -> None:
    """Bring the first rows to the others' width, where only separators at the end differ."""
    first = next((place for place, row in enumerate(records) if len(row) == width), 0)
    trailing = width > 1 and all(not row[-1] for row in records if len(row) == width)
    for place in range(min(first + 1, len(records))):
        row = records[place]
        if len(row) == width - 1 and width > 2 and trailing:  # noqa: PLR2004
            row.append("")
        elif len(row) > width > 1 and not any(row[width:]):
            del row[width:]


def _single(file: str, candidates: Sequence[_Candidate]) -> _Candidate:
    """Return the reading of a text as one column; its header must not be one of several."""
    best = next((one for one in candidates if one.separator == ","), candidates[0])
    for one in candidates:
        if len(one.records[0]) > 1:
            raise uneven(file, row=1, cells=1, names=len(one.records[0]))
    return best


def _dialect(file: str, text: str, lead: _Lead, best: _Candidate) -> Dialect:
    header = best.header
    if header is None and (names := _commented(lead, best)):
        return Dialect(
            separator=best.separator,
            header=names,
            names=names,
            kinds=tuple(best.kinds),
            body=lead.end,
            before=len(lead.comments) - 1,
            share=best.share,
        )
    if header is None:
        first = best.records[0]
        if 1 < len(first) != best.width and all(kind_of_cell(cell) == "word" for cell in first):
            raise uneven(file, row=1, cells=best.width, names=len(first))
        raise SourceError(f"{file} has no header row", hint=_NO_HEADER_HINT)
    if not any(best.kinds) and lead.comments and len(_cells_of(lead, best)) == best.width:
        raise unreadable(
            file,
            "the line of comment (#) above its words may be its header",
            hint="remove the comment, or the # before the names",
        )
    place = best.places[header.row]
    last = best.places[header.row + header.below]
    lines = list(io.StringIO(text[lead.end :], newline=""))
    body = lead.end + sum(len(line) for line in lines[: best.ends[last]])
    names = header.names
    if not any(sign.isalnum() for name in names for sign in name):
        raise SourceError(f"{file} has no header row", hint=_NO_HEADER_HINT)
    _refuse_several_lines(file, best, header)
    annotated = [
        row
        for line in lead.comments
        if _ANNOTATION.match(line)
        for row in csv.reader([line], delimiter=best.separator)
    ]
    return Dialect(
        separator=best.separator,
        header=tuple(best.records[place]),
        names=names,
        below=tuple(
            tuple(best.records[row])
            for row in best.places[header.row + 1 : header.row + 1 + header.below]
        ),
        units=header.units,
        kinds=tuple(best.kinds),
        body=body,
        before=place + len(lead.comments) - len(annotated),
        share=best.share,
        annotations={row[0]: tuple(row) for row in annotated},
    )


def _commented(lead: _Lead, best: _Candidate) -> tuple[str, ...]:
    """Return the names in the last comment above the readings, if it is as long as they are."""
    if not lead.comments or best.places[0] or _ANNOTATION.match(lead.comments[-1]):
        return ()
    names = _cells_of(lead, best)
    is_header = len(names) == best.width and all(kind_of_cell(name) == "word" for name in names)
    return tuple(name.strip() for name in names) if is_header else ()


def _cells_of(lead: _Lead, best: _Candidate) -> list[str]:
    """Return the cells of the last comment above the table."""
    line = lead.comments[-1].lstrip("#").rstrip("\r\n")
    return next(csv.reader([line], delimiter=best.separator), [])


def _refuse_several_lines(file: str, best: _Candidate, header: Header) -> None:
    """Refuse a header of several lines, of which the last names no column of readings."""
    if not header.row:
        return
    above = best.records[best.places[header.row - 1]]
    nameless = [place for place, name in enumerate(header.names) if place and not name]
    if any(best.kinds[place] and above[place].strip() for place in nameless):
        raise unreadable(
            file,
            "its header has several lines",
            hint="write one line of names above the readings, and save it again",
        )
