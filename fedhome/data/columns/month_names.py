"""Names of months, weekdays and weeks as exports write them, in ten languages of Western Europe.

English, German, French, Dutch, Spanish, Italian, Portuguese, Danish, Norwegian and Swedish. Accents
are off and letters are capitals, as `time_cells` makes cells. A month may be cut short
to three letters or more where what is left begins no other one, a weekday to two: it is not asked.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from itertools import chain

_MONTHS = (
    "JANUARY JANUAR JANNER JANVIER JANUARI ENERO GENNAIO JANEIRO",
    "FEBRUARY FEBRUAR FEBER FEVRIER FEBRUARI FEBRERO FEBBRAIO FEVEREIRO",
    "MARCH MARZ MARS MAART MARZO MARCO MARTS MRZ MRT",
    "APRIL AVRIL ABRIL APRILE",
    "MAY MAI MEI MAYO MAGGIO MAIO MAJ",
    "JUNE JUNI JUIN JUNIO GIUGNO JUNHO",
    "JULY JULI JUILLET JULIO LUGLIO JULHO",
    "AUGUST AOUT AUGUSTUS AGOSTO AUGUSTI",
    "SEPTEMBER SEPTEMBRE SEPTIEMBRE SETTEMBRE SETEMBRO",
    "OCTOBER OKTOBER OCTOBRE OCTUBRE OTTOBRE OUTUBRO",
    "NOVEMBER NOVEMBRE NOVIEMBRE NOVEMBRO",
    "DECEMBER DEZEMBER DECEMBRE DICIEMBRE DICEMBRE DEZEMBRO DESEMBER",
)
_WEEKDAYS = (
    "MONDAY MONTAG LUNDI MAANDAG LUNES LUNEDI MANDAG",
    "TUESDAY DIENSTAG MARDI DINSDAG MARTES MARTEDI TIRSDAG TISDAG",
    "WEDNESDAY MITTWOCH MERCREDI WOENSDAG MIERCOLES MERCOLEDI ONSDAG",
    "THURSDAY DONNERSTAG JEUDI DONDERDAG JUEVES GIOVEDI TORSDAG",
    "FRIDAY FREITAG VENDREDI VRIJDAG VIERNES VENERDI FREDAG",
    "SATURDAY SAMSTAG SONNABEND SAMEDI ZATERDAG SABADO SABATO LORDAG",
    "SUNDAY SONNTAG DIMANCHE ZONDAG DOMINGO DOMENICA SONDAG",
)
_WEEKS = "KW CW WK WEEK WOCHE SEMAINE SEMANA SETTIMANA VECKA V UGE UKE W"  # S1 may be half a year


def _numbers() -> Mapping[str, int]:
    """Return the number of each month, by its names and what they may be cut to."""
    found: dict[str, set[int]] = {}
    for number, words in enumerate(_MONTHS, start=1):
        for word in chain.from_iterable(map(_begins, words.split())):
            found.setdefault(word, set()).add(number)
    return {word: numbers.pop() for word, numbers in found.items() if len(numbers) == 1}


def _begins(word: str, least: int = 3) -> list[str]:
    return [word[:length] for length in range(least, len(word) + 1)]


def _any(words: Iterable[str]) -> str:
    return "|".join(sorted(set(words), key=lambda word: (-len(word), word)))


NUMBERS: Mapping[str, int] = _numbers()
"""Number of the month that a word names."""

MONTH = rf"(?:{_any(NUMBERS)})"
"""Pattern of a month's name, without the point behind a short one."""

_DAYS = _any(chain.from_iterable(_begins(word, 2) for word in " ".join(_WEEKDAYS).split()))
WEEKDAY = rf"(?:(?:{_DAYS})\.?,? +)?"
"""Pattern of a weekday before a date, if there is one: a date says its day without it."""

WEEK = rf"(?:{_any(_WEEKS.split())})\.?"
"""Pattern of the word for a week."""


def without_accents(text: str) -> str:
    """Return text in capitals without accents, as the patterns of this module have it."""
    letters = unicodedata.normalize("NFD", text.upper().replace("Ø", "O"))
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
