"""Names that columns of times have, in the files of portals, devices and data sets."""

from __future__ import annotations

import re
from collections.abc import Sequence

from fedhome.data.columns.month_names import without_accents

PLAIN = ("time", "timestamp", "datetime", "date", "ts")
"""Names that every user expects to be the time: nothing is told when they are."""

_KNOWN = (
    *PLAIN,
    *("date_time", "time_stamp", "utc_timestamp", "timestamp_utc", "utc", "time_utc", "_time"),
    *("last_changed", "last_updated", "start", "start_time", "starttime", "start_date", "from"),
    *("period_start", "interval_start", "interval_start_time", "begin", "local_time", "localtime"),
    *("localminute", "localhour", "local_15min", "unix", "epoch", "unixtime", "unix_time", "when"),
    *(
        "read_date_and_end_time",
        "reading_time",
        "reading_date",
        "time_bucket",
        "tstp",
        "index_time",
        "dt",
    ),
    *("zeit", "zeitstempel", "zeitpunkt", "messzeitpunkt", "datum", "datum_uhrzeit", "datum_zeit"),
    *("von", "ab", "beginn", "datum_von", "zeit_von", "uhrzeit", "horodate", "horodatage"),
    *("date_heure", "heure", "date_et_heure", "debut", "fecha", "fecha_hora", "fechahora", "hora"),
    *("data", "ora", "data_ora", "data_hora", "data_e_hora", "tijd", "tijdstip", "datum_tijd"),
    *("van", "tidspunkt", "fra_dato", "tid", "aika", "alkuaika", "czas", "end", "end_time"),
)
# Names that as often hold something else: their numbers are no times.
_OPEN = ("data", "ora", "hora", "heure", "zeit", "tijd", "tid", "from", "start", "end", "when")
_OPEN_TO_NUMBERS = ("index_time", "from", "van", "von", "ab", "utc", "uhrzeit", "hora", "ora")
_ENDS = ("_ts", "_timestamp", "_datetime", "_date_time", "_at", "_epoch", "_unix")
_BEGINS = ("timestamp", "datetime", "unix", "epoch")
_CLOCKS = {
    *("time", "hour", "hours", "hr", "he", "clock", "uhrzeit", "zeit", "stunde", "heure", "heures"),
    *("hora", "horas", "ora", "ore", "tijd", "tijdstip", "uur", "klokkeslett", "godzina", "aika"),
    *("timme", "klockslag", "klokke", "tunti", "tund", "godz", "hodina", "óra"),
}
_LATE = {
    *("end", "ending", "ende", "stop", "bis", "to", "until", "fin", "fine", "hasta", "tot", "til"),
    *("finish", "loppuaika", "slut", "close", "endtime", "endzeit", "enddate"),
}
_BOOKED = {
    *("updated", "update", "modified", "created", "received", "imported", "exported", "inserted"),
    *("export", "import", "invoice", "billing", "installed", "birth", "published", "downloaded"),
}
_WORDS = {
    *("date", "datum", "fecha", "dato", "time", "zeit", "timestamp", "datetime", "tijdstip"),
    *("zeitpunkt", "zeitstempel", "horodate", "tidspunkt", "ajatempel", "aeg"),
}
_UTC = {"utc", "gmt", "zulu", "unix", "epoch", "unixtime"}
_WEEKS = {
    "week",
    "woche",
    "kw",
    "cw",
    "kalenderwoche",
    "semaine",
    "semana",
    "settimana",
    "vecka",
    "uge",
    "uke",
}
_SPANS = {
    *("month", "monat", "mois", "maand", "mes", "mese", "manad", "maned", "monthly", "monatlich"),
    *("quarter", "quartal", "trimestre", "kwartaal", "kvartal", "period", "periode", "periodo"),
    *("zeitraum", "abrechnungsmonat", "abrechnungszeitraum", "verbrauchsmonat", "billing"),
}
PART_NAMES = {
    "year": ("year", "jahr", "annee", "année", "ano", "año", "anno", "jaar", "år", "yyyy"),
    "month": ("month", "monat", "mois", "mes", "mês", "mese", "maand", "månad", "måned", "mm"),
    "day": ("day", "tag", "jour", "dia", "giorno", "dag", "dd"),
    "hour": ("hour", "stunde", "heure", "hora", "ora", "uur", "hh"),
    "minute": ("minute", "min", "minuto"),
    "second": ("second", "sec", "sekunde"),
}
"""Names of columns that hold one part of the time each."""


def plain_name(name: str) -> str:
    """Return a column's name in small letters, words joined by ``_``, brackets left out."""
    small = re.sub(r"\(.*?\)|\[.*?\]", "", name.casefold())
    return re.sub(r"[^\w]+", "_", small).strip("_") or re.sub(r"[^\w]+", "_", name.casefold())


def is_known(name: str) -> bool:
    """Tell whether a column's name is one of those that times have."""
    plain = plain_name(name)
    return (
        plain in {*_KNOWN, *(known.strip("_") for known in _KNOWN)}
        or plain.endswith(_ENDS)
        or plain.startswith(_BEGINS)
        or bool(set(re.split(r"[^\w]+|_", name.casefold())) & (_WORDS | _UTC))
    )


def is_sure(name: str) -> bool:
    """Tell whether a column's name is one of those that times have, and nothing else has."""
    return is_known(name) and plain_name(name) not in {*_OPEN, *_OPEN_TO_NUMBERS}


def is_plain(name: str) -> bool:
    """Tell whether a column's name says by itself that it is the time."""
    return name.strip().casefold() in PLAIN


def may_be_numbers(name: str) -> bool:
    """Tell whether numbers under a name are times since 1970, if they lie in the range."""
    plain = plain_name(name)
    return is_known(name) and (
        plain not in {*_OPEN, *_OPEN_TO_NUMBERS} or plain in {"start", "end"}
    )


def may_be_days(name: str) -> bool:
    """Tell whether numbers under a name, one after the other, may be days of a spreadsheet."""
    plain = plain_name(name)
    steps = {*_OPEN_TO_NUMBERS, "start", "end", "when", "data", "dt"}
    counters = steps - {"uhrzeit", "hora", "ora"}
    return (plain in _KNOWN and plain not in counters) or plain.startswith(
        ("timestamp", "datetime")
    )


def is_week(name: str) -> bool:
    """Tell whether a column's name says that it holds weeks."""
    return bool(_words(name) & _WEEKS)


def is_span(name: str) -> bool:
    """Tell whether a column's name says that it holds months, quarters or weeks."""
    return bool(_words(name) & (_SPANS | _WEEKS))


def are_year_and_span(names: Sequence[str]) -> bool:
    """Tell whether two columns' names say that they hold years, and months or weeks of these."""
    if len(names) != 2:  # noqa: PLR2004  (a year and its part)
        return False
    part = plain_name(names[1])
    return is_year(names[0]) and (part in PART_NAMES["month"] or part in _WEEKS)


def is_year(name: str) -> bool:
    """Tell whether a column's name says that it holds years."""
    return plain_name(name) in PART_NAMES["year"]


def _words(name: str) -> set[str]:
    return set(re.split(r"[^a-z0-9]+", without_accents(name).lower()))


def is_clock(name: str) -> bool:
    """Tell whether a column's name is one of those that clock times have."""
    return bool(set(plain_name(name).split("_")) & _CLOCKS)


def is_exact_clock(name: str) -> bool:
    """Tell whether a column's name says by itself that it holds hours or clock times."""
    plain = plain_name(name)
    words = set(plain.split("_"))
    bounds = _LATE | {"start", "von", "van", "inicio", "debut", "ab"}
    if not words <= _CLOCKS | bounds | {"of", "day"}:
        return False
    return bool(words & (_CLOCKS if "day" in words else _CLOCKS | bounds))


def rank(name: str, *, aware: bool) -> tuple[bool, bool, bool, bool, int]:
    """Return by what columns of times are sorted: the one that stands for a row's time first.

    The begin of an interval comes before its end, a moment before the time at which it was
    booked, UTC before local times.

    Args:
        name: The column's name.
        aware: Whether its times carry an offset or are numbers since 1970.
    """
    words = set(re.split(r"[^a-z0-9]+", name.casefold()))
    plain = plain_name(name)
    known = plain in _KNOWN
    return (
        bool(words & _LATE) and plain != "read_date_and_end_time",
        bool(words & _BOOKED),
        not (aware or words & _UTC),
        not words & _UTC,
        _KNOWN.index(plain) if known else len(_KNOWN),
    )
