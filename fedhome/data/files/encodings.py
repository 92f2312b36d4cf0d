"""In which encoding a text file is, by all of its bytes; and its content as a stream of UTF-8."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fedhome.data.files.packed_files import BLOCK, Source
from fedhome.data.files.table_file import unreadable

_MARKS = (  # of UTF-32 first: its mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)
_ENOUGH = 0.4  # share of zeros in every second byte of a text in UTF-16, of ASCII for the most
_FEW = 4  # pairs of bytes, which are too few to tell
_NOT_TEXT = "it is not text in UTF-8"
_SAVE = "save it again in UTF-8 (in spreadsheets: CSV UTF-8), or as Parquet"
# Western text has single letters beyond ASCII; whole words of them are another alphabet, and of
# the first 32 only the euro, an apostrophe, a dash, dots and a few letters are common.
_FOREIGN = re.compile(
    rb"[\x80-\xff]{3}|[\x81-\x84\x86-\x89\x8b\x8d\x8f-\x91\x93-\x95\x97-\x99\x9b\x9d\x9f\xff]"
    rb"|[\xc2-\xdf][\x80-\xbf]"
)
_BACKSLASHED = re.compile(rb'\\"[^",;\t|\r\n]')


@dataclass(frozen=True, kw_only=True)
class TextSurvey:
    """What all bytes of a text file say.

    Args:
        codec: Python's name of its encoding.
        words: The encoding's name in words.
        mark: Bytes of its byte order mark.
        blank_lines: Whether there may be blank lines below the first line.
        note: What the user should know about the encoding; empty where it is certain.
    """

    codec: str
    words: str
    mark: int
    blank_lines: bool
    note: str = ""


def survey(source: Source) -> TextSurvey:
    """Return the encoding of a text file, and what else takes a look at all of it.

    Args:
        source: The file.

    Raises:
        SourceError: It is not text, or in an encoding that cannot be told.
    """
    head = source.head(4096)
    for mark, codec, words in _MARKS:
        if head.startswith(mark):
            if codec == "utf-8":
                return _single_bytes(source, mark=len(mark))
            return TextSurvey(codec=codec, words=words, mark=len(mark), blank_lines=True)
    if codec := _wide_codec(head):
        return TextSurvey(codec=codec, words="UTF-16 without a mark", mark=0, blank_lines=True)
    return _single_bytes(source, mark=0)


def _wide_codec(head: bytes) -> str:
    """Return the codec of UTF-16 without a mark; empty for anything else."""
    pairs = len(head) // 2
    even, odd = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if pairs < _FEW:
        return ""
    if odd > _ENOUGH * pairs and not even:
        return "utf-16-le"
    if even > _ENOUGH * pairs and not odd:
        return "utf-16-be"
    return ""


def _single_bytes(source: Source, *, mark: int) -> TextSurvey:
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    is_utf8, is_western, blank_lines = True, True, False
    last = b""
    with source.opened() as stream:
        stream.read(mark)
        while block := stream.read(BLOCK):
            if b"\0" in block:
                raise unreadable(
                    source.name,
                    _NOT_TEXT,
                    hint="it holds zero bytes, as a file that was cut off by a power failure "
                    "does: take it from a backup, or remove them",
                )
            seam = last + block
            if b'\\"' in seam and _BACKSLASHED.search(seam):
                raise unreadable(
                    source.name,
                    "quotation marks in its cells are written with a backslash",
                    hint="export it with doubled quotation marks, as CSV has them, or as Parquet",
                )
            blank_lines = blank_lines or _has_blank_lines(seam)
            if is_utf8 and not block.isascii():
                try:
                    decoder.decode(block)
                except UnicodeDecodeError:
                    is_utf8 = False
            elif is_utf8 and decoder.getstate()[0]:
                is_utf8 = False
            if not block.isascii():
                is_western = is_western and _FOREIGN.search(seam) is None
            last = block[-2:]
    is_utf8 = is_utf8 and not decoder.getstate()[0]
    if is_utf8:
        return TextSurvey(codec="utf-8", words="UTF-8", mark=mark, blank_lines=blank_lines)
    if not is_western or mark:
        raise unreadable(source.name, _NOT_TEXT, hint=_SAVE)
    note = (
        f"{source.name} is not in UTF-8 and was read as Latin-1 (Windows-1252): if names or words "
        "look wrong, save it in UTF-8"
    )
    return TextSurvey(
        codec="cp1252", words="Latin-1 (Windows-1252)", mark=0, blank_lines=blank_lines, note=note
    )


def _has_blank_lines(text: bytes) -> bool:
    return b"\n\n" in text or (b"\r" in text and (b"\n\r" in text or b"\r\r" in text))


class _Utf8(io.RawIOBase):
    """A text file's content in UTF-8, from a given byte on."""

    def __init__(self, source: Source, found: TextSurvey, skipped: int) -> None:
        self._blocks = _utf8_blocks(source, found)
        self._rest = memoryview(b"")
        self._skipped = skipped

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            block = next(self._blocks, None)
            if block is None:
                return 0
            self._rest = memoryview(block)[self._skipped :]
            self._skipped = max(0, self._skipped - len(block))
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        self._blocks.close()  # type: ignore[attr-defined]
        super().close()


def _utf8_blocks(source: Source, found: TextSurvey) -> Iterator[bytes]:
    with source.opened() as stream:
        stream.read(found.mark)
        if found.codec == "utf-8":
            while block := stream.read(BLOCK):
                yield block
            return
        decoder = codecs.getincrementaldecoder(found.codec)("strict")
        final = False
        while not final:
            block = stream.read(BLOCK)
            final = not block
            try:
                text = decoder.decode(block, final)
            except UnicodeDecodeError:
                reason = f"it is not whole text in {found.words}"
                raise unreadable(source.name, reason, hint=_SAVE) from None
            if "\0" in text:
                raise unreadable(source.name, _NOT_TEXT, hint=_SAVE)
            if text:
                yield text.encode()


def utf8_stream(source: Source, found: TextSurvey, *, skipped: int = 0) -> BinaryIO:
    """Return a text file's content in UTF-8, without its byte order mark.

    Args:
        source: The file.
        found: What :func:`survey` says of it.
        skipped: Bytes of the content, in UTF-8, that are left out at its start.
    """
    return io.BufferedReader(_Utf8(source, found, skipped), BLOCK)
