"""What a workbook would grow to in memory, found out before a library is let near it."""

from __future__ import annotations

import io
import re
import zipfile
from typing import IO
from xml.parsers import expat

from fedhome.data.files.packed_files import BLOCK, bomb, most_unfolded, typed_errors
from fedhome.data.files.table_file import unreadable

_FREE_CELLS = 2**20
_MOST_CELLS = 2 * 10**7
_REFERENCE = re.compile(r"\$?([A-Z]{1,3})\$?(\d{1,7})")
_FOREIGN_PARTS = ("content.xml", "mimetype", "xl/workbook.bin")
_WORKBOOK = "xl/workbook.xml"
_SAVE = "save the sheet of readings as CSV in UTF-8"


def refuse_swollen(name: str, content: bytes, *, size: int) -> None:
    """Refuse a workbook whose cells would take much more memory than their number tells.

    A few bytes can name a cell in the far corner of a sheet, or a long text a million times.

    Args:
        name: The file's name, for messages.
        content: The file.
        size: Bytes that it takes on the disk.

    Raises:
        SourceError: It is no workbook in XML, or one that swells.
    """
    with typed_errors(name, "workbook"), zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = [entry for entry in archive.infolist() if not entry.is_dir()]
        names = {entry.filename.lower().lstrip("/") for entry in parts}
        if _WORKBOOK not in names or names & set(_FOREIGN_PARTS):
            raise unreadable(name, "it is not a whole workbook (.xlsx)", hint=_SAVE)
        most = most_unfolded(size)
        if len(names) < len(parts) or sum(entry.file_size for entry in parts) > most:
            raise bomb(name)
        found = _Measures()
        for entry in parts:
            with archive.open(entry) as part:
                found.read(name, part)
    if found.longest * found.references > most or found.room > max(_FREE_CELLS, 4 * found.cells):
        raise bomb(name)
    if found.cells > _MOST_CELLS:
        raise unreadable(name, f"it has more than {_MOST_CELLS} cells", hint=_SAVE)


class _Measures:
    """Sums over the parts of a workbook.

    Attributes:
        cells: Cells that are written down.
        room: Cells of the rectangles, from corner to corner, that they lie in.
        references: Cells that refer to a shared text.
        longest: Characters of the longest shared text.
    """

    def __init__(self) -> None:
        self.cells = self.room = self.references = self.longest = 0
        self._row = self._column = self._lowest = self._widest = self._length = 0

    def read(self, name: str, part: IO[bytes]) -> None:
        """Add up a part; one that is no XML (a picture, say) holds no cells."""
        first = part.read(BLOCK)
        if (
            not first.removeprefix(b"\xef\xbb\xbf")
            .lstrip()
            .startswith((b"<", b"\xff\xfe", b"\xfe\xff"))
        ):
            return
        self._row = self._column = self._lowest = self._widest = self._length = 0
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            block = first
            while block:
                parser.Parse(block, False)  # noqa: FBT003  (it takes no name)
                block = part.read(BLOCK)
            parser.Parse(b"", True)  # noqa: FBT003
        except expat.ExpatError:
            raise unreadable(name, "it is not a whole workbook (.xlsx)", hint=_SAVE) from None
        self.room += self._lowest * self._widest

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        kind = tag.rpartition(" ")[2]
        if kind == "c":
            self.cells += 1
            self._column += 1
            self.references += attributes.get("t") == "s"
            if place := _REFERENCE.fullmatch(attributes.get("r", "")):
                self._column, self._row = _number(place[1]), int(place[2])
            self._widest = max(self._widest, self._column)
            self._lowest = max(self._lowest, self._row)
        elif kind == "row":
            number = attributes.get("r", "")
            self._row = int(number) if number.isdigit() and len(number) < 8 else self._row + 1  # noqa: PLR2004
            self._column = 0
        elif kind == "si":
            self._length = 0

    def _end(self, tag: str) -> None:
        if tag.rpartition(" ")[2] == "si":
            self.longest = max(self.longest, self._length)

    def _characters(self, text: str) -> None:
        self._length += len(text)


def _number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number
