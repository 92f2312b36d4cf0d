"""Random tables in random dialects come back cell by cell, or are refused: never changed."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from fedhome.data.files.data_files import read_files
from fedhome.data.files.table_file import UNNAMED
from fedhome.errors import SourceError
from helpers.examples import share_of

pytestmark = pytest.mark.long

NAMES = ["load", "temp °C", "Zähler (kWh)", "a;b", "x, y", "state", "0:30", "#1", 'the "b"', "p|q"]
WORDS = ["", "heat", "a;b", "x, y", "unavailable", "p|q", "größer", "a\tb", '"', "#", "Total",
         "kWh", "two\nlines", " spaced ", "'", "-", "time", "load"]  # fmt: skip
CODECS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252", "latin-1", "utf-32"]


@dataclass(frozen=True)
class Written:
    """A table and the file that it was written to."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    content: bytes


def _numbers(sign: str) -> st.SearchStrategy[str]:
    number = st.decimals(-1000, 10**6, places=2).map(str)
    return st.one_of(number, number, number, st.just("")).map(lambda text: text.replace(".", sign))


@st.composite
def written(draw: st.DrawFn) -> Written:
    count = draw(st.integers(3, 12))
    sign = draw(st.sampled_from([".", ","]))
    time = draw(
        st.sampled_from(["2024-01-{:02d}T00:00:00Z", "{:02d}.01.2024 00:15", "1/{}/24 1:15 PM"])
    )
    columns: dict[str, list[str]] = {}
    if times := draw(st.integers(0, 4)):
        name = draw(st.sampled_from(["time", "Datum", ""]))
        columns[name] = [time.format(day + 1) for day in range(count)]
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4, min_size=1)):
        cells = draw(st.sampled_from([_numbers(sign), _numbers(sign), st.sampled_from(WORDS)]))
        columns[name] = draw(st.lists(cells, min_size=count, max_size=count))
    header, rows = list(columns), [list(row) for row in zip(*columns.values(), strict=True)]
    separator = draw(st.sampled_from(",;\t|"))
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    quoting = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]))
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator="\n", quoting=quoting)
    trailing = [""] * draw(st.sampled_from([0, 0, 1]))
    if draw(st.integers(0, 3)) == 0:
        text.write(f"sep={separator}\n")
    # What is written as wide as the table itself, above columns of words, is a header to anybody.
    above: list[list[list[str]]] = [[]]
    above += [[["# from the portal"]]] if len(columns) > 1 or quoting == csv.QUOTE_MINIMAL else []
    above += [[["Export of 2024"], []]] if len(columns) > 1 else []
    above += [[["Customer", "Max"], ["Meter", "AT0031, 7"]]] if times else []
    before = draw(st.sampled_from(above))
    writer.writerows(before)
    writer.writerow([*header, *trailing])
    for row in rows:
        if draw(st.integers(0, 9)) == 0:
            text.write("\n")
        # Below lines as wide as the table, a header that comes again is one of several.
        if len(columns) > 1 and len(before) < 2 and draw(st.integers(0, 19)) == 0:
            writer.writerow([*header, *trailing])
        writer.writerow([*row, *trailing])
    codec = draw(st.sampled_from(CODECS))
    whole = text.getvalue()
    if newline != "\n":
        whole = whole.replace("\n", newline)
        rows = [[cell.replace("\n", newline) for cell in row] for row in rows]
    try:
        content = whole.encode(codec)
    except UnicodeEncodeError:
        content = whole.encode()
    return Written(header=header, rows=rows, content=content)


def _rows_of(table: Written) -> list[tuple[str, ...]]:
    """Return the rows that hold anything; a header that comes again is none."""
    names = tuple(table.header)
    rows = [tuple(row) for row in table.rows]
    return [row for row in rows if len(names) == 1 or (any(row) and row != names)]


@given(table=written())
@settings(
    max_examples=share_of(1000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_table_in_any_dialect_comes_back_or_is_refused(tmp_path: Path, table: Written) -> None:
    path = tmp_path / "home.csv"
    path.write_bytes(table.content)
    try:
        raw = read_files(path)
    except SourceError:
        event("refused")
        return
    event("read")
    if not raw.rows.num_rows:
        return  # which is refused, too: a home without rows takes no part
    expected = {
        (name.strip() or UNNAMED): list(cells)
        for name, *cells in zip(table.header, *_rows_of(table), strict=True)
    }
    found = raw.rows.to_pydict()
    if len(table.header) == 1:
        # Of one column, blank lines may be readings that are missing, and its name a word in it.
        for column in (*expected.values(), *found.values()):
            column[:] = [cell for cell in column if cell and cell != table.header[0]]
    if UNNAMED in expected and UNNAMED not in found:
        assert not any(expected.pop(UNNAMED))
    assert found == expected
