"""The rows of a text table below its header: what is kept of them, and what is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from fedhome.data.files.dialects import Dialect
from fedhome.data.files.row_places import RowPlaces
from fedhome.data.files.table_file import lines_left_out, uneven, unreadable
from fedhome.errors import SourceError

SUMMARY = re.compile(
    r"[\s\"']*((grand |sub)?total|sum|summe|gesamt|gesamtsumme|somme|totale|totaal|suma|average|"
    r"avg|mean|mittelwert|durchschnitt|moyenne|promedio|media|gemiddelde|gennemsnit|snitt|summa|"
    r"yhteensä|insgesamt|minimum|maximum|min|max|ø)(?!\w)",
    re.IGNORECASE,
)
"""How lines begin that sum up what stands above them."""
_MOST_SUMMARIES = 5
_BLOCK, _LEAST_BLOCK = 1 << 20, 1 << 16
_MOST_CELLS = 1 << 22  # that the blank lines of one block may become
_BAD_ROW = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+)")

Mask = NDArray[np.bool_]


class CsvRows:
    """Reads the rows of one text table.

    Args:
        file: The file's name, for messages.
        dialect: How it is written.

    Attributes:
        places: Which rows of the file were kept, once they were read.
    """

    def __init__(self, file: str, dialect: Dialect) -> None:
        self._file, self._dialect = file, dialect
        self._width = len(dialect.names)
        self.places = RowPlaces()
        self._summaries: list[int] = []
        self._comments = self._headers = self._blank = self._blank_below = 0
        self._below_annotation = False

    def read(self, stream: BinaryIO, *, blank_lines: bool) -> pa.Table:
        """Return the rows that are kept; columns are called by their places.

        Args:
            stream: The text below the header, in UTF-8.
            blank_lines: Whether there may be blank lines in it.

        Raises:
            SourceError: A row has another number of cells than the header, or worse.
        """
        keys = [str(place) for place in range(self._width)]
        schema = pa.schema([(key, pa.string()) for key in keys])
        try:
            batches = self._batches(stream, keys, blank_lines=blank_lines)
        except SourceError:
            raise
        except (pa.ArrowException, ValueError, OverflowError, MemoryError) as error:
            raise self._refused(str(error)) from None
        rows = pa.Table.from_batches(batches, schema=schema)
        if self._width == 1:
            rows = _without_empty_end(rows)
        self._refuse_sums_between()
        return rows

    def notes(self) -> list[str]:
        """Return what was left out, in plain sentences."""
        said = (
            (self._blank, "with nothing in them"),
            (self._comments, "of comment (#) among the rows"),
            (self._headers, "with the header again"),
            (len(self._summaries), "at the end, beginning as a sum,"),
        )
        return [f"{self._file}: {lines_left_out(count, what)}" for count, what in said if count]

    def _batches(
        self, stream: BinaryIO, keys: Sequence[str], *, blank_lines: bool
    ) -> list[pa.RecordBatch]:
        block = max(_LEAST_BLOCK, _MOST_CELLS // self._width) if blank_lines else _BLOCK
        # In a very wide table blank lines would become too many cells: there they are not counted.
        ignored = blank_lines and block * self._width > 2 * _MOST_CELLS
        try:
            reader = pyarrow.csv.open_csv(
                pa.PythonFile(stream, mode="r"),
                read_options=pyarrow.csv.ReadOptions(
                    column_names=list(keys),
                    use_threads=False,
                    block_size=_BLOCK if ignored else min(_BLOCK, block),
                ),
                parse_options=pyarrow.csv.ParseOptions(
                    delimiter=self._dialect.separator,
                    newlines_in_values=True,
                    ignore_empty_lines=ignored,
                    invalid_row_handler=self._odd_row,
                ),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types=dict.fromkeys(keys, pa.string()), strings_can_be_null=False
                ),
            )
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                return []
            raise
        return [self._kept(batch) for batch in reader]

    def _odd_row(self, row: pyarrow.csv.InvalidRow) -> str:
        """Tell Arrow what to do with a row of another number of cells: ``skip`` or ``error``."""
        if row.number is None:
            return "error"
        place, text = row.number - 1, row.text
        if not text.strip():
            self._blank += 1
        elif text.startswith("#"):
            self._comments += 1
        elif (
            SUMMARY.match(text.lstrip(self._dialect.separator))
            and len(self._summaries) < _MOST_SUMMARIES
        ):
            self._summaries.append(place)
        else:
            return "error"
        self.places.skip(place)
        return "skip"

    def _kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        # Of a single column an empty line may be a reading that is missing, and a word a reading.
        is_single = self._width == 1
        blank = None if is_single else self._equal(batch, [""] * self._width)
        is_told = not is_single or self._dialect.kinds[0] is not None
        headers = self._equal(batch, self._dialect.header) if is_told else None
        left_out = [mask for mask in (blank, headers) if mask is not None]
        if headers is not None:
            self._headers += int(headers.sum())
        if self._headers:
            below = [self._equal(batch, row) for row in self._dialect.below]
            left_out += [mask for mask in below if mask is not None]
        if self._dialect.annotations:
            left_out.append(self._annotated(batch, headers))
        kept = ~np.logical_or.reduce(left_out) if left_out else None
        if kept is not None and kept.all():
            kept = None
        self._count_blank(blank, kept)
        self.places.add(batch.num_rows, kept)
        return batch if kept is None else batch.filter(pa.array(kept))

    def _equal(self, batch: pa.RecordBatch, cells: Sequence[str]) -> Mask | None:
        """Return which rows hold just these cells; None if no row does."""
        order = sorted(range(self._width), key=lambda place: not cells[place])
        same: pa.BooleanArray | None = None
        for place in order:
            here = pc.equal(batch.column(place), pa.scalar(cells[place], pa.string()))
            same = here if same is None else pc.and_(same, here)
            if not same.true_count:
                return None
        return None if same is None else same.to_numpy(zero_copy_only=False)

    def _annotated(self, batch: pa.RecordBatch, headers: Mask | None) -> Mask:
        """Return which rows are InfluxDB's annotations; the same header must follow on them."""
        mask: Mask = pc.starts_with(batch.column(0), "#").to_numpy(zero_copy_only=False)
        below = np.concatenate([[self._below_annotation], mask[:-1]]) & ~mask
        if (below if headers is None else below & ~headers).any():
            raise unreadable(
                self._file,
                "it holds several tables of different columns",
                hint="export them one by one, or pivot them in the query",
            )
        if len(mask):
            self._below_annotation = bool(mask[-1])
        return mask

    def _count_blank(self, blank: Mask | None, kept: Mask | None) -> None:
        """Count rows with nothing in them; those below the last row are no news."""
        if blank is None:
            self._blank += self._blank_below
            self._blank_below = 0
            return
        assert kept is not None
        full = np.flatnonzero(kept)
        if len(full):
            self._blank += self._blank_below + int(blank[: full[-1]].sum())
            self._blank_below = int(blank[full[-1] :].sum())
        else:
            self._blank_below += int(blank.sum())

    def _refuse_sums_between(self) -> None:
        if not self._summaries:
            return
        kept = self.places.kept()
        if kept is not None and len(kept) and self._summaries[0] < kept[-1]:
            raise unreadable(
                self._file,
                f"row {self._summaries[0] + 1} has another number of cells than the header, "
                "and rows follow on it",
            )

    def _refused(self, message: str) -> SourceError:
        """Return the error for what the parser says, which may quote the row: that is private."""
        if row := _BAD_ROW.search(message):
            return uneven(self._file, row=int(row[1]), cells=int(row[3]), names=int(row[2]))
        if "straddling" in message or "block" in message:
            reason = "a quotation mark is opened and not closed, or a row is longer than a megabyte"
        else:
            reason = "its rows are not CSV"
        return unreadable(self._file, reason)


def _without_empty_end(rows: pa.Table) -> pa.Table:
    """Leave out the empty cells at the end of a single column: they are blank lines."""
    full = pc.indices_nonzero(pc.not_equal(rows.column(0), ""))
    return rows.slice(0, full[-1].as_py() + 1 if len(full) else 0)
