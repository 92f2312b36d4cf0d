"""A column's cells: numbers in every format, units, words; what is told and what is refused."""

from __future__ import annotations

import csv
import math
from decimal import Decimal
from itertools import cycle, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from fedhome.data.columns.cells import read_cells
from fedhome.data.columns.column_read import ColumnRead
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings
from helpers.shared_cases import readings

NAN = math.nan


def read(cells: Any, *, name: str = "x", numeric: bool = False, **settings: Any) -> ColumnRead:
    column = cells if isinstance(cells, pa.ChunkedArray) else pa.chunked_array([pa.array(cells)])
    return read_cells(
        column,
        name=name,
        settings=ReadingSettings(**settings),
        location_of=lambda row: f"home.csv, row {row + 1}",
        numeric=numeric,
    )


def numbers(*cells: str | None, **settings: Any) -> list[float]:
    column = read(pa.array(cells, pa.string()), **settings)
    assert column.kind == "number"
    return list(column.values)


# --- how numbers are written


@pytest.mark.parametrize(
    ("cells", "expected", "form"),
    [
        (["1", " 2.5 ", "-3e2", "+4", ".5", "6."], [1, 2.5, -300, 4, 0.5, 6], "decimal point"),
        (["007", "-0", "12"], [7, 0, 12], "whole numbers"),
        (["0,474", "1,896", "12"], [0.474, 1.896, 12], "decimal comma"),
        (["1e3", "1,5e-3", "-1,5E3"], [1000, 0.0015, -1500], "decimal comma"),
        (["1.896,0", "2.060,0", "896"], [1896, 2060, 896], "decimal comma, thousands point"),
        (["1,896.5", "2,060", "896"], [1896.5, 2060, 896], "decimal point, thousands comma"),
        (["1,234,567", "1,896"], [1234567, 1896], "thousands comma"),
        (["1.234.567", "1.896", "5"], [1234567, 1896, 5], "thousands point"),
        (["0,5", "1.896"], [0.5, 1896], "decimal comma, thousands point"),
        (["0.5", "1,896"], [0.5, 1896], "decimal point, thousands comma"),
        (["1'234.5", "2"], [1234.5, 2], "decimal point, thousands apostrophe"),
        (["1\u2019234", "1,896"], [1234, 1.896], "decimal comma, thousands apostrophe"),
        (["1 234 567,5", "2"], [1234567.5, 2], "decimal comma, thousands space"),
        (["1\u00a0234", "1\u202f235", "1\u2009236"], [1234, 1235, 1236], "thousands space"),
        (["\u22125,5", "\u20133", "\uff0d1"], [-5.5, -3, -1], "decimal comma"),
        (["- 5", "+ 3"], [-5, 3], "whole numbers"),
        (["(5.2)", "3"], [-5.2, 3], "decimal point, negatives in parentheses"),
        (["5,2-", "3"], [-5.2, 3], "decimal comma, minus behind negatives"),
        (['="0.5"', "'0.7", '="-3"', '"4"'], [0.5, 0.7, -3, 4], "decimal point"),
        (["\ufeff1.5", "\u200e2\u200f"], [1.5, 2], "decimal point"),
    ],
)
def test_numbers_in_every_notation(cells: list[str], expected: list[float], form: str) -> None:
    column = read(cells)
    assert (column.kind, column.format) == ("number", form)
    assert column.values.tolist() == expected


@pytest.mark.parametrize("cells", [["1,896", "896"], ["1,896", "2,345"], ["-1,896 W", "12,345 W"]])
def test_a_comma_before_three_digits_throughout_is_ambiguous(cells: list[str]) -> None:
    with pytest.raises(SourceError, match=r"home\.csv, row 1: column 'x' can be read in two") as at:
        read(cells)
    assert 'data.decimal = ","' in at.value.hint
    assert 'data.thousands = ","' in at.value.hint
    text = str(at.value)
    assert "1,896" not in text
    assert "decimals" in text
    assert "thousands" in text


def test_the_settings_decide_what_is_ambiguous() -> None:
    assert numbers("1,896", "896", decimal=",") == [1.896, 896]
    assert numbers("1,896", "896", thousands=",") == [1896, 896]
    assert numbers("1,896", "896", decimal=".") == [1896, 896]
    assert numbers("1.896", "896", "720", thousands=".") == [1896, 896, 720]
    assert numbers("1.896", "896", "720", decimal=",") == [1896, 896, 720]
    assert numbers("1.896", "896", "720", decimal=".") == [1.896, 896, 720]
    assert numbers("1 896", "896,5", decimal=",", thousands=" ") == [1896, 896.5]


@pytest.mark.parametrize(
    ("settings", "cells", "row"),
    [
        ({"decimal": ","}, ["0,5", "1.25"], 2),
        ({"decimal": "."}, ["0.5", "3", "0,25"], 3),
        ({"thousands": ","}, ["0,474", "896"], 1),
        ({"thousands": "."}, ["1.896", "1.5"], 2),
        ({"decimal": ",", "thousands": " "}, ["1 896,5", "1.896,5"], 2),
        ({"decimal": ",", "thousands": "'"}, ["5", "1.896"], 2),
    ],
)
def test_a_cell_that_does_not_fit_the_settings_is_named(
    settings: dict[str, Any], cells: list[str], row: int
) -> None:
    with pytest.raises(SourceError, match=rf"row {row}: the cell in column 'x' .* the plan says"):
        read(cells, **settings)


def test_one_sign_cannot_do_both() -> None:
    with pytest.raises(SourceError, match="the same sign"):
        read(["1.5"], decimal=".", thousands=".")


def test_numbers_with_a_plus_behind_are_the_least_that_they_stand_for() -> None:
    column = read(["0", "1", "3+", "-2", "3+", "65 +"])
    assert (column.kind, column.values.tolist()) == ("number", [0, 1, 3, -2, 3, 65])
    assert len(column.notes) == 1
    assert "'x': numbers with a plus behind them, as many or more" in column.notes[0]
    assert read(["0", "+1", "2"]).notes == ()
    with pytest.raises(
        SourceError, match="row 2: the cell in column 'x' is a number beside a text"
    ):
        read(["0", "3++", "2", "1"])


@pytest.mark.parametrize("cells", [["1-", "1", "1+", "2-"], ["1+", "1-", "2+"]])
def test_marks_with_plus_and_minus_behind_are_no_numbers(cells: list[str]) -> None:
    """A mark of 1- was -1, and one of 1+ was 1."""
    row = cells.index("1+") + 1
    with pytest.raises(
        SourceError, match=f"row {row}: the cell in column 'x' has a plus"
    ) as caught:
        read(cells)
    assert "names that do not begin with a number" in caught.value.hint
    assert numbers("1-", "1", "2-") == [-1, 1, -2]


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        (["1,5", "2,5", "2.5"], 3),
        (["1'234", "1 234", "1 235"], 1),
        (["1,5", "2,5", "1,234,567"], 3),
    ],
)
def test_cells_that_contradict_one_another_are_refused(cells: list[str], row: int) -> None:
    with pytest.raises(SourceError, match=rf"row {row}: the cell in column 'x' is not written as"):
        read(cells)


def test_a_point_is_a_decimal_sign_unless_everything_speaks_for_thousands() -> None:
    column = read(["10.515", "10.564", None])
    np.testing.assert_array_equal(column.values, [10.515, 10.564, NAN])
    assert any("exactly three digits follow" in note for note in column.notes)
    assert numbers("20", "21", "20.125") == [20, 21, 20.125]
    assert read(["0.474", "10.515"]).notes == ()
    with pytest.raises(SourceError, match=r"row 2: column 'x' can be read in two ways"):
        read(["896", "1.896", "720", "2.060"])
    assert numbers("896 W", "1.896 kW", "720 W") == [896, 1896, 720]


@pytest.mark.parametrize(
    "cell", ["1,23,456", "1234,567.5", "12,34.5", "1.5.2,3", "1 2", "0,123,456"]
)
def test_wrong_groups_are_no_thousands(cell: str) -> None:
    with pytest.raises(SourceError, match="row 1: the cell in column 'x' has digits in no known"):
        read([cell, "2", "3"])
    with pytest.raises(SourceError, match="no known format"):
        read([cell, cell])


def test_a_price_without_cents_is_not_negative() -> None:
    with pytest.raises(SourceError, match="row 1"):
        read(["5.-", "7"])


@pytest.mark.parametrize("cells", [["(5)", "-3", "-4"], ["5-", "-3", "-4"], ["5-", "(3)", "(4)"]])
def test_signs_of_two_ways_are_refused(cells: list[str]) -> None:
    with pytest.raises(SourceError, match="row 1: the sign of the cell in column 'x'"):
        read(cells)


# --- units and currencies


@pytest.mark.parametrize(
    ("cells", "expected", "unit"),
    [
        (["20.4 °C", "-3 °C", "unavailable"], [20.4, -3, NAN], "°C"),
        (["1.2 kWh", "1kWh", "0"], [1.2, 1, 0], "kWh"),
        (["230V", "231 volts"], [230, 231], "V"),
        (["55 %", "60%"], [55, 60], "%"),
        (["€ 5,20", "-€1,5", "€-2,5"], [5.2, -1.5, -2.5], "€"),
        (["1.234,50 EUR", "2 €"], [1234.5, 2], "€"),
        (["$1,234.50", "$2", "($3)"], [1234.5, 2, -3], "$"),
        (["Rs.500", "Rs. 1,000.5"], [500, 1000.5], "₹"),
        (["0.31 €/kWh", "€0.30/kWh"], [0.31, 0.3], "€/kWh"),
        (["500 W", "1.2 kW", "1.3 kW"], [0.5, 1.2, 1.3], "kW"),
        (["500 Wh", "600 Wh", "1 MWh"], [500, 600, 1e6], "Wh"),
        (["20 °C", "21 °C", "68 °F"], [20, 21, 20], "°C"),
        (["5 m³", "6 m3"], [5, 6], "m³"),
    ],
)
def test_units_in_cells(cells: list[str], expected: list[float], unit: str) -> None:
    column = read(cells)
    assert (column.kind, column.unit) == ("number", unit)
    np.testing.assert_allclose(column.values, expected, rtol=1e-15)
    assert "unit in cells" in column.format


def test_a_conversion_is_told() -> None:
    column = read(["500 W", "1.2 kW", "1.3 kW"])
    assert column.notes == (
        "column 'x': 1 cells in W were converted to kW, the commonest unit in it",
    )


@pytest.mark.parametrize(
    ("cells", "row"),
    [
        (["1 kW", "2 kW", "3 kWh"], 3),
        (["20.4 °C", "21"], 2),
        (["55 %", "0.5"], 2),
        (["1.2K", "896"], 2),
        (["5 €", "6 €", "$7"], 3),
    ],
)
def test_units_that_do_not_go_together_are_refused(cells: list[str], row: int) -> None:
    with pytest.raises(SourceError, match=rf"row {row}: the cell in column 'x'"):
        read(cells)


def test_the_name_tells_the_unit_of_bare_cells() -> None:
    assert read(["1.5", "2"], name="Verbrauch (kWh)").unit == "kWh"
    column = read(["5", "6000 Wh", "7 kWh"], name="load_kwh")
    assert (column.values.tolist(), column.unit) == ([5, 6, 7], "kWh")
    column = read(["5 W", "6 W"], name="load (kWh)")
    assert column.unit == "W"
    assert any("its name says kWh" in note for note in column.notes)


def test_numbers_beside_an_unknown_text_are_no_classes() -> None:
    with pytest.raises(SourceError, match=r"row 1: .* is a number beside a text") as error:
        read(["5 Zimmer", "6 Zimmer", "5 Zimmer"])
    assert "Zimmer" not in str(error.value)
    with pytest.raises(SourceError, match="row 1"):
        read(["~5", "~6"])


@pytest.mark.parametrize(
    "cells", [["12A", "12B", "3C"], ["1A", "1C"], ["1st", "2nd", "3rd"], ["A1", "A2"], ["h1", "s2"]]
)
def test_names_of_rooms_and_phases_are_words(cells: list[str]) -> None:
    assert read(cells).words == tuple(sorted(cells))


# --- what is missing


MISSING = (
    "NA N/A NaN nan -nan <NA> None none NULL null - -- ? \\N unavailable unknown #N/A #DIV/0! "
    "#VALUE! #NV NaT \u2013 \u2014"
)


@pytest.mark.parametrize("word", [*MISSING.split(), "", "  ", "#N/A N/A"])
def test_words_for_a_missing_reading(word: str) -> None:
    np.testing.assert_array_equal(numbers("1,5", word, "2"), [1.5, NAN, 2])
    np.testing.assert_array_equal(read(["heat", word, "cool"]).values, [1, NAN, 0])
    column = read([word, word])
    assert (column.kind, column.notes) == ("empty", ())
    assert np.isnan(column.values).all()


def test_further_words_for_a_missing_reading() -> None:
    words = ("Ausfall", "-999")
    np.testing.assert_array_equal(
        numbers("1", "AUSFALL ", "-999", "-999.0", na_values=words), [1, NAN, NAN, NAN]
    )
    np.testing.assert_array_equal(numbers("1.125", "-999.000", na_values=words), [1.125, NAN])
    typed = read([1.0, -999.0, None], na_values=words)
    np.testing.assert_array_equal(typed.values, [1, NAN, NAN])
    assert read(["heat", "ausfall"], na_values=words).words == ("heat",)


# --- flags and words


def test_true_and_false_are_flags_also_among_zeros_and_ones() -> None:
    for cells in (["true", "False", "TRUE", "1", "0"], [" true", "FALSE", "true", "true", "false"]):
        column = read(cells)
        assert (column.kind, column.words) == ("flag", ())
        assert column.values.tolist() == [1, 0, 1, 1, 0]
    with pytest.raises(SourceError, match="row 1"):
        read(["true", "5", "6"])
    assert read(["true", "maybe", "true"]).words == ("maybe", "true")


@pytest.mark.parametrize("cells", [["on", "off"], ["open", "closed"], ["home", "not_home"]])
def test_words_stay_words(cells: list[str]) -> None:
    column = read([*cells, "", cells[0]])
    assert (column.kind, column.words) == ("words", tuple(sorted(cells)))
    places = [column.words.index(cell) for cell in cells]
    np.testing.assert_array_equal(column.values, [*places, NAN, places[0]])


def test_a_slip_among_numbers_is_named_but_not_quoted() -> None:
    for slip in ("secret", "1.2.3", "5 secret", "<0.5", "12:3x"):
        with pytest.raises(SourceError, match="row 3: the cell in column 'x'") as error:
            read(["1", "2", slip, "3"])
        assert slip not in str(error.value)
        assert error.value.hint


@pytest.mark.parametrize(
    "cell", ["1. Jan", "Jan 05", "2024-01-05", "05.01.2024", "1/5/2024", "12:30"]
)
def test_a_number_that_a_spreadsheet_made_a_date_is_named(cell: str) -> None:
    with pytest.raises(SourceError, match=r"row 2: .* is a date or a time, not a number") as error:
        read(["1.5", cell, "2.5"])
    assert "spreadsheet" in error.value.hint
    with pytest.raises(SourceError, match=r"row 1: .* is a date"):
        read([cell, cell, "2.5"])


def test_few_numbers_among_words_are_words_and_told() -> None:
    column = read(["1", "heat", "cool", "auto"])
    assert column.words == ("1", "auto", "cool", "heat")
    assert any("1 of its 4 cells are numbers" in note for note in column.notes)


def test_a_target_never_takes_words() -> None:
    assert read(["1", "2,5"], numeric=True).values.tolist() == [1, 2.5]
    for cells in (["heat", "cool"], ["1", "heat", "cool"], ["true", "heat"], ["1A", "1C"]):
        with pytest.raises(SourceError, match="column 'x'") as error:
            read(cells, numeric=True)
        assert error.value.hint
        assert ('task.kind = "multi-class"' in error.value.hint) == ("heat" in cells)
    with pytest.raises(SourceError, match="at least half") as error:
        read(["1", "2", "heat"], numeric=True)
    assert error.value.hint.startswith("correct the cell"), "a slip among numbers"
    for column in (["2024-01-01"], pa.array([[1]]), pa.array([0], pa.timestamp("s"))):
        with pytest.raises(SourceError, match="must hold numbers"):
            read(column, numeric=True)


@pytest.mark.parametrize(
    "cells",
    [
        ["2024-01-05", "2024-01-06T12:00:00.25Z", "2024-01-06 12:00+01:00", ""],
        ["05.01.2024 12:30", "06.01.2024 00:15"],
        ["1/5/2024 1:30 PM", "1/6/24"],
        ["12:30", "13:30:15"],
        ["5 Jan 2024", "Mar 6, 2024"],
        ["1.0", *["2024-01-05"] * 99],
    ],
)
def test_times_are_no_reading(cells: list[str]) -> None:
    column = read(cells)
    assert (column.kind, len(column.notes)) == ("left out", 1)
    assert "dates or times" in column.notes[0]
    assert np.isnan(column.values).all()


def test_words_of_which_nearly_every_cell_has_its_own_are_left_out() -> None:
    column = read([f"w{number}" for number in range(60)])
    assert column.kind == "left out"
    assert np.isnan(column.values).all()
    assert "60 different ones" in column.notes[0]
    assert read([f"w{number}" for number in range(40)]).kind == "words"
    assert read([f"w{number % 25}" for number in range(60)]).kind == "words"
    many = [f"w{number % 1001}" for number in range(5000)]
    assert "more than 1000 different" in read(many).notes[0]


def test_words_keep_their_places_from_piece_to_piece() -> None:
    cells = list(islice(cycle(["b", "c", "", "a b", "b"]), 300_000))
    parts = [pa.array(cells[:7]), pa.array(cells[7:200_000]), pa.array(cells[200_000:])]
    column = read(pa.chunked_array(parts))
    assert column.words == ("a b", "b", "c")
    np.testing.assert_array_equal(column.values[[0, 1, 2, 3, -1, -2]], [1, 2, NAN, 0, 1, 0])


def test_the_row_of_a_slip_counts_through_all_pieces() -> None:
    cells = ["1,5"] * 400_000
    cells[399_990] = "x"
    with pytest.raises(SourceError, match="row 399991:"):
        read(pa.chunked_array([pa.array(cells[:50]), pa.array(cells[50:])]))


# --- what stands out


def test_infinite_cells_are_missing_and_told() -> None:
    column = read(["1,5", "inf", "-Infinity", "1e999", "∞"])
    np.testing.assert_array_equal(column.values, [1.5, NAN, NAN, NAN, NAN])
    assert column.notes == ("4 infinite cells of x were read as missing",)
    assert read([1.0, math.inf]).notes == ("1 infinite cell of x was read as missing",)
    assert read(["inf", "inf"]).kind == "empty"


def test_values_a_thousand_times_beyond_the_rest_are_told_and_kept() -> None:
    cells = [f"{number % 7}.5" for number in range(200)]
    cells[41] = "70000"
    column = read(cells)
    assert column.values[41] == 70_000
    assert any("1 value lies more" in note and "home.csv, row 42" in note for note in column.notes)
    cells[41] = "700"
    assert read(cells).notes == ()
    assert read(["0"] * 200 + ["5000"]).notes == ()


def test_digits_that_float64_cannot_keep_are_told() -> None:
    for cells in (["1", "9007199254740993"], [1, 2**53 + 1], [Decimal(1), Decimal(2**53 + 1)]):
        assert any("1 whole numbers are 2^53 or more" in note for note in read(cells).notes)
    assert read(["9007199254740991"]).notes == ()
    assert read(["9007199254740993.5"]).notes == ()


# --- typed columns


@pytest.mark.parametrize(
    ("cells", "kind", "expected"),
    [
        (pa.array([1, None], pa.int64()), "number", [1, NAN]),
        (pa.array([1, 255], pa.uint8()), "number", [1, 255]),
        (pa.array([1.5, NAN]), "number", [1.5, NAN]),
        (pa.array(np.array([1.5, 2.5], np.float16)), "number", [1.5, 2.5]),
        (pa.array([Decimal("1.25"), None], pa.decimal128(10, 2)), "number", [1.25, NAN]),
        (pa.array([Decimal("1.25"), None], pa.decimal256(50, 2)), "number", [1.25, NAN]),
        (pa.array([1500, None], pa.duration("ms")), "number", [1.5, NAN]),
        (pa.array([True, None, False]), "flag", [1, NAN, 0]),
        (pa.nulls(2), "empty", [NAN, NAN]),
        (pa.array([None, None], pa.int64()), "empty", [NAN, NAN]),
        (pa.array([], pa.string()), "empty", []),
        (pa.array(["b", None, "a"]).dictionary_encode(), "words", [1, NAN, 0]),
        (pa.array(["1,5", None, "2"]).dictionary_encode(), "number", [1.5, NAN, 2]),
        (pa.array([3, 3, 4]).dictionary_encode(), "number", [3, 3, 4]),
        (pa.array(["b", "a"], pa.large_string()), "words", [1, 0]),
        (pa.array(["1.5", "2"], pa.string_view()), "number", [1.5, 2]),
        (pa.array([0, 1], pa.timestamp("s", "UTC")), "left out", [NAN, NAN]),
        (pa.array([0, 1], pa.date32()), "left out", [NAN, NAN]),
        (pa.array([0, 1], pa.time64("us")), "left out", [NAN, NAN]),
        (pa.array([[1], [2]]), "left out", [NAN, NAN]),
        (pa.array([{"a": 1}]), "left out", [NAN]),
        (pa.array([b"1", b"2"]), "left out", [NAN, NAN]),
    ],
)
def test_typed_columns(cells: pa.Array, kind: str, expected: list[float]) -> None:
    column = read(cells)
    assert column.kind == kind
    np.testing.assert_array_equal(column.values, expected)
    assert len(column.notes) == (kind == "left out")


def test_units_of_typed_columns() -> None:
    assert read([1.5], name="temp [°C]").unit == "°C"
    assert read(pa.array([1], pa.duration("s"))).unit == "s"


def test_a_column_without_chunks() -> None:
    assert read(pa.chunked_array([], pa.string())).kind == "empty"
    assert read(pa.chunked_array([], pa.float64())).values.shape == (0,)


# --- files that really are like this


def column_of(case: str, name: str, separator: str) -> ColumnRead:
    with (readings(case) / "home0.csv").open(encoding="utf-8-sig", newline="") as stream:
        cells = [row[name] for row in csv.DictReader(stream, delimiter=separator)]
    return read(cells, name=name)


@pytest.mark.parametrize(
    ("case", "name", "separator", "first", "unit"),
    [
        ("09-netznoe", "Verbrauch (kWh)", ";", [0.474, 0.515, 0.564], "kWh"),
        ("17-quoted-decimal-comma", "Consommation (kWh)", ",", [0.474, 0.515, 0.564], "kWh"),
        ("19-german-thousands", "power_w", ";", [1896, 2060, 2256], "W"),
        ("37-none-cells", "temp_c", ",", [NAN, 10.515, 10.564], "°C"),
        ("37-none-cells", "load_kwh", ",", [0.474, 0.515, 0.564], "kWh"),
    ],
)
def test_cases(case: str, name: str, separator: str, first: list[float], unit: str) -> None:
    column = column_of(case, name, separator)
    assert (column.kind, column.unit) == ("number", unit)
    np.testing.assert_array_equal(column.values[:3], first)


def test_the_quality_of_a_reading_stays_text() -> None:
    assert column_of("09-netznoe", "Qualität", ";").words == ("L1",)
