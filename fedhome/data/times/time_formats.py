"""What a cell's shape says about it: where in it the year, the month, ... the zone stand.

A shape is the cell in capitals with a 0 for every digit: ``00.00.0000 00:00``. A column has few
shapes, so they are looked at one by one, and all cells of one shape are read at once.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Literal

from fedhome.data.columns.month_names import MONTH, NUMBERS, WEEK, WEEKDAY
from fedhome.data.times.zones import is_known

Kind = Literal["moment", "date", "span", "clock"]

_MONTH = rf"(?P<mon>{MONTH})\.?"
_NTH = r"(?:ST|ND|RD|TH|ER|E)?"
_YEAR_FIRST = r"(?P<y>0000)(?P<s>[-/.])(?P<m>00?)(?P=s)(?P<d>00?)"
_YEAR_LAST = r"(?P<a>00?)(?P<s>[-/]|\. ?)(?P<b>00?)(?P=s)(?P<y>0000|00)"
_DATES = (
    _YEAR_FIRST,
    _YEAR_LAST,
    rf"(?P<d>00?){_NTH}(?:[-/. ]{{0,2}}| DE ){_MONTH}(?:[-/., ]{{0,2}}| DEL? )(?P<y>0000|00)",
    rf"{_MONTH}[-/ ](?P<d>00?){_NTH},?[-/ ](?P<y>0000)",
    rf"(?P<y>0000)[-/ ]{_MONTH}[-/ ](?P<d>00?)",
    r"(?P<y>0000)(?P<m>00)(?P<d>00)",
    r"(?P<y>0000)-?W(?P<w>00)-?(?P<wd>0)",  # a day of a week of ISO 8601
)
# Months, quarters and weeks: no day is named.
_SPANS = (
    r"(?P<y>0000)[-/.](?P<m>00)",
    r"(?P<m>00?)[-/.](?P<y>0000)",
    r"(?P<y>0000)(?P<m>00)",
    rf"{_MONTH}(?:[-/., ]{{1,2}}| DEL? )(?P<y>0000)",
    rf"(?P<y>0000)[-/., ]{{1,2}}{_MONTH}",
    r"(?P<y>0000)[- ]?Q(?P<q>0)",
    r"Q(?P<q>0)[-/ ](?P<y>0000)",
    r"(?P<y>0000)-?W(?P<w>00)",  # of ISO 8601
    rf"(?P<y>0000)[-/., ]{{1,2}}{WEEK}[ -]?(?P<w>00?)",
    rf"{WEEK}[ -]?(?P<w>00?)[-/., ]{{1,2}}(?P<y>0000)",
    rf"(?P<w>00?)\.? ?{WEEK}[-/., ]{{1,2}}(?P<y>0000)",
)
_FINER = r"(?:[.,](?P<f>0{1,12}))?"
_CLOCK = (
    rf"(?P<H>00?)(?:[:.H](?P<M>00)(?:[:.](?P<S>00){_FINER})?|H)?(?: ?UHR)?",
    rf"(?P<H>00)(?P<M>00)(?:(?P<S>00){_FINER})?",
)
_HALF = r"(?: ?(?P<half>[AP])\.? ?M\.?)?"
_UNTIL = r"(?:[-/.0]{6,11}[ T]+)?00?[:.]00(?:[:.]00)?(?: ?[AP]\.? ?M\.?)?"
_RANGE = rf"(?: (?:-|TO|BIS) {_UNTIL})?"
_ZONE = (
    r"(?: ?(?:UTC|GMT)?(?: ?(?P<sign>[+-])(?P<oh>00?)(?::?(?P<om>00))?))?"
    r"(?:(?P<z>Z)| ?[\[(]?(?P<name>[A-Z]{2,5}(?:/[A-Z]{3,5})?|[A-Z_]+(?:/[A-Z_-]+)+)[\])]?)?"
    r"(?: \([A-Z ]+\))?"
)
# The end, or the length, of an interval as ISO 8601 has it.
_ISO_UNTIL = (
    r"(?:/(?:0000-00-00T00:00(?::00(?:\.0{1,9})?)?(?:Z|[+-]00:?00)?|"
    r"P(?:0+[YMWD])*(?:T(?:0+[HMS])+)?))?"
)
# Behind a year of two digits a ":" would make a year of an hour: 1 Mar 13:00.
_BETWEEN = (
    r"(?:T| +| ?, ?| - |_|(?<=0000):(?=00:)|(?<=00000000)-(?=00:)|,? (?:A|AT|UM|OM|KL\.?|ALLE|AS) )"
)
_LETTERS = {
    "y": "Y",
    "m": "M",
    "d": "D",
    "w": "w",
    "wd": "d",
    "q": "q",
    "H": "h",
    "M": "m",
    "S": "s",
    "f": "f",
}
_ORDERED = {
    "day-first": {"a": "D", "b": "M"},
    "month-first": {"a": "M", "b": "D"},
    "year-first": {"a": "Y", "b": "M", "y": "D"},
}


@dataclass(frozen=True, kw_only=True)
class CellLayout:
    """Where the parts of a time stand in the cells of one shape.

    Args:
        kind: Whether there are a date and a clock time, or one of the two; a month, a quarter or
            a week without a day is a span.
        spans: First place and the place after the last, of each part in digits: ``y m d``, ``y q``,
            ``y w wd`` (a week, and its day if it is named) or ``a b y`` (day and month in an order
            that the cell does not tell), ``H M S f``, ``oh om`` (offset).
        month: Number of the month that is written as a word; 0 if it is in digits.
        word: First place and the place after the last of that word.
        half: ``"A"`` or ``"P"`` of a clock of twelve hours, or nothing.
        sign: Sign of an offset, or nothing.
        name: Name of a zone, in capitals, or nothing.
        plain: Whether the cell could as well be a plain number.
        separator: What stands between the parts of the date.
    """

    kind: Kind
    spans: dict[str, tuple[int, int]]
    month: int = 0
    word: tuple[int, int] = (0, 0)
    half: str = ""
    sign: str = ""
    name: str = ""
    plain: bool = False
    separator: str = ""

    @property
    def open_order(self) -> bool:
        """Whether the cell does not tell which number is the day and which the month."""
        return "a" in self.spans

    @property
    def short_year(self) -> bool:
        """Whether the year has two digits."""
        first, end = self.spans.get("y", (0, 4))
        return end - first == 2  # noqa: PLR2004  (digits of a short year)


@functools.cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    """Return all that a cell with a date may be, in the order in which they are tried.

    They are compiled when a text is looked at: most of a home's processes see typed times alone.
    """
    with_a_clock = (
        rf"{WEEKDAY}{date}(?:{_BETWEEN}{clock}{_HALF}{_RANGE}{_ZONE}{_ISO_UNTIL})?"
        for date in _DATES
        for clock in _CLOCK
    )
    others = (
        r"(?P<y>0000)(?P<m>00)(?P<d>00)(?P<H>00)(?P<M>00)(?P<S>00)?",
        (
            rf"{WEEKDAY}{_MONTH} +(?P<d>00?) (?P<H>00):(?P<M>00):(?P<S>00)"
            r"(?: (?P<name>[A-Z]{2,5}))? (?P<y>0000)"
        ),
    )
    return tuple(re.compile(pattern) for pattern in (*with_a_clock, *others, *_SPANS))


@functools.cache
def _clock_alone() -> re.Pattern[str]:
    return re.compile(rf"{_CLOCK[0]}{_HALF}(?: ?(?:-|TO|BIS) ?(?:{_UNTIL}|00?))?")


@functools.lru_cache(maxsize=4096)
def layout_of(shape: str) -> CellLayout | None:
    """Return where the parts of a time stand in cells of a shape; None if it is no time's."""
    for pattern in _patterns():
        if found := pattern.fullmatch(shape):
            return _layout(found, shape)
    found = _clock_alone().fullmatch(shape)
    return _layout(found, shape) if found and len(shape) > 1 else None


def _layout(found: re.Match[str], shape: str) -> CellLayout | None:
    groups = found.groupdict()
    spans = {
        key: found.span(key)
        for key in ("y", "m", "d", "q", "w", "wd", "a", "b", "H", "M", "S", "f", "oh", "om")
        if groups.get(key) is not None
    }
    kind: Kind = "clock" if "y" not in spans else "moment" if "H" in spans else "date"
    if kind == "date" and not {"d", "b", "wd"} & set(spans):
        kind = "span"
    name = groups.get("z") or groups.get("name") or ""
    name = "UTC" if name in {"Z", "GMT"} else name
    if not is_known(name):
        return None
    return CellLayout(
        kind=kind,
        spans=spans,
        month=NUMBERS[groups["mon"]] if groups.get("mon") else 0,
        word=found.span("mon") if groups.get("mon") else (0, 0),
        half=groups.get("half") or "",
        sign=groups.get("sign") or "",
        name=name,
        plain=not shape.strip({"clock": "0.,- ", "span": "0.,-/"}.get(kind, "0.,")),
        separator=(groups.get("s") or "").strip(),
    )


def pattern_of(shape: str, layout: CellLayout, order: str) -> str:
    """Return how the cells of a shape are written: ``DD.MM.YYYY hh:mm``."""
    letters = _LETTERS | (_ORDERED[order] if layout.open_order else {})
    written = list(shape)
    for key, (first, end) in layout.spans.items():
        if key in letters:
            written[first:end] = letters[key] * (end - first)
    first, end = layout.word
    written[first:end] = ["Mon" if end - first <= 4 else "Month"] if end else []  # noqa: PLR2004  (length of an abbreviation)
    text = "".join(written)
    return text if layout.kind != "clock" else text.split("-")[0].strip()
