"""Cells at random: read back exactly or refused, never changed, never quoted."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedhome.data.columns.cells import read_cells
from fedhome.data.columns.column_read import ColumnRead
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings
from helpers.examples import share_of

pytestmark = pytest.mark.long


def read(cells: list[str | None], *, numeric: bool = False, **choices: Any) -> ColumnRead:
    return read_cells(
        pa.chunked_array([pa.array(cells, pa.string())]),
        name="x",
        settings=ReadingSettings(**choices),
        location_of=lambda row: f"home.csv, row {row + 1}",
        numeric=numeric,
    )


@dataclass(frozen=True)
class Dialect:
    """How somebody writes numbers."""

    decimal: str
    thousands: str
    before: str
    behind: str
    negative: str
    plus: str
    around: str

    def cell(self, number: Decimal) -> str:
        text = f"{abs(number):{',' if self.thousands else ''}f}"
        signs = {",": self.thousands, ".": self.decimal}
        text = "".join(signs.get(letter, letter) for letter in text)
        text = f"{self.before}{text}{self.behind}"
        if number < 0:
            text = self.negative.format(text)
        elif self.plus:
            text = f"+{text}"
        return self.around.format(text)


@st.composite
def dialects(draw: st.DrawFn) -> Dialect:
    decimal = draw(st.sampled_from(".,"))
    groups = [sign for sign in ("", ".", ",", "'", " ", "\u00a0", "\u202f") if sign != decimal]
    before, behind = draw(
        st.sampled_from(
            [
                ("", ""),
                ("", ""),
                ("", " kWh"),
                ("", "°C"),
                ("", " %"),
                ("€", ""),
                ("$ ", ""),
                ("", " €"),
            ]
        )
    )
    negatives = ["-{}", "\u2212{}", "({})"] + ([] if behind else ["{}-"])
    return Dialect(
        decimal=decimal,
        thousands=draw(st.sampled_from(groups)),
        before=before,
        behind=behind,
        negative=draw(st.sampled_from(negatives)),
        plus=draw(st.sampled_from(["", "", "+"])),
        around=draw(st.sampled_from(["{}", "{}", " {} ", '="{}"', "\u00a0{}"])),
    )


numbers = (
    st.decimals(min_value=-(10**9), max_value=10**9, places=3, allow_nan=False)
    | st.integers(-3_000_000, 3_000_000).map(Decimal)
    | st.sampled_from(
        [Decimal(text) for text in ("0", "0.474", "1.896", "896", "-1896", "1234.5", "1e-7")]
    )
)
columns = st.lists(numbers, min_size=1, max_size=12)


@given(column=columns, dialect=dialects(), trims=st.booleans(), gaps=st.booleans())
@settings(max_examples=share_of(1000))
def test_numbers_of_any_dialect_are_read_back_or_refused(
    column: list[Decimal], dialect: Dialect, trims: bool, gaps: bool
) -> None:
    if trims:
        column = [Decimal(f"{number.normalize():f}") for number in column]
    cells: list[str | None] = [dialect.cell(number) for number in column]
    expected = [float(number) for number in column]
    if gaps:
        cells += ["", None, "unavailable"]
        expected += [float("nan")] * 3
    try:
        found = read(cells)
    except SourceError as error:
        assert "two ways" in error.message  # noqa: PT017  (whatever else is raised fails the test)
    else:
        if dialect.thousands == "." and any("exactly three digits" in note for note in found.notes):
            return  # 1.896 throughout is read as 10.515 is, and told
        assert found.kind == "number"
        np.testing.assert_array_equal(found.values, expected)
    sure: dict[str, Any] = {"decimal": dialect.decimal}
    if dialect.thousands:
        sure["thousands"] = dialect.thousands.replace("\u00a0", " ").replace("\u202f", " ")
    np.testing.assert_array_equal(read(cells, **sure).values, expected)


@given(column=columns, dialect=dialects())
@settings(max_examples=share_of(300))
def test_one_slip_is_named(column: list[Decimal], dialect: Dialect) -> None:
    cells: list[str | None] = [dialect.cell(number) for number in column]
    cells.insert(len(cells) // 2, "qqq slip")
    with pytest.raises(SourceError, match=r"row \d+: ") as error:
        read(cells)
    assert "qqq" not in str(error.value)
    assert (
        f"row {len(cells) // 2 + 1 if len(cells) % 2 else len(cells) // 2}" in error.value.message
    )


pieces = st.sampled_from(
    [
        *"0123456789.,'-+()eE%°C€$ kWhW:/#?~<\t\n\u00a0\u2212\u200b\ufeff\x00é\u0661",
        *("12", "999", "1.896", "Jan", "2024-01-05", "true", "inf", "nan", '="', '"', "None", "on"),
        *("Rs.", "kWh", "°F"),
    ]
)
rough_cells = st.lists(st.lists(pieces, max_size=8).map("".join) | st.none(), max_size=30)
choices = st.fixed_dictionaries(
    {},
    optional={
        "decimal": st.sampled_from(["", ".", ","]),
        "thousands": st.sampled_from(["", ",", ".", "'", " "]),
    },
)


@given(cells=rough_cells, numeric=st.booleans(), choice=choices)
@settings(max_examples=share_of(2000))
def test_anything_is_read_or_refused_and_never_quoted(
    cells: list[str | None], numeric: bool, choice: dict[str, str]
) -> None:
    try:
        found = read(cells, numeric=numeric, **choice)
    except SourceError as error:
        assert error.hint  # noqa: PT017
        said = str(error)
    else:
        assert found.values.shape == (len(cells),)
        assert not np.isinf(found.values).any()
        assert not (numeric and found.words)
        if found.kind in ("empty", "left out"):
            assert np.isnan(found.values).all()
        if found.kind == "flag":
            assert set(found.values[~np.isnan(found.values)]) <= {0, 1}
        if found.kind == "words":
            check_words(cells, found)
        said = " ".join((*found.notes, found.format))
    # What is as short as a number of rows may be in a sentence by chance.
    assert not any(cell.strip() in said for cell in cells if cell and len(cell.strip()) > 4)


def check_words(cells: list[str | None], found: ColumnRead) -> None:
    assert list(found.words) == sorted(set(found.words))
    for cell, value in zip(cells, found.values, strict=True):
        if not np.isnan(value):
            assert cell is not None
            assert found.words[int(value)] in cell


@given(column=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
@settings(max_examples=share_of(300))
def test_every_float_is_read_back_as_python_writes_it(column: list[float]) -> None:
    try:
        found = read([repr(number) for number in column])
    except SourceError as error:
        assert "two ways" in error.message  # noqa: PT017
    else:
        assert found.values.tolist() == column


@given(column=st.lists(st.sampled_from(["heat", "cool", "off", "auto mode", "", "Unavailable"])))
@settings(max_examples=share_of(200))
def test_words_are_read_back(column: list[str]) -> None:
    found = read(list(column))
    back = ["" if np.isnan(value) else found.words[int(value)] for value in found.values]
    assert back == [word.replace("Unavailable", "") for word in column]
