"""Lines that arrive one after the other, understood batch by batch, and refused line by line.

A few lines tell little of how a column is written. So those before are read again with each batch:
the first ones, and the last ones. A batch that cannot be read is halved until the lines are found
that are at fault: they alone are refused, with their numbers.
"""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from fedhome.clients.recorded.table_rows import joined
from fedhome.data.files.csv_files import read_text
from fedhome.data.files.data_files import Raw
from fedhome.data.files.dialects import find_dialect
from fedhome.data.files.file_kinds import HEAD_BYTES, refuse_other_kinds
from fedhome.data.files.json_rows import Row, parsed, table_of
from fedhome.data.files.packed_files import Source
from fedhome.data.home_files import HomeFilesRead, read_rows
from fedhome.data.table import HomeTable
from fedhome.data.told_once import some
from fedhome.errors import SourceError
from fedhome.plan.reading_settings import ReadingSettings
from fedhome.spelling import did_you_mean

_CONTEXT: Final = 64
"""Lines at the beginning, and before a batch, that are read again with it."""
_ROW = re.compile(r",? ?\brow \d+")


class RefusedLine(NamedTuple):
    """A line that was not recorded.

    Args:
        line: Its number, from 1.
        why: What is wrong with it; no cell is shown.
        partly: Whether all of it was recorded but for a column that the plan does not use.
    """

    line: int
    why: str
    partly: bool = False


@dataclass(frozen=True, kw_only=True)
class Understanding:
    """How the rows of a home are read.

    Args:
        home: The home's name.
        settings: What rows themselves do not tell.
        numbers: Columns that hold numbers: words in them are at fault.
        wanted: Columns that are used: what is wrong in another one costs that column alone.
    """

    home: str
    settings: ReadingSettings
    numbers: frozenset[str] = frozenset()
    wanted: frozenset[str] = frozenset()

    def of(self, raw: Raw, *, strict: bool = False, known: int = 0) -> HomeFilesRead:
        """Return what rows hold that arrive: of one second, the last reading of a column counts.

        Args:
            raw: The rows.
            strict: Whether what is wrong in a column that is not used is an error, too.
            known: How many rows at the beginning were read before.

        Raises:
            SourceError: What does not make sense in them.
        """
        names = raw.rows.column_names
        read = read_rows(
            raw,
            home=self.home,
            settings=_fitting(self.settings, names),
            numbers=self.numbers,
            wanted=None if strict else self.wanted,
            last_counts=True,
            known=known,
        )
        absent = [name for name in self.settings.rename if name not in names]
        told = [
            f"no column {name!r} comes, which `rename` gives another name{meant}"
            for name in absent
            if (meant := did_you_mean(name, names))
        ]
        return self.with_near_names(replace(read, notes=(*read.notes, *told)))

    def with_near_names(self, read: HomeFilesRead) -> HomeFilesRead:
        """Return what was read, and notes of columns that are called nearly as the plan's are.

        Or that nothing comes which the plan uses. What comes is kept under its own names, and the
        plan's inputs stay without readings.

        Args:
            read: What was read.
        """
        came = {*read.table.columns, *read.empty}
        lacking = self.wanted - came
        if came and lacking == self.wanted:
            which, these = some(sorted(map(repr, lacking))), some(sorted(map(repr, came)))
            note = (
                f"nothing comes that the plan uses ({which}): {these} are kept under their own "
                "names; `--set rename=` or `--set pivot=` says what the plan calls them"
            )
            return replace(read, notes=(*read.notes, note))
        told = [
            f'column {name!r} is none of the plan\'s{meant} `--set \'rename={{"{name}"="NAME"}}\'` '
            "says what the plan calls it"
            for name in sorted(came - self.wanted)
            if (meant := did_you_mean(name, sorted(lacking)))
        ]
        return replace(read, notes=(*read.notes, *told))


@dataclass(frozen=True, kw_only=True)
class LinesRead:
    """What some lines hold.

    Args:
        table: Their readings. None: there are none.
        lines: How many lines were understood, but for headers and blank ones.
        refused: Those that were not.
        notes: What was assumed, converted or left out, in plain sentences.
    """

    table: HomeTable | None
    lines: int
    refused: tuple[RefusedLine, ...]
    notes: tuple[str, ...]


class ArrivingLines:
    """Lines of one stream, as CSV with a header or as JSON; the first line tells which.

    Args:
        name: What the stream is called in messages.
        understanding: How its rows are read.
    """

    def __init__(self, name: str, understanding: Understanding) -> None:
        self._name, self._understanding = name, understanding
        self._lines = 0
        self._json: bool | None = None
        self._header: list[bytes] = []
        self._first: list[bytes] = []
        self._last: deque[bytes] = deque(maxlen=_CONTEXT)

    @property
    def lines(self) -> int:
        """Lines that came so far."""
        return self._lines

    def take(self, lines: Sequence[bytes]) -> LinesRead:
        """Return what the next lines hold.

        Args:
            lines: Whole lines, with or without their ends.

        Raises:
            SourceError: No table can be made out: there is no header.
        """
        numbered = [
            (number, line.rstrip(b"\r\n") + b"\n")
            for number, line in enumerate(lines, self._lines + 1)
            if line.strip()
        ]
        if self._json is None and numbered:
            self._json = numbered[0][1].lstrip().startswith((b"{", b"["))
        if not self._json and not self._header:
            numbered = self._without_header(numbered)
        self._lines += len(lines)
        refused: list[RefusedLine] = []
        rows: list[tuple[int, bytes]] = []
        for number, line in numbered:
            if line in self._header:  # as where files are sent one behind the other
                continue
            try:
                if self._json:
                    parsed(line)
                rows.append((number, line))
            except SourceError as error:
                refused.append(RefusedLine(number, _in_words(error)))
        reads: list[HomeFilesRead] = []
        unread = len(refused)
        self._read(rows, reads, refused)
        tables = [read.table for read in reads if read.table.rows]
        zone = tables[-1].time_zone if tables else "UTC"
        return LinesRead(
            table=joined(tables, home=self._understanding.home, time_zone=zone) if tables else None,
            lines=len(rows) - sum(not one.partly for one in refused[unread:]),
            refused=tuple(sorted(refused)),
            notes=tuple(dict.fromkeys(note for read in reads for note in read.notes)),
        )

    def _without_header(self, numbered: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """Keep the lines down to the header, and return those below."""
        if not numbered:
            return []
        content = b"".join(line for _, line in numbered)
        refuse_other_kinds(self._name, content[:HEAD_BYTES], None)
        text = content.decode("utf-8", "replace")
        dialect = find_dialect(text, file=self._name, whole=True)
        above = text[: dialect.body].count("\n")
        self._header = [line for _, line in numbered[:above]]
        return numbered[above:]

    def _read(
        self,
        rows: Sequence[tuple[int, bytes]],
        reads: list[HomeFilesRead],
        refused: list[RefusedLine],
    ) -> None:
        if not rows:
            return
        lines = [line for _, line in rows]
        try:
            read = self._understood(lines)
        except SourceError as error:
            if len(rows) == 1:
                self._read_partly(rows[0], error, reads, refused)
                return
            half = len(rows) // 2
            self._read(rows[:half], reads, refused)
            self._read(rows[half:], reads, refused)
            return
        reads.append(read)
        room = _CONTEXT - len(self._first)
        self._first += lines[:room]
        self._last.extend(lines[room:])

    def _read_partly(
        self,
        row: tuple[int, bytes],
        error: SourceError,
        reads: list[HomeFilesRead],
        refused: list[RefusedLine],
    ) -> None:
        """Take what the plan uses of a line that is at fault elsewhere; else refuse it."""
        number, line = row
        try:
            read = self._understood([line], strict=False)
        except SourceError:
            refused.append(RefusedLine(number, _in_words(error)))
            return
        refused.append(RefusedLine(number, _in_words(error), partly=True))
        reads.append(HomeFilesRead(table=read.table))  # its notes say what was just said

    def _understood(self, new: Sequence[bytes], *, strict: bool = True) -> HomeFilesRead:
        """Read lines, with some that came before: one of these may have been corrected since."""
        before = [*self._first, *self._last]
        lines, known = [*before, *new], len(before)
        settings = self._understanding.settings
        if self._json:
            rows: list[Row] = [parsed(line) for line in lines]
            table = table_of(rows, settings)
            raw = Raw(rows=table, files=((self._name, table.num_rows),), formats=("JSON lines",))
            return self._understanding.of(raw, strict=strict, known=known)
        content = b"".join([*self._header, *lines])
        source = Source(
            name=self._name,
            suffix=".csv",
            size=len(content),
            opened=lambda: io.BufferedReader(io.BytesIO(content)),
        )
        table_file = read_text(source)
        if table_file.rows.num_rows < len(lines):
            raise SourceError(
                f"{len(lines) - table_file.rows.num_rows} lines are no rows of the table",
                hint="send rows alone: no sums and no remarks between them",
            )
        raw = Raw(
            rows=table_file.rows,
            files=((self._name, table_file.length),),
            notes=table_file.notes,
            formats=(table_file.format,),
            units=table_file.units,
            places=table_file.places,
        )
        return self._understanding.of(raw, strict=strict, known=known)


def _fitting(settings: ReadingSettings, names: Sequence[str]) -> ReadingSettings:
    """Return settings without new names for columns that a source does not have."""
    renamed: Mapping[str, Any] = {
        name: new for name, new in settings.rename.items() if name in names
    }
    return settings.model_copy(update={"rename": renamed})


def _in_words(error: SourceError) -> str:
    """Return what is wrong with a line: its row among those read with it is nobody's concern."""
    return _ROW.sub("", error.with_hint)
