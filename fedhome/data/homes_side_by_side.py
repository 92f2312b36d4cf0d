"""Homes of one fleet side by side: what cannot be seen in the files of a single one."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from fedhome.data.odd_course import counts_up
from fedhome.data.table import HomeTable
from fedhome.data.told_once import some

_FAR = 300.0  # W and kW are a factor of 1000 apart, peaks of homes seldom one of 30
_LEAST = 10  # readings that tell a home's peak
_PEAK = 0.99


def noticed(tables: Sequence[HomeTable]) -> list[str]:
    """Return sentences about homes that may be copies, or whose columns may mean other things.

    Args:
        tables: The homes that learn together.
    """
    return [*_copies(tables), *_units(tables), *_meters(tables), *_spellings(tables)]


def _copies(tables: Sequence[HomeTable]) -> Iterator[str]:
    alike: dict[bytes, list[str]] = defaultdict(list)
    for table in tables:
        digest = hashlib.sha256(np.ascontiguousarray(table.time_s).tobytes())
        for name in sorted(table.columns):
            digest.update(repr((name, table.labels.get(name))).encode())
            digest.update(np.ascontiguousarray(table.columns[name]).tobytes())
        alike[digest.digest()].append(table.home)
    for homes in alike.values():
        if len(homes) > 1:
            yield f"the homes {some(homes)} hold the same readings: they may be copies of one home"


def _units(tables: Sequence[HomeTable]) -> Iterator[str]:
    """Tell of numbers of which some homes do not say the unit, or that are far larger in some."""
    for name in sorted({name for table in tables for name in table.columns}):
        having = [table for table in tables if name in table.columns and name not in table.labels]
        with_unit = [table.home for table in having if table.units.get(name)]
        without = [table for table in having if not table.units.get(name)]
        if with_unit and without:
            yield (
                f"column {name!r} has a unit in {some(with_unit)} and none in "
                f"{some([table.home for table in without])}, whose numbers were taken as they are"
            )
        loads = (table for table in without if table.rules.get(name) != "difference")
        peaks = {table.home: peak for table in loads if (peak := _peak(table, name))}
        most = max(peaks.values(), default=0.0)
        if not most > _FAR * min(peaks.values(), default=0.0):
            continue
        larger = [home for home, peak in peaks.items() if peak > most / _FAR]
        smaller = [home for home in peaks if home not in larger]
        yield (
            f"column {name!r} is hundreds of times larger in {some(larger)} than in "
            f"{some(smaller)}: they may be in different units; say them in its name, as in "
            "`load (kWh)`, or in a row below the header"
        )


def _peak(table: HomeTable, name: str) -> float:
    """Return what nearly all of a home's readings stay within; 0 where too few tell."""
    sizes = np.abs(table.columns[name])
    sizes = sizes[~np.isnan(sizes) & (sizes > 0)]
    return float(np.quantile(sizes, _PEAK)) if len(sizes) >= _LEAST else 0.0


def _meters(tables: Sequence[HomeTable]) -> Iterator[str]:
    """Tell of numbers that count up in some homes, and in others do not."""
    for name in sorted({name for table in tables for name in table.columns}):
        found = {
            table.home: counts_up(table.columns[name], table.time_s, name=name)
            for table in tables
            if name in table.columns
            and name not in table.labels
            and not table.timeless
            and table.rules.get(name) != "difference"
        }
        up, others = ([home for home, it in found.items() if it is told] for told in (True, False))
        if up and others:
            yield (
                f"column {name!r} counts up, like a meter, in {some(up)}, and does not in "
                f"{some(others)}: data.rules hold for all homes, so say of each that counts up "
                f"what it is: below [{_key(up[0])}] in homes.toml, "
                f'rules = {{{_key(name)} = "difference"}}, and data.step'
            )


def _key(name: str) -> str:
    """Return a name as a key of TOML, where blanks and dots would be more than one."""
    bare = re.fullmatch(r"[\w-]+", name, re.ASCII)
    return name if bare else json.dumps(name, ensure_ascii=False)


def _spellings(tables: Sequence[HomeTable]) -> Iterator[str]:
    for name in sorted({name for table in tables for name in table.labels}):
        spelled: dict[str, set[str]] = defaultdict(set)
        for table in tables:
            for word in table.labels.get(name, ()):
                spelled[" ".join(word.casefold().split())].add(word)
        count = sum(len(words) > 1 for words in spelled.values())
        if count:
            what = "1 word is" if count == 1 else f"{count} words are"
            yield (
                f"column {name!r}: {what} written in several ways that differ in capitals or "
                "blanks alone; each way is a class of its own"
            )
